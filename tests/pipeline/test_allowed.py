"""Who is let in, as the mapped backend says it: the same as social-core's backends say."""

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from social_core.backends.base import BaseAuth
from social_core.backends.keycloak import KeycloakOAuth2
from social_core.exceptions import AuthConfigurationError, AuthResponseError

from svcctl.errors import ConfigError, Refused
from svcctl.pipeline.allowed import allowed, groups
from tests.support.social import Strategy

if TYPE_CHECKING:
    from tests.pipeline.grounds import Ground

ADDRESSES = st.sampled_from(
    [
        None,
        "",
        7,
        "ada@example.org",
        "ADA@Example.ORG",
        "bob@example.com",
        "ada",
        "ada@",
        "@example.org",
        "ada@example.org@evil.example",
        "evil.example@example.org",
        '"a@b"@example.org',
        "ada@example.org\n",
        "ada@[127.0.0.1]",
        " ada@example.org",
        "ada @example.org",
        "ada@example.org (comment)",
        "ädä@example.org",
        "ada@sub.example.org",
    ]
) | st.text('aA@." ', max_size=9)


@settings(max_examples=50, deadline=None)
@given(
    email=ADDRESSES,
    emails=st.lists(st.sampled_from(["ada@example.org", "Bob@Example.com", "@example.org"])),
    domains=st.lists(
        st.sampled_from(["example.org", "Example.COM", "evil.example", "[127.0.0.1]"])
    ),
    wanted=st.lists(st.sampled_from(["crew", "officers"])),
    said=st.lists(st.sampled_from(["crew", "officers", "CREW"])),
)
def test_it_says_what_social_core_says(
    email: Any, emails: list[str], domains: list[str], wanted: list[str], said: list[str]
) -> None:
    strategy = Strategy(
        WHITELISTED_EMAILS=emails,
        WHITELISTED_DOMAINS=domains,
        ALLOW_GROUPS=wanted,
        GROUPS_KEY="groups",
    )
    backend: Any = KeycloakOAuth2(strategy)
    response, details = {"groups": said}, {"email": email}
    assert allowed(backend, response, details) == backend.auth_allowed(response, details)


@pytest.mark.parametrize("name", ["WHITELISTED_EMAILS", "WHITELISTED_DOMAINS", "ALLOW_GROUPS"])
@pytest.mark.parametrize("value", [None, "example.org", {}, [1], [""]])
def test_a_list_that_is_none_is_an_error_of_the_settings(
    memory: "Ground", name: str, value: Any
) -> None:
    memory.configure(**{name: value})
    with pytest.raises(ConfigError, match=rf"^{name}: .* is no list of names$"):
        allowed(memory.backend(), {}, {})


def test_groups_that_nobody_reads_let_nobody_in_and_say_so(memory: "Ground") -> None:
    memory.configure(ALLOW_GROUPS=["crew"])
    with pytest.raises(ConfigError, match=r"^github: ALLOW_GROUPS is set, and no groups are read"):
        allowed(memory.backend(), {"groups": ["crew"]}, {})


@settings(max_examples=50, deadline=None)
@given(
    key=st.sampled_from([None, "groups", "teams", "", 1]),
    empty=st.sampled_from([True, False, "false"]),
    response=st.dictionaries(
        st.sampled_from(["groups", "teams", "_claim_names", "hasgroups"]),
        st.lists(st.sampled_from(["a", "b", "", 1]))
        | st.sampled_from([None, "a", {}, {"groups": "src1"}, {"teams": "src1"}, True]),
    ),
)
def test_groups_are_read_as_social_core_reads_them(
    key: Any, empty: Any, response: dict[str, Any]
) -> None:
    strategy = Strategy(GROUPS_KEY=key, GROUPS_MISSING_AS_EMPTY=empty)
    backend: Any = KeycloakOAuth2(strategy)
    assert outcome(groups, backend, response) == outcome(backend.get_user_groups, response)


def outcome(read: Any, *arguments: Any) -> Any:
    try:
        return read(*arguments)
    except (ConfigError, AuthConfigurationError):
        return "invalid_setting"
    except (Refused, AuthResponseError) as error:
        return error.code


def test_a_backend_without_groups_is_asked_for_none(memory: "Ground") -> None:
    plain: Any = BaseAuth(memory.strategy)
    assert groups(plain, {"groups": ["a"]}) is None
