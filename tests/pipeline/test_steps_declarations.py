"""What the steps that ship declare is what they do: keys, settings and parameters."""

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from social_core.backends.github import GithubOAuth2

from svcctl.errors import Refused
from svcctl.pipeline.step import Step
from svcctl.pipeline.steps import debug, disconnect, social, user
from tests.support.social import Strategy, Users

if TYPE_CHECKING:
    pass

ADA = {"id": 1, "login": "ada", "email": "ada@example.org", "name": "Ada Lovelace"}
STEPS = {
    name: Step(name, function)
    for module in (social, user, disconnect, debug)
    for name, function in vars(module).items()
    if hasattr(function, "svcctl_step")
}
ORDER = [
    "social_details",
    "social_names",
    "social_uid",
    "auth_allowed",
    "social_user",
    "get_username",
    "associate_by_email",
    "create_user",
    "associate_user",
    "load_extra_data",
    "user_details",
    "debug",
]
LEAVE = ["allowed_to_disconnect", "get_entries", "revoke_tokens", "disconnect"]


class Github(GithubOAuth2[Any]):
    """GitHub without its network."""

    def revoke_token(self, token: str, uid: str) -> None:
        """Nobody is asked."""

    def get_legacy_user_ids(self, details: Any, response: Any) -> list[str]:
        return [f"old {response['id']}"]


class Watched(Strategy):
    """It notes which settings each step asks for."""

    step = ""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.asked: dict[str, set[str]] = defaultdict(set)

    def setting(self, name: str, default: Any = None, backend: Any = None) -> Any:
        if name != "REDIRECT_IS_HTTPS":  # asked where a backend is made
            self.asked[self.step].add(name)
        return super().setting(name, default, backend)


def run(
    strategy: Watched, steps: list[str], returned: dict[str, set[str]], **context: Any
) -> dict[str, Any]:
    backend = Github(strategy)
    given = {"strategy": strategy, "backend": backend, "details": {}, **context}
    for name in steps:
        strategy.step = name
        result = STEPS[name].function(**given) or {}
        returned[name] |= result.keys()
        given |= result
    return given


def lives(strategy: Watched, returned: dict[str, set[str]]) -> None:
    """Somebody joins, comes back, is found by address, is too late, moves, and leaves."""
    users: Any = strategy.storage.user
    strategy.backends["github"] = Github
    for _ in range(2):
        given = run(strategy, ORDER, returned, response=ADA | {"access_token": "token"})
    run(strategy, ORDER, returned, response=ADA | {"id": 2, "name": None})
    users.faster = lambda: users.create_social_auth(users.rows[0], "3", "github", "id")
    run(strategy, ORDER, returned, response=ADA | {"id": 3})
    users.create_social_auth(users.rows[0], "old 4", "github", "")
    with pytest.raises(Refused):
        run(strategy, ORDER, returned, response=ADA | {"id": 4})
    run(strategy, LEAVE, returned, user=given["user"], name="github", user_storage=_free(users))


def _free(users: Users) -> Users:
    users.refuse_last = False
    return users


@pytest.fixture
def lived() -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Per step the settings that it asked for, and the keys that it returned."""
    strategy, returned = Watched(), defaultdict[str, set[str]](set)
    lives(strategy, returned)
    more = Watched(SLUGIFY_USERNAMES=True, REVOKE_TOKENS_ON_DISCONNECT=True)
    lives(more, returned)
    return {name: strategy.asked[name] | more.asked[name] for name in STEPS}, returned


def test_all_of_them_are_tried_here() -> None:
    assert set(ORDER) | set(LEAVE) == set(STEPS)


def test_each_returns_the_keys_that_it_declares(lived: Any) -> None:
    _, returned = lived
    declared = {
        name: set(step.declaration.produces) for name, step in STEPS.items() if step.declaration
    }
    assert {name: returned[name] for name in STEPS} == declared


def test_each_asks_for_the_settings_that_it_declares(lived: Any) -> None:
    asked, _ = lived
    declared = {
        name: set(step.declaration.settings) for name, step in STEPS.items() if step.declaration
    }
    assert asked == declared


def test_each_says_what_it_does_beyond_returning_something() -> None:
    quiet = {
        name for name, step in STEPS.items() if step.declaration and not step.declaration.effects
    }
    assert quiet == {
        "social_details",
        "social_names",
        "social_uid",
        "auth_allowed",
        "get_username",
        "allowed_to_disconnect",
        "get_entries",
    }


def test_each_takes_everything_and_says_what_it_is_for() -> None:
    for step in STEPS.values():
        assert step.takes_everything, step.name
        assert step.function.__doc__, step.name
