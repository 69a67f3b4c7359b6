"""The people of the directory: who is meant, where they stand, what they are told."""

import re
from collections.abc import Mapping
from typing import Any

from svcctl.errors import ConfigError, Refused
from svcctl.pipeline.details import text
from svcctl.pipeline.settings import names
from svcctl.pipeline.step import step
from svcctl.pipeline.strategy import Strategy
from svcctl.pipeline.unit import Message
from svcctl.pipeline.user import PipelineUser

_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")


@step(produces=("user", "is_new"), consumes=("username",))
def load_user(
    strategy: Strategy,
    details: Mapping[str, Any],
    user: PipelineUser | None = None,
    username: str | None = None,
    **_context: Any,
) -> dict[str, Any]:
    """Load the user who is meant: `--user`, else `username`, else the username of the details.

    For pipelines that only take people who are known. Raises Refused (`user_unknown`).
    """
    if user is not None:
        return {"user": user, "is_new": False}
    name = username or text(details, "username")
    found = strategy.unit.named(name) if name else None
    if found is None:
        raise Refused(
            f"no user {name!r}" if name else "nobody says which user is meant",
            hint="give --user NAME, or put social_details before it",
            code="user_unknown",
        )
    return {"user": found, "is_new": False}


@step(
    produces=("state",),
    settings=("JOIN_GROUPS", "REQUIRED_STATES"),
    effects="puts the user into groups of the directory",
)
def assign_state(
    strategy: Strategy, backend: Any, user: PipelineUser | None = None, **_context: Any
) -> dict[str, Any] | None:
    """Put the user into JOIN_GROUPS, and find the state that the rules then give.

    Returns `state`. An operator's no to a group stays. Raises Refused (`state_disallowed`) where
    REQUIRED_STATES are set and the state is none of them.
    """
    if user is None:
        return None
    for name in _names(strategy, backend, "JOIN_GROUPS"):
        if name not in strategy.unit.groups_of(user):
            strategy.unit.memberships.append((user, name))
    state = strategy.unit.state_of(user)
    required = _names(strategy, backend, "REQUIRED_STATES")
    if required and state not in required:
        raise Refused(
            f"{user.username} would be in the state {state}",
            hint=f"REQUIRED_STATES lets pass: {', '.join(required)}",
            code="state_disallowed",
        )
    return {"state": state}


@step(
    settings=("NOTIFY_TITLE", "NOTIFY_MESSAGE", "NOTIFY_OPERATORS"),
    effects="tells the user, or the operators, by the way that [notify] says",
)
def notify(
    strategy: Strategy, backend: Any, user: PipelineUser | None = None, **_context: Any
) -> None:
    """Tell the user something when the run is kept; with NOTIFY_OPERATORS the operators instead.

    NOTIFY_TITLE and NOTIFY_MESSAGE may have {username} and attributes in braces; what the user has
    not is left out. Raises ConfigError where one of them is missing, or names what no user has.
    """
    operators = strategy.setting("NOTIFY_OPERATORS", default=False, backend=backend)
    if user is None and not operators:
        return
    title, message = (
        _filled(strategy, name, user, backend) for name in ("NOTIFY_TITLE", "NOTIFY_MESSAGE")
    )
    strategy.unit.messages.append(Message(title, message, user=None if operators else user))


def _filled(strategy: Strategy, setting: str, user: PipelineUser | None, backend: Any) -> str:
    wanted = strategy.setting(setting, backend=backend)
    if not isinstance(wanted, str) or not wanted:
        raise ConfigError(f"{setting}: is not set", hint="say what is to be told")
    known = strategy.settings.attributes | {"username", "state"}

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in known:
            raise ConfigError(
                f"{setting}: {{{name}}} is nothing that users have",
                hint="directory.attributes names what they have",
            )
        found = getattr(user, name, None) if user is not None else None
        return "" if found is None else str(found)

    return _PLACEHOLDER.sub(value, wanted)


def _names(strategy: Strategy, backend: Any, setting: str) -> list[str]:
    return names(setting, strategy.setting(setting, (), backend=backend))
