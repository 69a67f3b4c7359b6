"""The username, the new user, and what is taken over from the provider."""

import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from social_core.backends.github import GithubOAuth2

from svcctl.errors import ConfigError, Refused
from svcctl.pipeline.steps.user import create_user, get_username, slug, user_details

if TYPE_CHECKING:
    from tests.pipeline.grounds import Ground

HERE = __name__
NAMES = ("fullname", "first_name", "last_name")


def constant(name: str) -> str:
    return "same"


def shouted(name: str) -> str:
    return name.upper()


def nothing(name: str) -> None:
    return None


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """This module under the name that the settings write, however pytest imported it."""
    import sys

    monkeypatch.setitem(sys.modules, "acme_names", sys.modules[HERE])


def username(ground: "Ground", user: Any = None, **details: Any) -> Any:
    found = get_username(ground.strategy, details, ground.backend(), user)
    return found and found["username"]


# get_username


def test_the_providers_username_is_taken_where_it_is_free(ground: "Ground") -> None:
    assert username(ground, username="ada") == "ada"


def test_a_taken_username_gets_sixteen_digits(ground: "Ground") -> None:
    ground.user("ada")
    assert re.fullmatch(r"ada[0-9a-f]{16}", username(ground, username="ada"))


def test_without_a_username_it_is_a_uuid(ground: "Ground") -> None:
    for details in ({}, {"username": None}, {"username": ""}, {"email": "ada@example.org"}):
        assert re.fullmatch(r"[0-9a-f]{32}", username(ground, **details))


def test_a_known_user_keeps_the_username(ground: "Ground") -> None:
    ada = ground.user("ada")
    assert username(ground, ada, username="another") == "ada"


def test_a_username_that_cleaning_leaves_empty_gets_digits(ground: "Ground") -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", username(ground, username="Žž!"[1:]))


def test_cleaning_keeps_letters_digits_and_a_few_signs(ground: "Ground") -> None:
    assert (
        username(ground, username="Ada Lovelace! <ada@x.org>+1_a-b ž")
        == "AdaLovelaceada@x.org+1_a-b"
    )


def test_a_slug_is_lower_case_with_hyphens(ground: "Ground") -> None:
    ground.configure(SOCIAL_AUTH_CLEAN_USERNAMES=False, SOCIAL_AUTH_SLUGIFY_USERNAMES=True)
    assert username(ground, username="Foo Bar") == "foo-bar"
    assert slug("  Žofie -  Černá's_1 ") == "zofie-cernas_1"


def test_a_long_username_is_cut_so_that_the_digits_fit(ground: "Ground") -> None:
    ground.users.longest = 20
    wish = "abcdefghijklmnopqrstuvwxyz"
    assert username(ground, username=wish) == wish[:20]
    ground.user(wish[:20])
    assert re.fullmatch(r"abcd[0-9a-f]{16}", username(ground, username=wish))
    ground.users.longest = None
    ground.user(wish)
    assert re.fullmatch(wish + r"[0-9a-f]{16}", username(ground, username=wish))


@pytest.mark.parametrize("longest", [1, 5, 15, 16])
def test_a_storage_with_less_room_than_digits_gets_fewer_digits(
    ground: "Ground", longest: int
) -> None:
    ground.users.longest = longest
    wish = "u" * 60
    ground.user(wish[:longest])
    assert re.fullmatch(rf"[0-9a-f]{{{longest}}}", username(ground, username=wish))


@pytest.mark.parametrize(
    "settings",
    [
        {"UUID_LENGTH": 0},
        {"CLEAN_USERNAME_FUNCTION": "acme_names.constant"},
        {"SLUGIFY_USERNAMES": True, "SLUGIFY_FUNCTION": "acme_names.constant"},
    ],
)
def test_a_search_that_cannot_find_a_free_name_ends_with_an_error(
    ground: "Ground", settings: dict[str, Any]
) -> None:
    ground.configure(**settings)
    for name in ("ada", "same"):
        ground.user(name)
    with pytest.raises(Refused, match=r"^no free username like 'ada' after 100 attempts") as error:
        username(ground, username="ada")
    assert error.value.code == "username_in_use"
    assert "UUID_LENGTH" in str(error.value.hint)


def test_a_storage_without_room_for_a_name_ends_with_an_error(ground: "Ground") -> None:
    ground.users.longest = 0
    with pytest.raises(Refused, match=r"the last was ''$"):
        username(ground, username="ada")


@pytest.mark.parametrize("length", [-1, 33, "16", 1.5, True, None])
def test_a_uuid_length_that_is_none_is_an_error_of_the_settings(
    memory: "Ground", length: Any
) -> None:
    memory.configure(UUID_LENGTH=length)
    with pytest.raises(ConfigError, match=r"^UUID_LENGTH: .* is no number from 0 to 32$"):
        username(memory, username="ada")


@pytest.mark.parametrize("length", [1, 32])
def test_a_uuid_has_up_to_32_digits(ground: "Ground", length: int) -> None:
    ground.configure(UUID_LENGTH=length)
    ground.user("ada")
    assert re.fullmatch(rf"ada[0-9a-f]{{{length}}}", username(ground, username="ada"))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"CLEAN_USERNAME_FUNCTION": "acme_names.shouted"}, "ADA L!"),
        ({"CLEAN_USERNAME_FUNCTION": "acme_names:shouted"}, "ADA L!"),
        ({"SLUGIFY_USERNAMES": True, "SLUGIFY_FUNCTION": "acme_names.shouted"}, "ADAL"),
        ({"SLUGIFY_FUNCTION": "acme_names.shouted"}, "AdaL"),
        ({"CLEAN_USERNAMES": False, "CLEAN_USERNAME_FUNCTION": "acme_names.shouted"}, "Ada L!"),
    ],
)
def test_functions_of_the_settings_make_the_name_where_they_are_wanted(
    memory: "Ground", settings: dict[str, Any], expected: str
) -> None:
    memory.configure(**settings)
    assert username(memory, username="Ada L!") == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("acme_names.missing", "'acme_names.missing' cannot be imported: "),
        ("no_such_module.clean", "'no_such_module.clean' cannot be imported: "),
        ("not a name", "'not a name' cannot be imported: "),
        (7, "7 cannot be imported: "),
        ("acme_names.nothing", "acme_names.nothing made None of 'ada', which is no text"),
    ],
)
@pytest.mark.parametrize("setting", ["CLEAN_USERNAME_FUNCTION", "SLUGIFY_FUNCTION"])
def test_a_function_that_is_none_is_an_error_of_the_settings(
    memory: "Ground", setting: str, name: Any, message: str
) -> None:
    memory.configure(SLUGIFY_USERNAMES=True, **{setting: name})
    with pytest.raises(ConfigError, match="^" + re.escape(f"{setting}: {message}")):
        username(memory, username="ada")


def test_a_username_that_is_a_number_is_text_and_one_that_is_a_dict_is_refused(
    memory: "Ground",
) -> None:
    assert username(memory, username=4711) == "4711"
    with pytest.raises(Refused, match=r"^details\.username: dict instead of text$"):
        username(memory, username={"name": "ada"})


# create_user


def created(ground: "Ground", details: dict[str, Any], **context: Any) -> dict[str, Any]:
    result = create_user(ground.strategy, details, ground.backend(), **context)
    assert result is not None
    assert result["is_new"]
    return ground.fields(result["user"])


def test_a_new_user_has_the_username_and_the_address(ground: "Ground") -> None:
    row = created(
        ground,
        {"username": "from details", "email": "Ada@example.org", "fullname": "Ada"},
        username="free",
    )
    assert (row["username"], row["email"]) == ("free", "Ada@example.org")
    assert row["fullname"] is None
    assert len(ground.users.rows) == 1


def test_what_the_context_says_wins_even_if_it_is_none(ground: "Ground") -> None:
    row = created(ground, {"username": "ada", "email": "ada@example.org"}, email=None)
    assert (row["username"], row["email"]) == ("ada", None)


def test_a_known_user_is_not_made_again(ground: "Ground") -> None:
    ada = ground.user("ada")
    assert create_user(ground.strategy, {}, ground.backend(), ada) == {"is_new": False}
    assert ground.users.rows == [ada]


@pytest.mark.parametrize("details", [{}, dict.fromkeys(NAMES)])
def test_names_that_nobody_knows_are_left_to_the_user_model(
    memory: "Ground", details: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.configure(USER_FIELDS=["username", "email", *NAMES])
    given: dict[str, Any] = {}

    def make(**fields: Any) -> Any:
        given.update(fields)
        return SimpleNamespace(**fields)

    monkeypatch.setattr(memory.users, "create_user", make)
    create_user(memory.strategy, {"username": "ada", "email": None, **details}, memory.backend())
    assert given == {"username": "ada", "email": None}


def test_names_that_are_known_are_given_empty_ones_too(ground: "Ground") -> None:
    ground.configure(USER_FIELDS=["username", *NAMES])
    details = {"username": "ada", "fullname": "Ada L", "first_name": "Ada", "last_name": "L"}
    row = created(ground, details, first_name="", last_name=None)
    assert (row["fullname"], row["first_name"], row["last_name"]) == ("Ada L", "", None)


def test_no_fields_means_no_new_users(ground: "Ground") -> None:
    ground.configure(USER_FIELDS=[])
    assert create_user(ground.strategy, {"username": "ada"}, ground.backend()) is None
    assert get_username(ground.strategy, {"username": "ada"}, ground.backend()) is None
    assert ground.users.rows == []


def test_no_address_is_none_in_lower_case_too(ground: "Ground") -> None:
    ground.configure(FORCE_EMAIL_LOWERCASE=True)
    assert created(ground, {"username": "ada", "email": None})["email"] is None
    ground.configure(USER_FIELDS=["username"])
    assert created(ground, {"username": "bob", "email": "B@x.org"})["email"] is None


# user_details


def test_fields_follow_the_details_and_are_stored_once(ground: "Ground") -> None:
    ada = ground.user("ada", first_name="Augusta")
    details = {"first_name": "Ada", "fullname": "Ada Lovelace", "unknown": "x"}
    user_details(ground.strategy, details, ground.backend(), ada)
    assert (ada.first_name, ada.fullname) == ("Ada", "Ada Lovelace")
    assert not hasattr(ada, "unknown")
    assert ground.users.saved == [ada.id]
    user_details(ground.strategy, details, ground.backend(), ada)
    assert ground.users.saved == [ada.id]


def test_none_changes_nothing_and_empty_text_empties(ground: "Ground") -> None:
    ada = ground.user("ada", first_name="Ada", last_name="Lovelace")
    user_details(ground.strategy, {"first_name": None, "last_name": ""}, ground.backend(), ada)
    assert (ada.first_name, ada.last_name) == ("Ada", "")


def test_protected_fields_stay(memory: "Ground") -> None:
    names = ["username", "id", "pk", "email", "password", "is_active", "is_staff", "is_superuser"]
    user = SimpleNamespace(**dict.fromkeys(names, "old"))
    user_details(memory.strategy, dict.fromkeys(names, "new"), memory.backend(), user)
    assert vars(user) == dict.fromkeys(names, "old")
    assert memory.users.saved == []


@pytest.mark.parametrize("ground", ["svcctl"], indirect=True)
def test_what_a_user_shows_but_is_no_field_stays(ground: "Ground") -> None:
    ground.configure(NO_DEFAULT_PROTECTED_USER_FIELDS=True)
    ada = ground.user("ada")
    told = {"groups": ["admins"], "state": "Boss", "source": "x", "is_superuser": True, "id": 7}
    before = {name: getattr(ada, name) for name in told}
    user_details(ground.strategy, told, ground.backend(), ada)
    assert {name: getattr(ada, name) for name in told} == before
    assert ground.users.saved == []
    user_details(ground.strategy, told | {"nick": "A"}, ground.backend(), ada)
    assert ada.changes() == {"nick": "A"}


def test_it_needs_a_user_and_does_without_a_backend(ground: "Ground") -> None:
    user_details(ground.strategy, {"first_name": "Ada"}, ground.backend(), None)
    ada = ground.user("ada")
    user_details(ground.strategy, {"first_name": "Ada"}, None, ada)
    assert ada.first_name == "Ada"


def test_a_provider_that_only_connects_changes_no_profile(ground: "Ground") -> None:
    class Connecting(GithubOAuth2[Any]):
        ASSOCIATION_ONLY = True

    ada = ground.user("ada")
    user_details(ground.strategy, {"first_name": "Ada"}, ground.backend(Connecting), ada)
    assert ada.first_name is None
