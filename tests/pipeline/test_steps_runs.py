"""Whole logins and disconnections: our steps on social-core's engine, with its own backends."""

import re
from typing import TYPE_CHECKING, Any

import pytest
from social_core.backends.discord import DiscordOAuth2
from social_core.backends.github import GithubOAuth2
from social_core.backends.google import GoogleOAuth2
from social_core.pipeline.partial import partial
from social_core.utils import PARTIAL_TOKEN_SESSION_NAME

from svcctl.errors import Refused
from tests.support.social import Redirect

if TYPE_CHECKING:
    from tests.pipeline.grounds import Ground

SOCIAL, USER, LEAVE = (f"svcctl.pipeline.steps.{name}" for name in ("social", "user", "disconnect"))
HERE = "tests.pipeline.test_steps_runs"
DEFAULT = [
    f"{SOCIAL}.social_details",
    f"{SOCIAL}.social_names",
    f"{SOCIAL}.social_uid",
    f"{SOCIAL}.auth_allowed",
    f"{SOCIAL}.social_user",
    f"{USER}.get_username",
    f"{USER}.create_user",
    f"{SOCIAL}.associate_user",
    f"{SOCIAL}.load_extra_data",
    f"{USER}.user_details",
]
BY_EMAIL = [*DEFAULT[:6], f"{SOCIAL}.associate_by_email", *DEFAULT[6:]]
DISCONNECT = [
    f"{LEAVE}.{name}"
    for name in ("allowed_to_disconnect", "get_entries", "revoke_tokens", "disconnect")
]
TOKENS = {"access_token": "s3cret", "token_type": "bearer"}
GITHUB = TOKENS | {"id": 1, "login": "ada", "email": "ada@example.org", "name": "Ada Lovelace"}
DISCORD = TOKENS | {"id": "80351110224678912", "username": "ada", "email": "ada@example.org"}
GOOGLE = TOKENS | {
    "sub": "1098",
    "email": "ada@example.org",
    "name": "Ada Lovelace",
    "given_name": "Ada",
    "family_name": "Lovelace",
}
PROVIDERS: list[tuple[Any, dict[str, Any], str, set[str]]] = [
    (GithubOAuth2, GITHUB, "1", {"id", "login", "expires_in", "refresh_token"}),
    (DiscordOAuth2, DISCORD, "80351110224678912", {"expires_in", "refresh_token"}),
    (GoogleOAuth2, GOOGLE, "1098", {"expires_in", "sub"}),
]


def login(
    ground: "Ground",
    response: dict[str, Any],
    backend: Any = GithubOAuth2,
    steps: list[str] | None = None,
    **context: Any,
) -> Any:
    """As a web framework does it after the provider has sent the person back."""
    return ground.login(ground.backend(backend), steps or DEFAULT, response=response, **context)


@pytest.mark.parametrize(("backend", "response", "uid", "kept"), PROVIDERS)
def test_somebody_new_becomes_a_user_with_an_association(
    ground: "Ground", backend: Any, response: dict[str, Any], uid: str, kept: set[str]
) -> None:
    user = login(ground, response, backend)
    assert user.is_new
    assert user.email == "ada@example.org"
    (social,) = ground.users.associations
    assert (social.provider, social.uid, social.user) == (backend.name, uid, user)
    assert social.extra_data["access_token"] == "s3cret"
    found = social.extra_data.keys() - {"auth_time", "access_token", "token_type"}
    assert found == kept
    assert (user.first_name, user.last_name) == (
        ("Ada", "Lovelace") if "name" in response else (None, None)
    )


@pytest.mark.parametrize(("backend", "response", "uid", "kept"), PROVIDERS)
def test_who_comes_back_is_the_same_user_with_new_tokens(
    ground: "Ground", backend: Any, response: dict[str, Any], uid: str, kept: set[str]
) -> None:
    first = login(ground, response, backend)
    again = login(ground, response | {"access_token": "newer", "name": "Ada King"}, backend)
    assert again is first
    assert not again.is_new
    assert len(ground.users.rows) == len(ground.users.associations) == 1
    assert ground.users.associations[0].extra_data["access_token"] == "newer"


def test_who_is_logged_in_connects_another_provider(ground: "Ground") -> None:
    ada = ground.user("ada", email="ada@example.org")
    login(ground, GITHUB, user=ada)
    login(ground, GITHUB | {"id": 2, "login": "ada2"}, user=ada)
    login(ground, DISCORD, DiscordOAuth2, user=ada)
    assert ground.users.rows == [ada]
    owners = [(one.provider, one.uid, one.user) for one in ground.users.associations]
    assert owners == [
        ("github", "1", ada),
        ("github", "2", ada),
        ("discord", "80351110224678912", ada),
    ]


def test_the_uid_of_somebody_else_is_not_connected(ground: "Ground") -> None:
    login(ground, GITHUB)
    bob = ground.user("bob")
    with pytest.raises(Refused) as refused:
        login(ground, GITHUB, user=bob)
    assert refused.value.code == "identity_in_use"
    assert len(ground.users.associations) == 1


def test_who_is_not_let_in_leaves_nothing_behind(ground: "Ground") -> None:
    ground.configure(SOCIAL_AUTH_GITHUB_WHITELISTED_DOMAINS=["example.com"])
    with pytest.raises(Refused):
        login(ground, GITHUB)
    assert not ground.users.rows
    assert not ground.users.associations


def test_a_taken_username_gets_digits(ground: "Ground") -> None:
    ground.user("ada")
    assert re.fullmatch(r"ada[0-9a-f]{16}", login(ground, GITHUB).username)


@pytest.mark.parametrize(
    ("settings", "response", "username"),
    [
        ({"SOCIAL_AUTH_USERNAME_IS_FULL_EMAIL": True}, {}, r"ada@example\.org"),
        ({}, {"login": None}, r"[0-9a-f]{32}"),
        (
            {"SOCIAL_AUTH_CLEAN_USERNAMES": False, "SOCIAL_AUTH_SLUGIFY_USERNAMES": True},
            {"login": "Foo Bar"},
            r"foo-bar",
        ),
    ],
)
def test_the_username_follows_the_settings(
    ground: "Ground", settings: dict[str, Any], response: dict[str, Any], username: str
) -> None:
    ground.configure(**settings)
    assert re.fullmatch(username, login(ground, GITHUB | response).username)


def test_the_address_is_stored_in_lower_case_if_wanted(ground: "Ground") -> None:
    ground.configure(SOCIAL_AUTH_FORCE_EMAIL_LOWERCASE=True)
    assert login(ground, GITHUB | {"email": "Ada@Example.org"}).email == "ada@example.org"


def test_the_address_finds_an_existing_user_where_the_pipeline_wants_it(ground: "Ground") -> None:
    ada = ground.user("countess", email="ada@example.org")
    assert login(ground, DISCORD, DiscordOAuth2, BY_EMAIL) is ada
    ground.user("twin", email="ada@example.org")
    with pytest.raises(Refused) as refused:
        login(ground, GOOGLE, GoogleOAuth2, BY_EMAIL)
    assert refused.value.code == "email_in_use"


def test_a_login_that_was_faster_is_taken_over(ground: "Ground") -> None:
    ada = ground.user("ada")
    ground.users.faster = lambda: ground.association(ada, "1")
    assert login(ground, GITHUB, user=ada) is ada
    assert [one.user for one in ground.users.associations] == [ada]


def test_an_error_of_the_storage_is_not_hidden(ground: "Ground") -> None:
    def failing() -> None:
        raise ground.taken("another constraint")

    ground.users.faster = failing
    with pytest.raises(ground.taken):
        login(ground, GITHUB)


def test_without_create_user_only_who_is_known_comes_in(ground: "Ground") -> None:
    steps = [step for step in DEFAULT if not step.endswith("create_user")]
    assert login(ground, GITHUB, steps=steps) is None
    assert not ground.users.rows
    assert not ground.users.associations


def test_a_step_of_somebody_else_may_take_the_user_away_again(ground: "Ground") -> None:
    assert login(ground, GITHUB, steps=[*DEFAULT, f"{HERE}.remove_user"]) is None


def remove_user(*arguments: Any, **context: Any) -> dict[str, Any]:
    return {"user": None}


# Runs that pause, with social-core's own decorator


@partial
def ask_for_password(strategy: Any, *arguments: Any, **context: Any) -> Any:
    password = strategy.session_get("password")
    return {"password": password} if password else strategy.redirect("/password")


def set_password(user: Any, *arguments: Any, **context: Any) -> None:
    user.password = context["password"]


def resume(memory: "Ground", backend: Any = GithubOAuth2) -> Any:
    paused = memory.strategy.partial_load(memory.strategy.session_pop(PARTIAL_TOKEN_SESSION_NAME))
    provider = memory.backend(backend)
    memory.strategy.session["password"] = "pass"
    if paused.pipeline_type == "disconnect":
        return provider.continue_disconnect_pipeline(paused)
    return provider.continue_pipeline(paused)


@pytest.mark.parametrize("place", range(len(DEFAULT) + 1))
@pytest.mark.parametrize("known", [True, False])
def test_a_login_goes_on_where_it_paused_and_comes_to_the_same(
    memory: "Ground",
    place: int,
    known: bool,  # noqa: FBT001
) -> None:
    expected = login(memory, GITHUB).row if known else None
    steps = [*DEFAULT[:place], f"{HERE}.ask_for_password", *DEFAULT[place:]]
    assert login(memory, GITHUB, steps=steps) == Redirect("/password")
    user = resume(memory)
    (social,) = memory.users.associations
    assert social.user is user
    assert social.extra_data["access_token"] == "s3cret"
    assert len(memory.users.rows) == 1
    assert user.row == (expected or user.row | {"username": "ada", "fullname": "Ada Lovelace"})


def test_a_user_found_by_address_is_there_after_a_pause(memory: "Ground") -> None:
    ada = memory.user("countess", email="ada@example.org")
    steps = [*BY_EMAIL[:7], f"{HERE}.ask_for_password", *BY_EMAIL[7:], f"{HERE}.set_password"]
    login(memory, GITHUB, steps=steps)
    assert resume(memory) is ada
    assert ada.row["password"] == "pass"
    assert memory.users.rows == [ada]


def test_identifiers_survive_a_pause(memory: "Ground") -> None:
    ada = memory.user("ada")
    old = memory.association(ada, "old@example.org", "email", "google-oauth2", sub="1098")
    steps = [*DEFAULT[:4], f"{HERE}.ask_for_password", *DEFAULT[4:]]
    login(memory, GOOGLE | {"email": "old@example.org"}, GoogleOAuth2, steps)
    assert resume(memory, GoogleOAuth2) is ada
    assert (old.uid, old.id_key) == ("1098", "sub")


def test_groups_survive_a_pause(memory: "Ground") -> None:
    class Grouped(GithubOAuth2[Any]):
        def get_user_groups(self, response: Any) -> list[str]:
            return ["crew"]

    SEEN.clear()
    steps = [DEFAULT[0], f"{HERE}.ask_for_password", f"{HERE}.note_groups"]
    login(memory, GITHUB, Grouped, steps)
    resume(memory, Grouped)
    assert SEEN == [["crew"]]


SEEN: list[Any] = []


def note_groups(groups: Any, *arguments: Any, **context: Any) -> None:
    SEEN.append(groups)


def test_a_disconnection_goes_on_where_it_paused(memory: "Ground") -> None:
    user = login(memory, GITHUB)
    memory.users.refuse_last = False
    steps = [DISCONNECT[0], f"{HERE}.ask_for_password", *DISCONNECT[1:]]
    memory.configure(SOCIAL_AUTH_DISCONNECT_PIPELINE=steps)
    assert memory.backend().disconnect(user=user) == Redirect("/password")
    assert len(memory.users.associations) == 1
    resume(memory)
    assert memory.users.associations == []
