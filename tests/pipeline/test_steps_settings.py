"""Every setting of the steps that ship: its default, set for all backends, set for one of them."""
# ruff: noqa: FBT003 - a table of values

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from social_core.backends.github import GithubOAuth2
from social_core.backends.keycloak import KeycloakOAuth2
from social_core.exceptions import AuthResponseError

from svcctl.errors import Refused
from svcctl.pipeline.step import Declaration
from svcctl.pipeline.steps import debug, disconnect, social, user

if TYPE_CHECKING:
    from tests.pipeline.grounds import Ground

ADA = {
    "id": 1,
    "login": "ada",
    "email": "Ada@Example.org",
    "name": "Ada L",
    "company": "Analytical",
}


class Github(GithubOAuth2[Any]):
    """GitHub, its network replaced by a list, with groups in the response."""

    revoked: list[str]

    def revoke_token(self, token: str, uid: str) -> None:
        self.revoked.append(token)

    def get_user_groups(self, response: Any) -> list[str]:
        return ["crew"]


class Keycloak(KeycloakOAuth2[Any]):
    """A provider whose groups come by a setting."""

    name = "github"


def names(ground: "Ground", **details: Any) -> dict[str, Any]:
    found: dict[str, Any] = social.social_names(ground.backend(), details)["details"]
    return found


def let_in(ground: "Ground", **details: Any) -> bool:
    try:
        social.auth_allowed(ground.backend(Github), details, ADA)
    except Refused:
        return False
    return True


def username(ground: "Ground", **details: Any) -> Any:
    found = user.get_username(ground.strategy, details, ground.backend())
    return found and found["username"]


def slugged(ground: "Ground") -> Any:
    ground.configure(SLUGIFY_USERNAMES=True)
    return username(ground, username="AB")


def a_taken_username(ground: "Ground") -> Any:
    ground.user("ada")
    return len(username(ground, username="ada"))


def created(ground: "Ground") -> Any:
    details = {"username": "ada", "email": "Ada@Example.org", "nick": "A"}
    made = user.create_user(ground.strategy, details, ground.backend())
    return made and tuple(
        ground.fields(made["user"])[name] for name in ("username", "email", "nick")
    )


def updated(ground: "Ground", **details: Any) -> Any:
    ada = ground.user("old", email="old@example.org", fullname="Old", nick="")
    user.user_details(ground.strategy, details, ground.backend(), ada)
    return ada.username, ada.email, ada.fullname, ada.nick


def kept(ground: "Ground") -> Any:
    found = ground.association(ground.user("ada"), "1")
    social.load_extra_data(ground.backend(), {}, ADA, "1", social=found)
    return sorted(found.extra_data.keys() - {"auth_time", "access_token", "token_type"})


def migrated(ground: "Ground") -> Any:
    ground.association(ground.user("ada"), "old@example.org", "email")
    old = [("email", "old@example.org")]
    try:
        found = social.social_user(ground.backend(), "1", id_key="id", legacy_identifiers=old)
    except Refused:
        return None
    return found["user"].username


def teamless(ground: "Ground") -> Any:
    ground.configure(GROUPS_KEY="teams")
    try:
        return social.social_details(ground.backend(Keycloak), {}, {})["groups"]
    except AuthResponseError as error:
        return error.code


def revoked(ground: "Ground") -> Any:
    Github.revoked = []
    ground.provide("github", Github)
    entry = ground.association(ground.user("ada"), "1", access_token="token")
    disconnect.revoke_tokens(ground.strategy, [entry], backend=ground.backend(Github))
    return Github.revoked


@dataclass(frozen=True)
class Case:
    """What a setting makes of what a step does, and what the step does without it."""

    setting: str
    value: Any
    does: Callable[["Ground"], Any]
    without: Any
    with_it: Any


MARY = {"fullname": "Mary Ann"}
SPLIT = {"fullname": "Mary Ann", "first_name": "Mary", "last_name": "Ann"}
CASES = [
    Case("FIRSTLAST_FROM_FULL", False, lambda g: names(g, **MARY), SPLIT, MARY),
    Case(
        "FULL_FROM_FIRSTLAST",
        False,
        lambda g: names(g, first_name="Mary", last_name="Ann"),
        SPLIT,
        {"first_name": "Mary", "last_name": "Ann"},
    ),
    Case(
        "ID_KEY",
        "login",
        lambda g: list(social.social_uid(g.backend(), {}, ADA).values())[:2],
        ["1", "id"],
        ["ada", "login"],
    ),
    Case(
        "LEGACY_ID_KEYS",
        ["login"],
        lambda g: social.social_uid(g.backend(), {}, ADA)["legacy_identifiers"],
        [],
        [("login", "ada")],
    ),
    Case("ALLOW_UNVERIFIED_LEGACY_UID_MIGRATION", True, migrated, None, "ada"),
    Case(
        "WHITELISTED_EMAILS",
        ["Bob@example.com"],
        lambda g: [let_in(g, email=e) for e in ("bob@EXAMPLE.com", "ada@example.com", None)],
        [True, True, True],
        [True, False, False],
    ),
    Case(
        "WHITELISTED_DOMAINS",
        ["Example.com"],
        lambda g: [
            let_in(g, email=e) for e in ("bob@EXAMPLE.com", "a@example.org", "@example.com")
        ],
        [True, True, True],
        [True, False, False],
    ),
    Case("ALLOW_GROUPS", ["crew"], let_in, True, True),
    Case("ALLOW_GROUPS", ["officers"], let_in, True, False),
    Case(
        "GROUPS_KEY",
        "teams",
        lambda g: social.social_details(g.backend(Keycloak), {}, {"teams": ["a"]})["groups"],
        None,
        ["a"],
    ),
    Case(
        "USER_FIELDS",
        ["username", "nick"],
        lambda g: (username(g, username="ada"), created(g)),
        ("ada", ("ada", "Ada@Example.org", None)),
        ("ada", ("ada", None, "A")),
    ),
    Case("USER_FIELDS", [], lambda g: username(g, username="ada"), "ada", None),
    Case(
        "GROUPS_MISSING_AS_EMPTY",
        True,
        teamless,
        "missing_claim",
        [],
    ),
    Case(
        "USERNAME_IS_FULL_EMAIL",
        True,
        lambda g: [username(g, username="ada", email=e) for e in ("a@x.org", "")],
        ["ada", "ada"],
        ["a@x.org", "ada"],
    ),
    Case("UUID_LENGTH", 4, a_taken_username, len("ada") + 16, len("ada") + 4),
    Case("SLUGIFY_USERNAMES", True, lambda g: username(g, username="A_B C"), "A_BC", "a_bc"),
    Case("CLEAN_USERNAMES", False, lambda g: username(g, username="Žofie C!"), "ofieC", "Žofie C!"),
    Case(
        "CLEAN_USERNAME_FUNCTION",
        "svcctl.pipeline.steps.user.slug",
        lambda g: username(g, username="A B"),
        "AB",
        "a-b",
    ),
    Case(
        "SLUGIFY_FUNCTION",
        "tests.pipeline.test_steps_settings.backwards",
        slugged,
        "ab",
        "BA",
    ),
    Case(
        "FORCE_EMAIL_LOWERCASE",
        True,
        created,
        ("ada", "Ada@Example.org", None),
        ("ada", "ada@example.org", None),
    ),
    Case(
        "EXTRA_DATA",
        ["company"],
        kept,
        ["expires_in", "id", "login", "refresh_token"],
        ["company", "expires_in", "id", "login", "refresh_token"],
    ),
    Case(
        "GET_ALL_EXTRA_DATA",
        True,
        kept,
        ["expires_in", "id", "login", "refresh_token"],
        ["company", "email", "id", "login", "name"],
    ),
    Case(
        "NO_DEFAULT_PROTECTED_USER_FIELDS",
        True,
        lambda g: updated(g, username="new", email="new@example.org"),
        ("old", "old@example.org", "Old", ""),
        ("new", "new@example.org", "Old", ""),
    ),
    Case(
        "NO_DEFAULT_PROTECTED_USER_FIELDS",
        "yes",
        lambda g: updated(g, username="new"),
        ("old", "old@example.org", "Old", ""),
        ("old", "old@example.org", "Old", ""),
    ),
    Case(
        "PROTECTED_USER_FIELDS",
        ["fullname"],
        lambda g: updated(g, username="new", fullname="New", nick="N"),
        ("old", "old@example.org", "New", "N"),
        ("old", "old@example.org", "Old", "N"),
    ),
    Case(
        "USER_FIELD_MAPPING",
        {"alias": "nick", "fullname": "email"},
        lambda g: updated(g, alias="N", fullname="New"),
        ("old", "old@example.org", "New", ""),
        ("old", "old@example.org", "Old", "N"),
    ),
    Case(
        "IMMUTABLE_USER_FIELDS",
        ["fullname", "nick"],
        lambda g: updated(g, fullname="New", nick="N"),
        ("old", "old@example.org", "New", "N"),
        ("old", "old@example.org", "Old", "N"),
    ),
    Case("REVOKE_TOKENS_ON_DISCONNECT", True, revoked, [], ["token"]),
]


def backwards(name: str) -> str:
    return name[::-1]


def case_id(case: Case) -> str:
    return case.setting


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_the_default(ground: "Ground", case: Case) -> None:
    assert case.does(ground) == case.without


@pytest.mark.parametrize("prefix", ["SOCIAL_AUTH_", ""])
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_the_setting_for_all_backends(memory: "Ground", case: Case, prefix: str) -> None:
    memory.configure(**{prefix + case.setting: case.value})
    assert case.does(memory) == case.with_it


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_the_setting_for_one_backend(ground: "Ground", case: Case) -> None:
    ground.configure(**{f"SOCIAL_AUTH_GITHUB_{case.setting}": case.value})
    assert case.does(ground) == case.with_it


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_the_setting_of_another_backend_is_none_of_its_business(
    memory: "Ground", case: Case
) -> None:
    memory.configure(**{f"SOCIAL_AUTH_DISCORD_{case.setting}": case.value})
    assert case.does(memory) == case.without


def test_every_declared_setting_is_here() -> None:
    declared = {
        setting
        for module in (social, user, disconnect, debug)
        for thing in vars(module).values()
        if isinstance(declaration := getattr(thing, "svcctl_step", None), Declaration)
        for setting in declaration.settings
    }
    policy = {
        "ALLOW_LAST_DISCONNECT",
        "ALLOWED_TO_DISCONNECT_FUNCTION",
    }  # svcctl's storage reads them
    assert declared - policy == {case.setting for case in CASES}
