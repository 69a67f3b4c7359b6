"""Who comes from a provider, which user that is, and what is kept of it."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from social_core.backends.base import BaseAuth
from social_core.backends.github import GithubOAuth2
from social_core.backends.keycloak import KeycloakOAuth2
from social_core.backends.okta import OktaOAuth2
from social_core.backends.telegram import TelegramAuth
from social_core.exceptions import AuthConfigurationError, AuthResponseError

from svcctl.errors import Refused
from svcctl.pipeline.interface import same
from svcctl.pipeline.steps.social import (
    associate_by_email,
    associate_user,
    auth_allowed,
    load_extra_data,
    social_details,
    social_names,
    social_uid,
    social_user,
)
from svcctl.pipeline.steps.user import user_details

if TYPE_CHECKING:
    from tests.pipeline.grounds import Ground

ADA = {"id": 1, "login": "ada", "email": "ada@example.org", "name": "Ada Lovelace"}


# social_details


def test_details_come_from_the_response_and_what_is_known_already_wins(ground: "Ground") -> None:
    given = {"email": "countess@example.org", "title": "Lady"}
    result = social_details(ground.backend(), given, ADA)
    assert result["details"] == {
        "username": "ada",
        "email": "countess@example.org",
        "fullname": "Ada Lovelace",
        "first_name": None,
        "last_name": None,
        "title": "Lady",
    }
    assert given == {"email": "countess@example.org", "title": "Lady"}


def test_groups_stand_beside_the_details_and_are_none_where_nothing_reads_them(
    ground: "Ground",
) -> None:
    keycloak = ground.backend(KeycloakOAuth2)
    response = {"preferred_username": "ada", "groups": ["a", "a", "b"]}
    assert social_details(keycloak, {}, response)["groups"] is None
    ground.configure(SOCIAL_AUTH_KEYCLOAK_GROUPS_KEY="groups")
    result = social_details(keycloak, {}, response)
    assert result["groups"] == ["a", "b"]
    assert "groups" not in result["details"]


def test_groups_of_okta_reach_the_context(memory: "Ground") -> None:
    memory.configure(SOCIAL_AUTH_OKTA_OAUTH2_GROUPS_KEY="groups")
    okta = memory.backend(OktaOAuth2)
    assert social_details(okta, {}, {"sub": "u", "groups": ["a", "x"]})["groups"] == ["a", "x"]
    with pytest.raises(AuthResponseError):
        social_details(okta, {}, {"sub": "u", "groups": "a"})


# social_names


@pytest.mark.parametrize(
    ("full", "first", "last", "expected"),
    [
        ("Mary Jane Watson", "", "", ("Mary Jane Watson", "Mary", "Jane Watson")),
        ("Prince", "", "", ("Prince", "Prince", "")),
        ("  ", " ", "\t", ("", "", "")),
        ("  Ada   Lovelace  ", "", "", ("Ada   Lovelace", "Ada", "Lovelace")),
        ("", " Ada ", " Lovelace ", ("Ada Lovelace", "Ada", "Lovelace")),
        ("", "Prince", "", ("Prince", "Prince", "")),
        ("", "", "Watson", ("Watson", "", "Watson")),
        ("", "Jane", "Jane Watson", ("Jane Watson", "Jane", "Jane Watson")),
        ("", "Jane", "Jane", ("Jane", "Jane", "Jane")),
        ("", "Ann", "Anniston", ("Ann Anniston", "Ann", "Anniston")),
        ("", "Ann", "McAnn", ("Ann McAnn", "Ann", "McAnn")),
        ("", "Ann", "Mary Ann Watson", ("Mary Ann Watson", "Ann", "Mary Ann Watson")),
        (
            "",
            "Mary Jane",
            "Mary Jane Watson",
            ("Mary Jane Watson", "Mary Jane", "Mary Jane Watson"),
        ),
        ("", "Jane", "Jane\tWatson", ("Jane\tWatson", "Jane", "Jane\tWatson")),
        ("", "Jane", "jane Watson", ("Jane jane Watson", "Jane", "jane Watson")),
        ("Žofie Černá", "", "", ("Žofie Černá", "Žofie", "Černá")),
        ("Display Name", "Given", "Surname", ("Display Name", "Given", "Surname")),
        ("Display Name", "Given", "", ("Display Name", "Given", "")),
        ("Display Name", "", "Surname", ("Display Name", "", "Surname")),
        ("", "A.B", "AxB", ("A.B AxB", "A.B", "AxB")),
    ],
)
def test_names_are_derived_from_one_another(
    memory: "Ground", full: str, first: str, last: str, expected: tuple[str, str, str]
) -> None:
    given = {"fullname": full, "first_name": first, "last_name": last, "email": "x@example.org"}
    before = dict(given)
    details = social_names(memory.backend(), given)["details"]
    assert (details["fullname"], details["first_name"], details["last_name"]) == expected
    assert details["email"] == "x@example.org"
    assert given == before
    assert social_names(memory.backend(), details)["details"] == details


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        (
            {"fullname": None, "first_name": None, "last_name": None},
            {"fullname": None, "first_name": None, "last_name": None},
        ),
        (
            {"fullname": "  ", "first_name": "\t", "last_name": None},
            {"fullname": "", "first_name": "", "last_name": None},
        ),
        ({"first_name": "Ada"}, {"fullname": "Ada", "first_name": "Ada"}),
        (
            {"first_name": "Ada", "last_name": None},
            {"fullname": "Ada", "first_name": "Ada", "last_name": None},
        ),
        (
            {"first_name": "Ada", "last_name": ""},
            {"fullname": "Ada", "first_name": "Ada", "last_name": ""},
        ),
        ({"fullname": "Prince"}, {"fullname": "Prince", "first_name": "Prince"}),
        (
            {"fullname": "Prince", "first_name": None, "last_name": None},
            {"fullname": "Prince", "first_name": "Prince", "last_name": None},
        ),
        (
            {"fullname": "Display Name", "first_name": "Given", "last_name": None},
            {"fullname": "Display Name", "first_name": "Given", "last_name": None},
        ),
    ],
)
def test_a_name_that_nobody_knows_stays_none_or_missing(
    memory: "Ground", given: dict[str, Any], expected: dict[str, Any]
) -> None:
    details = social_names(memory.backend(), given)["details"]
    assert details == expected
    assert social_names(memory.backend(), details)["details"] == expected


def test_backends_leave_the_names_to_the_step(memory: "Ground") -> None:
    github, telegram = memory.backend(GithubOAuth2), memory.backend(TelegramAuth)
    told = github.get_user_details({"name": "Mary Jane Watson"})
    assert social_names(github, told)["details"]["last_name"] == "Jane Watson"
    told = telegram.get_user_details({"id": 1, "first_name": "Jane", "last_name": "Jane Watson"})
    assert social_names(telegram, told)["details"]["fullname"] == "Jane Watson"


@pytest.mark.parametrize(
    ("given", "settings", "expected"),
    [
        ({}, {}, ("Existing Full", "Existing", "Surname")),
        (
            {"fullname": None, "first_name": None, "last_name": None},
            {},
            ("Existing Full", "Existing", "Surname"),
        ),
        ({"first_name": "Ada"}, {}, ("Ada", "Ada", "Surname")),
        ({"fullname": "Prince"}, {}, ("Prince", "Prince", "Surname")),
        ({"first_name": "Ada", "last_name": ""}, {}, ("Ada", "Ada", "")),
        ({"fullname": "", "first_name": "", "last_name": ""}, {}, ("", "", "")),
        (
            {"fullname": "Ada Lovelace"},
            {"FIRSTLAST_FROM_FULL": False},
            ("Ada Lovelace", "Existing", "Surname"),
        ),
        (
            {"first_name": "Ada", "last_name": "Lovelace"},
            {"FULL_FROM_FIRSTLAST": False},
            ("Existing Full", "Ada", "Lovelace"),
        ),
        (
            {"first_name": "Ada"},
            {"PROTECTED_USER_FIELDS": ["first_name", "fullname"]},
            ("Existing Full", "Existing", "Surname"),
        ),
        (
            {"first_name": "Ada"},
            {"IMMUTABLE_USER_FIELDS": ["first_name", "fullname"]},
            ("Existing Full", "Existing", "Surname"),
        ),
    ],
)
def test_derived_names_change_only_what_is_known(
    ground: "Ground",
    given: dict[str, Any],
    settings: dict[str, Any],
    expected: tuple[str, str, str],
) -> None:
    ground.configure(**settings)
    names = {"fullname": "Existing Full", "first_name": "Existing", "last_name": "Surname"}
    user = ground.user("existing", email="existing@example.org", **names)
    details = social_names(ground.backend(), given)["details"]
    user_details(ground.strategy, details, ground.backend(), user)
    assert (user.fullname, user.first_name, user.last_name) == expected
    assert (user.username, user.email) == ("existing", "existing@example.org")
    assert ground.users.saved == ([] if expected == tuple(names.values()) else [user.id])


def test_a_name_that_is_a_number_is_text_and_one_that_is_a_list_is_refused(
    memory: "Ground",
) -> None:
    details = social_names(memory.backend(), {"fullname": 47})["details"]
    assert details == {"fullname": "47", "first_name": "47"}
    with pytest.raises(Refused, match=r"^details\.fullname: list instead of text$") as refused:
        social_names(memory.backend(), {"fullname": ["Ada"]})
    assert refused.value.code == "invalid_claim"


# social_uid


def test_the_uid_is_text_with_the_key_under_which_it_stands(ground: "Ground") -> None:
    assert social_uid(ground.backend(), {}, ADA) == {
        "uid": "1",
        "id_key": "id",
        "legacy_identifiers": [],
        "legacy_uids": [],
    }


def test_zero_is_a_uid(memory: "Ground") -> None:
    assert social_uid(memory.backend(), {}, {"id": 0})["uid"] == "0"


@pytest.mark.parametrize("response", [{}, {"id": None}, {"id": ""}])
def test_no_uid_is_refused_and_never_becomes_the_text_none(
    memory: "Ground", response: dict[str, Any]
) -> None:
    with pytest.raises(Refused, match=r"^github: no uid in the response, id is missing") as refused:
        social_uid(memory.backend(), {}, response)
    assert refused.value.code == "missing_claim"
    assert refused.value.hint


def test_a_provider_that_has_no_key_for_the_uid_says_so(ground: "Ground") -> None:
    plain: Any = BaseAuth(ground.strategy)
    with pytest.raises(Refused, match=r"no uid in the response, its key is missing or empty$"):
        social_uid(plain, {}, {})


# auth_allowed


def test_who_is_on_no_list_is_refused_by_name(memory: "Ground") -> None:
    memory.configure(SOCIAL_AUTH_WHITELISTED_DOMAINS=["example.org"])
    auth_allowed(memory.backend(), {"email": "Ada@Example.ORG"}, ADA)
    for details, who in (
        ({"email": "bob@example.com", "username": "bob"}, "bob@example.com"),
        ({"username": "bob"}, "bob"),
        ({}, "somebody without an address"),
    ):
        with pytest.raises(Refused, match=rf"^github: {who} is not let in$") as refused:
            auth_allowed(memory.backend(), details, ADA)
        assert refused.value.code == "authentication_disallowed"


def test_a_backend_may_have_its_own_mind(memory: "Ground") -> None:
    class Weekdays(GithubOAuth2[Any]):
        def auth_allowed(self, response: Any, details: Any) -> bool:
            return bool(response["day"] != "sunday")

    auth_allowed(memory.backend(Weekdays), {}, {"day": "monday"})
    with pytest.raises(Refused):
        auth_allowed(memory.backend(Weekdays), {}, {"day": "sunday"})


def test_groups_let_in_together_with_the_address(memory: "Ground") -> None:
    memory.configure(
        SOCIAL_AUTH_KEYCLOAK_GROUPS_KEY="groups",
        SOCIAL_AUTH_KEYCLOAK_ALLOW_GROUPS=["a", "b"],
        SOCIAL_AUTH_KEYCLOAK_WHITELISTED_DOMAINS=["example.org"],
    )
    keycloak, here = memory.backend(KeycloakOAuth2), {"email": "ada@example.org"}
    auth_allowed(keycloak, here, {"groups": ["b"]})
    for details, response in (
        (here, {"groups": []}),
        (here, {"groups": ["c"]}),
        ({"email": "ada@example.com"}, {"groups": ["a"]}),
    ):
        with pytest.raises(Refused):
            auth_allowed(keycloak, details, response)
    memory.configure(SOCIAL_AUTH_KEYCLOAK_GROUPS_KEY=None)
    with pytest.raises(AuthConfigurationError):
        auth_allowed(keycloak, here, {"groups": ["a"]})


# social_user


def test_nobody_is_known_for_a_new_uid(ground: "Ground") -> None:
    assert social_user(ground.backend(), "1", id_key="id") == {
        "social": None,
        "user": None,
        "is_new": True,
        "new_association": True,
    }


def test_a_known_uid_gives_its_user(ground: "Ground") -> None:
    ada = ground.user("ada")
    social = ground.association(ada, "1")
    result = social_user(ground.backend(), "1", id_key="id")
    assert same(result.pop("social"), social)
    assert result == {"user": ada, "is_new": False, "new_association": False}


def test_who_is_logged_in_stays_who_they_are(ground: "Ground") -> None:
    ada = ground.user("ada")
    result = social_user(ground.backend(), "1", ada, id_key="id")
    assert (result["user"], result["is_new"], result["new_association"]) == (ada, False, True)
    social = ground.association(ada, "1")
    result = social_user(ground.backend(), "1", ada, id_key="id")
    assert same(result["social"], social)
    assert (result["user"], result["is_new"], result["new_association"]) == (ada, False, False)


def test_the_uid_of_somebody_else_is_refused_and_both_are_named(ground: "Ground") -> None:
    ground.association(ground.user("ada"), "1")
    with pytest.raises(Refused, match=r"^github: uid 1 belongs to ada, not to bob$") as refused:
        social_user(ground.backend(), "1", ground.user("bob"), id_key="id")
    assert refused.value.code == "identity_in_use"
    assert refused.value.hint


def test_users_are_compared_by_primary_key_and_never_by_their_fields(ground: "Ground") -> None:
    ada = ground.user("ada")
    ground.association(ada, "1")
    again = SimpleNamespace(id=ada.id, username="ada", fullname="changed, not saved")
    assert social_user(ground.backend(), "1", again, id_key="id")["user"] is again
    twin = SimpleNamespace(**{**ground.fields(ada), "id": ada.id + 1})
    with pytest.raises(Refused):
        social_user(ground.backend(), "1", twin, id_key="id")
    django = SimpleNamespace(pk=ada.id, id="of another table", username="ada")
    assert social_user(ground.backend(), "1", django, id_key="id")["user"] is django


def test_uids_are_compared_with_their_case(ground: "Ground") -> None:
    ground.association(ground.user("ada"), "AbC")
    assert social_user(ground.backend(), "abc", id_key="id")["is_new"]
    assert not social_user(ground.backend(), "AbC", id_key="id")["is_new"]


# associate_by_email


def test_one_user_with_the_address_is_taken(ground: "Ground") -> None:
    ada = ground.user("ada", email="ada@example.org")
    details = {"email": "ada@example.org"}
    result = associate_by_email(ground.backend(), details)
    assert result == {"user": ada, "is_new": False}
    assert associate_by_email(ground.backend(), details, ground.user("bob")) is None
    assert associate_by_email(ground.backend(), {"email": "bob@example.org"}) is None
    assert associate_by_email(ground.backend(), {"email": ""}) is None
    assert associate_by_email(ground.backend(), {}) is None


def test_an_address_of_several_users_is_refused(ground: "Ground") -> None:
    for name in ("ada", "countess"):
        ground.user(name, email="ada@example.org")
    with pytest.raises(Refused, match=r"^2 users have the address ada@example\.org$") as refused:
        associate_by_email(ground.backend(), {"email": "ada@example.org"})
    assert refused.value.code == "email_in_use"


# associate_user


def test_an_association_is_stored_once_with_its_key(ground: "Ground") -> None:
    ada = ground.user("ada")
    result = associate_user(ground.backend(), "1", ada, id_key="id")
    social = ground.users.get_social_auth("github", "1")
    assert result == {"social": social, "user": ada, "new_association": True}
    assert social is not None
    assert social.id_key == "id"
    assert associate_user(ground.backend(), "1", ada, social) is None
    assert associate_user(ground.backend(), "1", None) is None
    assert len(ground.users.associations) == 1


def test_a_login_of_the_same_user_that_was_faster_is_taken_over(ground: "Ground") -> None:
    ada = ground.user("ada")
    ground.users.faster = lambda: ground.association(ada, "1")
    result = associate_user(
        ground.backend(), "1", ada, id_key="id", legacy_identifiers=[], response={}, is_new=True
    )
    social = ground.users.get_social_auth("github", "1")
    assert result == {"social": social, "user": ada, "is_new": False, "new_association": False}


def test_a_login_of_somebody_else_that_was_faster_is_refused(ground: "Ground") -> None:
    ada, bob = ground.user("ada"), ground.user("bob")
    ground.users.faster = lambda: ground.association(bob, "1")
    with pytest.raises(Refused) as refused:
        associate_user(ground.backend(), "1", ada, id_key="id")
    assert refused.value.code == "identity_in_use"


def test_other_errors_of_the_storage_are_not_hidden(ground: "Ground") -> None:
    def broken() -> None:
        raise RuntimeError("the disk is gone")

    def something_else() -> None:
        raise ground.taken("another constraint")

    ada = ground.user("ada")
    for failure, error in ((broken, RuntimeError), (something_else, ground.taken)):
        ground.users.faster = failure
        with pytest.raises(error):
            associate_user(ground.backend(), "1", ada, id_key="id")


# load_extra_data


def test_extra_data_is_merged_into_what_is_kept(ground: "Ground") -> None:
    social = ground.association(ground.user("ada"), "1", access_token="old", note="kept")
    response = ADA | {"access_token": "new", "token_type": "bearer", "secret": "x"}
    load_extra_data(ground.backend(), {}, response, "1", social.user, social=social)
    assert social.extra_data.pop("auth_time") > 0
    assert social.extra_data == {
        "access_token": "new",
        "token_type": "bearer",
        "note": "kept",
        "id": 1,
        "login": "ada",
        "expires_in": None,
        "refresh_token": None,
    }


def test_extra_data_finds_the_association_itself_and_does_without_one(ground: "Ground") -> None:
    load_extra_data(ground.backend(), {}, ADA, "1")
    assert ground.users.associations == []
    social = ground.association(ground.user("ada"), "1")
    load_extra_data(ground.backend(), {}, ADA, "1", access_token="from the context")
    assert social.extra_data["login"] == "ada"
    assert social.extra_data["access_token"] == "from the context"


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (["company"], {"company": "Analytical"}),
        ([["company"]], {"company": "Analytical"}),
        ([("company", "firm")], {"firm": "Analytical"}),
        ([["company", "firm"]], {"firm": "Analytical"}),
        ([("absent", "alias", True)], {}),
        ([("absent", "alias", False)], {"alias": None}),
        ([("present", "alias")], {"alias": None}),
        ([("present", "alias", True)], {}),
        (["title"], {"title": "Lady"}),
        ([("absent", "title")], {"title": "Lady"}),
    ],
)
def test_the_forms_of_an_item_of_extra_data(
    ground: "Ground", items: list[Any], expected: dict[str, Any]
) -> None:
    ground.configure(SOCIAL_AUTH_EXTRA_DATA=items)

    class Plain(BaseAuth[Any]):
        name = "plain"

    social = ground.association(ground.user("ada"), "1", provider="plain")
    response, details = {"company": "Analytical", "present": None}, {"title": "Lady"}
    load_extra_data(ground.backend(Plain), details, response, "1", social=social)
    assert social.extra_data.pop("auth_time") > 0
    assert social.extra_data == expected


def test_an_item_of_extra_data_with_too_many_parts_is_an_error_of_the_settings(
    ground: "Ground",
) -> None:
    ground.configure(SOCIAL_AUTH_EXTRA_DATA=[("a", "b", True, "c")])
    social = ground.association(ground.user("ada"), "1")
    with pytest.raises(AuthConfigurationError):
        load_extra_data(ground.backend(), {}, {}, "1", social=social)
