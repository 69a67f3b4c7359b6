"""Taking an association away: the last way in stays, tokens are revoked first."""

from typing import TYPE_CHECKING, Any

import pytest
from social_core.backends.github import GithubOAuth2

from svcctl.errors import PipelineError, Refused
from svcctl.pipeline.interface import same
from svcctl.pipeline.steps.disconnect import (
    allowed_to_disconnect,
    disconnect,
    get_entries,
    revoke_tokens,
)

if TYPE_CHECKING:
    from tests.pipeline.grounds import Ground

STEPS = [
    f"svcctl.pipeline.steps.disconnect.{name}"
    for name in ("allowed_to_disconnect", "get_entries", "revoke_tokens", "disconnect")
]


class Revoking(GithubOAuth2[Any]):
    """GitHub, without its network."""

    revoked: list[tuple[str, str]]

    def revoke_token(self, token: str, uid: str) -> None:
        self.revoked.append((token, uid))


class Failing(GithubOAuth2[Any]):
    """GitHub when it is down."""

    def revoke_token(self, token: str, uid: str) -> None:
        raise ConnectionError("no route")


@pytest.fixture
def revoked(ground: "Ground") -> list[tuple[str, str]]:
    """What GitHub was asked to forget: token and uid."""
    Revoking.revoked = []
    ground.provide("github", Revoking)
    return Revoking.revoked


@pytest.fixture
def ada(ground: "Ground") -> Any:
    """Somebody with two uids at GitHub and one at Discord."""
    user = ground.user("ada")
    ground.association(user, "1", access_token="token 1")
    ground.association(user, "2", access_token="token 2")
    ground.association(user, "3", provider="discord")
    return user


def leave(ground: "Ground", user: Any, backend: Any = None, **context: Any) -> dict[str, Any]:
    given = {"name": "github", "user_storage": ground.users, "user": user, **context}
    return ground.run(backend or ground.backend(), STEPS, **given)


def left(ground: "Ground") -> list[str]:
    return [social.uid for social in ground.users.associations]


def test_all_associations_with_the_provider_go(ground: "Ground", ada: Any) -> None:
    result = leave(ground, ada)
    assert [entry.uid for entry in result["entries"]] == ["1", "2"]
    assert left(ground) == ["3"]


def test_one_of_them_goes_by_its_id(ground: "Ground", ada: Any) -> None:
    leave(ground, ada, association_id=ground.users.associations[1].id)
    assert left(ground) == ["1", "3"]


def test_nobody_elses_association_goes(ground: "Ground", ada: Any) -> None:
    bob = ground.user("bob")
    other = ground.association(bob, "4")
    leave(ground, ada, association_id=other.id)
    assert left(ground) == ["1", "2", "3", "4"]


def test_the_last_way_in_stays(ground: "Ground", ada: Any) -> None:
    leave(ground, ada)
    with pytest.raises(Refused, match=r"^discord is the last way in and stays") as refused:
        allowed_to_disconnect(ada, "discord", ground.users)
    assert refused.value.code == "disconnect_disallowed"
    assert refused.value.hint
    ground.users.refuse_last = False
    allowed_to_disconnect(ada, "discord", ground.users)


def test_the_policy_is_told_which_association_goes(ground: "Ground", ada: Any) -> None:
    social = ground.users.associations[0]
    for other in list(ground.users.associations)[1:]:
        disconnect([other], ground.users)
    with pytest.raises(Refused):
        allowed_to_disconnect(ada, "github", ground.users, social.id)
    ground.association(ada, "5")
    allowed_to_disconnect(ada, "github", ground.users, social.id)
    with pytest.raises(Refused):
        allowed_to_disconnect(ada, "github", ground.users)


def test_entries_are_a_list_that_can_be_walked_twice(ground: "Ground", ada: Any) -> None:
    class Lazy:
        def get_social_auth_for_user(self, *arguments: Any) -> Any:
            return iter(ground.users.get_social_auth_for_user(*arguments))

    lazy: Any = Lazy()
    (entry,) = get_entries(ada, "discord", lazy)["entries"]
    assert same(entry, ground.users.associations[2])


def test_tokens_stay_valid_unless_the_settings_want_otherwise(
    ground: "Ground", ada: Any, revoked: list[tuple[str, str]]
) -> None:
    leave(ground, ada, ground.backend(Revoking))
    assert revoked == []
    assert left(ground) == ["3"]


def test_tokens_are_revoked_where_there_are_any(
    ground: "Ground", ada: Any, revoked: list[tuple[str, str]]
) -> None:
    ground.configure(REVOKE_TOKENS_ON_DISCONNECT=True)
    ground.association(ada, "6", access_token=None)
    ground.association(ada, "7").extra_data = None
    leave(ground, ada, ground.backend(Revoking))
    assert revoked == [("token 1", "1"), ("token 2", "2")]
    assert left(ground) == ["3"]


def test_a_token_that_cannot_be_revoked_keeps_the_association(ground: "Ground", ada: Any) -> None:
    ground.provide("github", Failing)
    ground.configure(REVOKE_TOKENS_ON_DISCONNECT=True)
    with pytest.raises(ConnectionError):
        leave(ground, ada, ground.backend(Failing))
    assert left(ground) == ["1", "2", "3"]


def test_a_provider_that_is_not_configured_any_more_is_named(ground: "Ground", ada: Any) -> None:
    entry = ground.users.associations[0]
    ground.withdraw("github")
    ground.configure(REVOKE_TOKENS_ON_DISCONNECT=True)
    with pytest.raises(PipelineError, match=r"^github is not configured, the token of 1 cannot"):
        revoke_tokens(ground.strategy, [entry])
