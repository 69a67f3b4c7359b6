"""People who log in: what becomes of them by one list of steps or another, on either engine.

Steps write at once here. An outcome is taken as it would be in one transaction: where a run fails,
nothing but the failure counts.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pkgutil import resolve_name
from typing import Any

from social_core.backends.github import GithubOAuth2

from svcctl.pipeline import engine
from svcctl.pipeline.dataflow import ORDER
from svcctl.pipeline.definition import SHIPPED
from svcctl.pipeline.step import Step
from tests.support.social import Redirect, Strategy, User, Users

OURS: Mapping[str, str] = SHIPPED
"""Where svcctl has each step."""

THEIRS: Mapping[str, str] = {
    name: OURS[name]
    .replace("svcctl.pipeline.steps", "social_core.pipeline")
    .replace(".social", ".social_auth")
    for names in ORDER.values()
    for name in names
}
"""Where social-core has each of its own."""

Engine = Callable[[Any, Sequence[str], dict[str, Any]], Any]
"""Runs steps, by their dotted names; gives the context, or the response that ended the run."""


def svcctl_engine(backend: Any, names: Sequence[str], given: dict[str, Any]) -> Any:
    steps = [Step(name, resolve_name(name)) for name in names]
    surroundings = {"strategy": backend.strategy, "backend": backend}
    ended = engine.run(steps, given | surroundings)
    return ended.context if ended.step is None else ended.response


def social_cores_engine(backend: Any, names: Sequence[str], given: dict[str, Any]) -> Any:
    return backend.run_pipeline(list(names), **given)


Scenario = Callable[[Strategy], dict[str, Any]]
"""Makes what was there before; gives what the run is given."""


def keep_code(strategy: Any, backend: Any, code: Any, token: str | None = None) -> None:
    """EMAIL_VALIDATION_FUNCTION: the mail that somebody would get."""
    strategy.session["mailed"] = code.email


def _users(strategy: Strategy) -> Users:
    users: Any = strategy.storage.user
    assert isinstance(users, Users)
    return users


def _response(**changes: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "login": "Ada Lovelace!",
        "email": "ada@example.org",
        "name": "Ada Lovelace",
        "access_token": "new",
    } | changes


def _known(strategy: Strategy) -> User:
    """Ada, who came before."""
    users = _users(strategy)
    ada = users.create_user(username="ada", email="ada@example.org", fullname="Ada L.")
    users.create_social_auth(ada, "1", "github", id_key="id").set_extra_data(
        {"access_token": "old", "login": "ada"}
    )
    return ada


def new(strategy: Strategy) -> dict[str, Any]:
    return {"response": _response()}


def returning(strategy: Strategy) -> dict[str, Any]:
    _known(strategy)
    return {"response": _response()}


def returning_with_another_address(strategy: Strategy) -> dict[str, Any]:
    """One that somebody else here has."""
    _known(strategy)
    _users(strategy).create_user(username="bob", email="bob@example.org")
    return {"response": _response(name="Ada King", email="bob@example.org")}


def new_with_a_known_address(strategy: Strategy) -> dict[str, Any]:
    _users(strategy).create_user(username="ada", email="ada@example.org")
    return {"response": _response()}


def logged_in(strategy: Strategy) -> dict[str, Any]:
    """Eve, who connects another way in."""
    eve = _users(strategy).create_user(username="eve", email="eve@example.org")
    return {"response": _response(), "user": eve}


def blocked(strategy: Strategy) -> dict[str, Any]:
    strategy.settings["WHITELISTED_DOMAINS"] = ["example.com"]
    return new(strategy)


def blocked_returning(strategy: Strategy) -> dict[str, Any]:
    strategy.settings["WHITELISTED_DOMAINS"] = ["example.com"]
    return returning(strategy)


def whitelisted(strategy: Strategy) -> dict[str, Any]:
    strategy.settings["WHITELISTED_DOMAINS"] = ["example.org"]
    return new(strategy)


LOGINS: Sequence[Scenario] = (
    new,
    returning,
    returning_with_another_address,
    new_with_a_known_address,
    logged_in,
    blocked,
    blocked_returning,
    whitelisted,
)


def last_way_in(strategy: Strategy) -> dict[str, Any]:
    ada = _known(strategy)
    return {"user": ada, "name": "github", "user_storage": _users(strategy)}


def one_of_two_ways_in(strategy: Strategy) -> dict[str, Any]:
    given = last_way_in(strategy)
    _users(strategy).create_social_auth(given["user"], "ada", "twitter")
    return given


DISCONNECTIONS: Sequence[Scenario] = (last_way_in, one_of_two_ways_in)


def outcome(
    steps: Sequence[str],
    scenario: Scenario,
    *,
    where: Mapping[str, str] = OURS,
    on: Engine = svcctl_engine,
    settings: Mapping[str, Any] | None = None,
    proven: bool = False,
) -> Any:
    """What a run comes to, comparable: the tables and the context, or the failure.

    where: whose steps. proven: the mailed code is at hand.
    """
    strategy = Strategy(
        EMAIL_VALIDATION_FUNCTION=f"{__name__}.keep_code",
        EMAIL_VALIDATION_URL="/sent",
        **(settings or {}),
    )
    given = scenario(strategy)
    if proven:
        code = strategy.storage.code.make_code(given["response"]["email"])
        strategy.request["verification_code"] = code.code
    backend: Any = _Github(strategy)
    for one in _users(strategy).associations:
        one.get_backend_instance = lambda _: backend  # type: ignore[assignment, method-assign]
    names = [f"{where[name]}.{name}" for name in steps]
    try:
        out = on(backend, names, {"details": {}, "is_new": False, "user": None} | given)
    except Exception as error:  # noqa: BLE001 - of either origin
        told = getattr(error, "svcctl_error", error)
        return "failed", type(told).__name__, getattr(told, "code", "")
    if isinstance(out, Redirect):
        return "paused", _tables(strategy), strategy.session["mailed"]
    return "done", _tables(strategy), backend.revoked, _plain(out)


class _Github(GithubOAuth2[Any]):
    def __init__(self, strategy: Any) -> None:
        super().__init__(strategy)
        self.revoked: list[str] = strategy.session.setdefault("revoked", [])

    def revoke_token(self, token: str, uid: str) -> None:
        self.revoked.append(token)


def _tables(strategy: Strategy) -> Any:
    users = _users(strategy)
    return (
        [_plain(user.row) for user in users.rows],
        [
            (one.user.id, one.provider, one.uid, one.id_key, _plain(one.extra_data))
            for one in users.associations
        ],
    )


_SURROUNDINGS = {"strategy", "backend", "user_storage", "response", "pipeline_index", "auth_time"}


def _plain(context: Mapping[str, Any]) -> Any:
    """Without what differs from run to run, or is not what a run comes to."""
    named = {name: value for name, value in context.items() if name not in _SURROUNDINGS}
    return {name: _value(value) for name, value in named.items()}


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return re.sub(r"[0-9a-f]{16,}", "HEX", value)
    if isinstance(value, dict):
        return {name: _value(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_value(item) for item in value]
    return (type(value).__name__, value.id) if hasattr(value, "id") else value
