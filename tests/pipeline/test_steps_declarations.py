"""What the steps that ship declare is what they do: keys, settings and parameters."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from svcctl.config.pipeline import Backend
from svcctl.errors import Refused
from svcctl.pipeline.backend import MappedBackend
from svcctl.pipeline.dataflow import ORDER
from svcctl.pipeline.step import Declaration, Step
from svcctl.pipeline.steps import debug, disconnect, mail, social, user
from tests.pipeline.conftest import CONFIG
from tests.pipeline.grounds import Svcctl

if TYPE_CHECKING:
    from tests.conftest import Site

ADA = {"login": "ada", "email": "ada@example.org", "name": "Ada Lovelace", "teams": ["crew"]}
MODULES: tuple[ModuleType, ...] = (social, user, mail, disconnect, debug)
STEPS = {
    name: Step(name, function)
    for module in MODULES
    for name, function in vars(module).items()
    if hasattr(function, "svcctl_step")
}
LOGIN = [*(name for name in ORDER["auth"] if name != "mail_validation"), "debug"]
LEAVE = ORDER["disconnect"]


class Github(MappedBackend):
    """A mapped provider with a past, whose tokens can be revoked."""

    name = "github"

    def __init__(self, strategy: Any, redirect_uri: str | None = None) -> None:
        table = Backend(
            uid="id",
            details={"username": "login", "email": "email", "fullname": "name"},
            extra_data=("access_token",),
        )
        super().__init__(self.name, table, strategy, redirect_uri=redirect_uri)

    def revoke_token(self, token: str, uid: str) -> None:
        """Nobody is asked."""

    def get_legacy_user_ids(self, details: Any, response: Any) -> list[str]:
        return [f"old {response['id']}"]


def send(*arguments: Any) -> None:
    """What EMAIL_VALIDATION_FUNCTION names."""


def declared(name: str) -> Declaration:
    found = STEPS[name].declaration
    assert found is not None
    return found


class Life:
    """Somebody joins, comes back, is found by address, is too late, moves, proves, and leaves."""

    def __init__(self, ground: Svcctl) -> None:
        self.ground = ground
        self.asked: dict[str, set[str]] = defaultdict(set)
        self.returned: dict[str, set[str]] = defaultdict(set)
        ada: Any = self.login(1, access_token="token")["user"]
        ground.unit.link(ada, "elsewhere", "1", "id")
        self.login(1)
        self.login(2, name=None)
        ground.users.faster = lambda: ground.association(ground.user("eve"), "3")
        with pytest.raises(Refused):
            self.login(3)
        ground.users.faster = lambda: ground.unit.link(ada, "github", "4", "id")
        self.login(4)
        ground.unit.link(ada, "github", "old 5", "")
        with pytest.raises(Refused):
            self.login(5)
        for is_new in (True, False):
            self.run(["mail_validation"], details={"email": "new@example.org"}, is_new=is_new)
        self.run(LEAVE, user=ada, name="github", user_storage=ground.users)

    def login(self, uid: int, **more: Any) -> Any:
        return self.run(LOGIN, response={**ADA, "id": uid, **more})

    def run(self, steps: Sequence[str], **context: Any) -> Any:
        strategy = self.ground.strategy
        given = {"strategy": strategy, "backend": Github(strategy), "details": {}, **context}
        for index, name in enumerate(steps):
            strategy.consulted.clear()
            try:
                result = STEPS[name].function(**given | {"pipeline_index": index}) or {}
            finally:
                self.asked[name] |= {setting for setting, _ in strategy.consulted}
            if isinstance(result, dict):
                self.returned[name] |= result.keys()
                given |= result
        return given


@pytest.fixture
def life(site: "Callable[[str], Site]") -> Life:
    """What each step asked for and returned."""
    ground = Svcctl(site(CONFIG))
    ground.provide("github", Github)
    ground.configure(
        ALLOW_GROUPS=["crew"],
        EMAIL_VALIDATION_FUNCTION=f"{__name__}.send",
        FORCE_EMAIL_VALIDATION=True,
        GROUPS_KEY="teams",
        REVOKE_TOKENS_ON_DISCONNECT=True,
        SLUGIFY_USERNAMES=True,
    )
    return Life(ground)


def test_each_returns_the_keys_that_it_declares(life: Life) -> None:
    assert dict(life.returned) == {name: set(declared(name).produces) for name in STEPS}


def test_each_asks_for_the_settings_that_it_declares(life: Life) -> None:
    assert dict(life.asked) == {name: set(declared(name).settings) for name in STEPS}


def test_each_says_what_it_does_beyond_returning_something() -> None:
    assert {name for name in STEPS if not declared(name).effects} == {
        "social_details",
        "social_names",
        "social_uid",
        "auth_allowed",
        "get_username",
        "allowed_to_disconnect",
        "get_entries",
    }


def test_each_needs_what_social_cores_needs_or_less() -> None:
    assert {name: " ".join(step.required) for name, step in STEPS.items()} == {
        "social_details": "backend details response",
        "social_names": "backend details",
        "social_uid": "backend details response",
        "auth_allowed": "backend details response",
        "social_user": "backend uid",
        "associate_by_email": "backend details",
        "associate_user": "backend uid",
        "load_extra_data": "backend details response uid",
        "get_username": "strategy details backend",
        "create_user": "strategy details backend",
        "user_details": "strategy details backend",
        "mail_validation": "backend details",
        "allowed_to_disconnect": "user name user_storage",
        "get_entries": "user name user_storage",
        "revoke_tokens": "strategy entries",
        "disconnect": "entries user_storage",
        "debug": "",
    }
    for name, step in STEPS.items():
        module = import_module(f"social_core.pipeline.{_THEIRS[step.function.__module__]}")
        theirs = Step(name, getattr(module, name))
        assert set(step.required) <= set(theirs.required), name


_THEIRS = {
    social.__name__: "social_auth",
    user.__name__: "user",
    mail.__name__: "mail",
    disconnect.__name__: "disconnect",
    debug.__name__: "debug",
}


def test_each_takes_everything_and_says_what_it_is_for() -> None:
    for step in STEPS.values():
        assert step.takes_everything, step.name
        assert step.function.__doc__, step.name
