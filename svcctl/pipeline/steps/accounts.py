"""Accounts on services: what is wished for here is planned and done when the run is kept.

A step never speaks to a service. Hooks decide, limits hold, and everything is an operation.
"""

from collections.abc import Mapping
from typing import Any

from svcctl.config.problems import suggest
from svcctl.errors import ConfigError, PipelineError
from svcctl.pipeline.details import text
from svcctl.pipeline.settings import names
from svcctl.pipeline.step import step
from svcctl.pipeline.strategy import Strategy
from svcctl.pipeline.unit import Link, Wish
from svcctl.pipeline.user import PipelineUser


@step(
    settings=("LINK_SERVICES",),
    effects="links the user's account on a service, which the provider's uid names",
)
def link_account(
    strategy: Strategy,
    backend: Any,
    uid: str,
    details: Mapping[str, Any],
    user: PipelineUser | None = None,
    **_context: Any,
) -> None:
    """Take the provider's uid as the uid of the user's account on a service.

    The provider has just proved whose it is: a Discord login links the Discord account.
    LINK_SERVICES says which service, by backend; else the one with the backend's name. The service
    is asked for the account first. Raises ConfigError where there is no such service.
    """
    if user is None:
        return
    named = strategy.setting("LINK_SERVICES", {}, backend=backend)
    if not isinstance(named, Mapping):
        raise ConfigError(
            f"LINK_SERVICES: {named!r} is no table", hint='write it like { discord = "chat" }'
        )
    service = named.get(backend.name, backend.name)
    _require(strategy, "LINK_SERVICES", [service])
    strategy.unit.links.append(Link(user, service, str(uid), text(details, "username") or str(uid)))


@step(
    settings=("ACTIVATE_SERVICES",),
    effects="creates the user's accounts, or enables them, where the user may have one",
)
def activate_services(
    strategy: Strategy, backend: Any, user: PipelineUser | None = None, **_context: Any
) -> None:
    """Give the user the accounts that the rules allow, with groups and nicknames.

    It is the person's own word, so it creates accounts also where `create` is manual.
    ACTIVATE_SERVICES names the services; else all. Nothing without a user.
    """
    _wish(strategy, backend, user, "activate", "ACTIVATE_SERVICES")


@step(effects="brings the user's groups on the services up to date")
def update_groups(
    strategy: Strategy, backend: Any, user: PipelineUser | None = None, **_context: Any
) -> None:
    """Bring the groups of the user's accounts in step with the directory."""
    _wish(strategy, backend, user, "groups", None)


@step(effects="brings the user's nicknames on the services up to date")
def sync_nickname(
    strategy: Strategy, backend: Any, user: PipelineUser | None = None, **_context: Any
) -> None:
    """Bring the nicknames of the user's accounts in step with the name formats."""
    _wish(strategy, backend, user, "nickname", None)


@step(
    settings=("DELETE_SERVICES",),
    effects="takes the user's accounts away, within the limits",
)
def delete_services(
    strategy: Strategy, backend: Any, user: PipelineUser | None = None, **_context: Any
) -> None:
    """Take the user's accounts away as each service's `removal` says.

    DELETE_SERVICES names the services; else all. The limits count these removals, so that a
    pipeline is no way round them; where the user may still have the account, `sync` leaves it
    deleted.
    """
    _wish(strategy, backend, user, "delete", "DELETE_SERVICES")


def _wish(
    strategy: Strategy, backend: Any, user: PipelineUser | None, what: str, setting: str | None
) -> None:
    if user is None:
        return
    services = None if setting is None else strategy.setting(setting, backend=backend)
    if services is not None:
        services = tuple(names(str(setting), services))
        _require(strategy, str(setting), services)
    strategy.unit.wishes.append(Wish(what, user, services))


def _require(strategy: Strategy, setting: str, services: list[str] | tuple[str, ...]) -> None:
    known = strategy.settings.services
    for name in services:
        if name not in known:
            raise PipelineError(
                f"{setting}: no service {name!r}", hint=suggest(name, known) or "there is none"
            )
