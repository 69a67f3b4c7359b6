"""Whatever comes in: our steps and social-core's come to the same context and the same rows."""

from collections.abc import Callable
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from social_core.backends.github import GithubOAuth2
from social_core.backends.google import GoogleOAuth2
from social_core.exceptions import SocialAuthBaseException

from svcctl.errors import ConfigError, Refused
from tests.support.social import Strategy, Taken, Users

SOCIAL = {
    "social_details": "social_auth",
    "social_names": "social_auth",
    "social_uid": "social_auth",
    "auth_allowed": "social_auth",
    "social_user": "social_auth",
    "get_username": "user",
    "associate_by_email": "social_auth",
    "create_user": "user",
    "associate_user": "social_auth",
    "load_extra_data": "social_auth",
    "user_details": "user",
}
BY_EMAIL = list(SOCIAL)
DEFAULT = [name for name in BY_EMAIL if name != "associate_by_email"]
OURS = {"social_auth": "svcctl.pipeline.steps.social", "user": "svcctl.pipeline.steps.user"}

NAMES = st.sampled_from(
    [None, "", "  ", "ada", "Ada", "ada lovelace", "Žofie", "!!", "a" * 40, "Ada\tL", "bob", "é"]
) | st.text(max_size=8)
ADDRESSES = st.sampled_from([None, "", "ada@example.org", "Bob@Example.COM", "nobody", "a@x.org"])
UIDS = st.sampled_from([1, "1", "AbC", "abc", 0, "old@example.org", None, ""])
SURE = st.sampled_from([1, "1", "AbC", 0])
FLAG = st.booleans()
FIELDS = ["username", "email", "fullname", "first_name", "last_name", "nick"]
SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "FIRSTLAST_FROM_FULL": FLAG,
    "FULL_FROM_FIRSTLAST": FLAG,
    "ID_KEY": st.sampled_from(["id", "login", "email"]),
    "LEGACY_ID_KEYS": st.lists(st.sampled_from(["email", "login", "id"]), max_size=2),
    "ALLOW_UNVERIFIED_LEGACY_UID_MIGRATION": FLAG,
    "WHITELISTED_EMAILS": st.lists(st.sampled_from(["Ada@Example.org", "bob@example.com"])),
    "WHITELISTED_DOMAINS": st.lists(st.sampled_from(["Example.org", "x.org"])),
    "ALLOW_GROUPS": st.sampled_from([[], ["crew"], None, "crew"]),
    "USER_FIELDS": st.lists(st.sampled_from(FIELDS), unique=True),
    "USERNAME_IS_FULL_EMAIL": FLAG,
    "UUID_LENGTH": st.integers(8, 32),
    "SLUGIFY_USERNAMES": FLAG,
    "CLEAN_USERNAMES": FLAG,
    "FORCE_EMAIL_LOWERCASE": FLAG,
    "EXTRA_DATA": st.lists(
        st.sampled_from(["id", "nick", ("name",), ("name", "alias"), ["absent", "email", True]])
    ),
    "GET_ALL_EXTRA_DATA": FLAG,
    "NO_DEFAULT_PROTECTED_USER_FIELDS": st.sampled_from([True, False, "yes"]),
    "PROTECTED_USER_FIELDS": st.lists(st.sampled_from(FIELDS)),
    "USER_FIELD_MAPPING": st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(FIELDS)),
    "IMMUTABLE_USER_FIELDS": st.lists(st.sampled_from(FIELDS)),
}
PREFIXES = st.sampled_from(
    ["", "SOCIAL_AUTH_", "SOCIAL_AUTH_GITHUB_", "SOCIAL_AUTH_GOOGLE_OAUTH2_"]
)
CONFIGURED = st.lists(
    st.sampled_from(list(SETTINGS)).flatmap(
        lambda name: st.tuples(PREFIXES.map(lambda prefix: prefix + name), SETTINGS[name])
    ),
    max_size=6,
).map(dict)
RESPONSES = st.fixed_dictionaries(
    {"id": SURE | UIDS, "sub": SURE | UIDS},
    optional={
        "login": NAMES,
        "email": ADDRESSES,
        "name": NAMES,
        "given_name": NAMES,
        "family_name": NAMES,
        "access_token": st.sampled_from(["token", ""]),
        "expires_in": st.integers(0, 9),
    },
)
DETAILS = st.dictionaries(st.sampled_from(FIELDS), NAMES, max_size=2)
PEOPLE = st.lists(st.tuples(st.sampled_from(["ada", "bob", "cyd"]), ADDRESSES), max_size=3)
ASSOCIATIONS = st.lists(
    st.tuples(
        st.sampled_from(["1", "0", "old@example.org", "AbC", "ada@example.org", "ada"]),
        st.sampled_from(["id", "sub", "", "email", "login"]),
        st.dictionaries(st.sampled_from(["id", "sub"]), UIDS, max_size=2),
    ),
    max_size=3,
    unique_by=lambda one: one[0],
)
STEPS = st.sampled_from([DEFAULT, BY_EMAIL]) | st.permutations(BY_EMAIL).map(
    lambda names: ["social_details", "social_uid", *names[: len(names) // 2]]
)


@given(
    configured=CONFIGURED,
    response=RESPONSES,
    details=DETAILS,
    people=PEOPLE,
    associations=ASSOCIATIONS,
    steps=STEPS,
    backend=st.sampled_from([GithubOAuth2, GoogleOAuth2]),
    logged_in=FLAG,
    faster=st.sampled_from([None, 0, -1]),
)
@settings(max_examples=100, deadline=None)
def test_the_steps_come_to_the_same(
    configured: dict[str, Any],
    response: dict[str, Any],
    details: dict[str, Any],
    people: list[tuple[str, str | None]],
    associations: list[tuple[str, str, dict[str, Any]]],
    steps: list[str],
    backend: Any,
    logged_in: bool,  # noqa: FBT001
    faster: int | None,
) -> None:
    def come_to(path: Callable[[str], str]) -> Any:
        strategy = Strategy(**configured)
        users: Any = strategy.storage.user
        for name, email in people:
            users.create_user(username=name, email=email)
        if users.rows:
            for uid, key, extra in associations:
                social = users.create_social_auth(users.rows[0], uid, backend.name, key)
                social.extra_data = dict(extra)
        if faster is not None:
            users.faster = lambda: _login_elsewhere(users, backend.name, faster)
        context = {"user": users.rows[-1]} if logged_in and users.rows else {}
        with pytest.MonkeyPatch.context() as chance:
            digits = Random(7)
            for module in ("svcctl.pipeline.steps.user", "social_core.pipeline.user"):
                chance.setattr(f"{module}.uuid4", lambda: UUID(int=digits.getrandbits(128)))
            return outcome(
                backend(strategy), [path(name) for name in steps], response, details, context
            )

    ours = come_to(lambda name: f"{OURS[SOCIAL[name]]}.{name}")
    theirs = come_to(lambda name: f"social_core.pipeline.{SOCIAL[name]}.{name}")
    assert ours == theirs


def _login_elsewhere(users: Users, provider: str, whose: int) -> None:
    if users.rows and not users.get_social_auth(provider, "1"):
        users.create_social_auth(users.rows[whose], "1", provider, "id")


def outcome(
    backend: Any,
    steps: list[str],
    response: dict[str, Any],
    details: dict[str, Any],
    context: dict[str, Any],
) -> Any:
    """What a run left: context or error, and all rows."""
    came_to: Any
    try:
        came_to = backend.run_pipeline(steps, response=response, details=dict(details), **context)
    except Refused as error:
        came_to = error.code
    except ConfigError:
        came_to = "invalid_setting"
    except SocialAuthBaseException as error:
        setting = {"missing_setting": "invalid_setting"}
        came_to = setting.get(error.code, error.code)
    except (AttributeError, TypeError, Taken) as error:  # of the backend, or of a list of steps
        came_to = type(error).__name__
    else:
        came_to = {name: plain(value) for name, value in came_to.items()}
    users = backend.strategy.storage.user
    rows = [plain(one) | {"extra": one.extra_data} for one in users.associations]
    for row in rows:
        row["extra"].pop("auth_time", None)
    return came_to, [user.row for user in users.rows], rows, users.saved


def plain(value: Any) -> Any:
    """Objects by what makes them one."""
    if hasattr(value, "row"):
        return ("user", value.id)
    if hasattr(value, "uid"):
        return {"uid": value.uid, "key": value.id_key, "user": value.user.id}
    return value if isinstance(value, str | int | list | dict | None) else type(value).__name__
