"""`svcctl services show`."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import typer

from svcctl.commands.options import JsonOption
from svcctl.commands.output import plain, write, write_json
from svcctl.commands.services.about import (
    NameArgument,
    about,
    for_table,
    require,
    sentence,
    standing,
)
from svcctl.commands.session import open_session
from svcctl.model import Verb

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from svcctl.hooks.contract import ServiceHook


def show(ctx: typer.Context, name: NameArgument, json: JsonOption = False) -> None:
    """All about one service: settings, what it can do, its rules and what its limits mean now."""
    with open_session(ctx, read_only=True) as session:
        require(session.settings, [name])
        hooks = session.hooks([name])
        if name in hooks.failed:
            raise hooks.failed[name]
        with session.database.read() as connection:
            said = _everything(connection, hooks.loaded[name])
    if json:
        write_json("service", said)
    else:
        _write_everything(said)


def _everything(connection: "Connection", hook: "ServiceHook") -> dict[str, Any]:
    from svcctl.config.values import plain as masked
    from svcctl.hooks.manager import READS
    from svcctl.runs.lane import rate_of
    from svcctl.store.runs import paused
    from svcctl.store.services import by_status

    # Without its secrets no manager can be built; its class says the same.
    manager: Any = hook.manager_class
    rate = rate_of(hook, manager)
    rules = {
        "username": hook.username_rule,
        "nickname": hook.nickname_rule,
        "group": hook.group_rule,
    }
    said = about(hook)
    del said["capabilities"], said["error"], said["hint"]
    return {
        **said,
        "class": f"{type(hook).__module__}:{type(hook).__qualname__}",
        "manager": f"{manager.__module__}:{manager.__qualname__}",
        "policy_version": hook.version,
        "commands": hook.commands,
        **standing(hook.name, by_status(connection), paused(connection)),
        "capabilities": {name: hook.can(name) for name in (*sorted(READS), *Verb)},
        "names": {kind: _rule(rule) for kind, rule in rules.items()},
        "removal": masked(hook.removal),
        "limits": _limits(connection, hook),
        "rate": rate and {"calls": rate.calls, "per_seconds": rate.per},
        "concurrency": min(hook.config.concurrency or manager.concurrency, manager.concurrency),
        "settings": masked(hook.config),
    }


def _rule(rule: Any) -> dict[str, Any]:
    """What differs from taking every name as it is."""
    from dataclasses import fields

    from svcctl.names import NameRule

    default = NameRule()
    said = {field.name: getattr(rule, field.name) for field in fields(NameRule)}
    return {
        name: dict(value) if isinstance(value, Mapping) else value
        for name, value in said.items()
        if value != getattr(default, name)
    }


def _limits(connection: "Connection", hook: "ServiceHook") -> dict[str, Any]:
    """The limits as the guard counts: of those who had access a day ago."""
    from svcctl.clock import now, stamp
    from svcctl.limits import allowance
    from svcctl.store.accounts import population
    from svcctl.store.operations import recent_removals

    active, _ = population(connection, hook.name)
    recent = recent_removals(connection, hook.name, since=stamp(now() - timedelta(hours=24)))
    allowed = allowance(active + recent, hook.config.limits.removals)
    return {
        "removals": hook.config.limits.removals,
        "of": active + recent,
        "allowed": allowed,
        "recent": recent,
        "left": max(0, allowed - recent),
    }


def _write_everything(said: Mapping[str, Any]) -> None:
    def line(key: str, value: object) -> None:
        write(f"{key:<16}{plain(value)}".rstrip())

    def section(title: str, pairs: Iterable[tuple[str, object]]) -> None:
        lines = list(pairs)
        width = max(len(key) for key, _ in lines)
        write("")
        write(title)
        for key, value in lines:
            write(f"  {plain(key):<{width}}  {plain(value)}".rstrip())

    package = f" ({said['package']} {said['version']})" if said["package"] else ""
    line("service", said["service"])
    line("title", said["title"])
    line("hook", f"{said['hook']}{package}")
    line("class", said["class"])
    line("manager", said["manager"])
    line("create", said["create"])
    line("accounts", for_table(said)["accounts"] or "none")
    if said["paused"]:
        line("paused", sentence(said["paused"]))
    if said["commands"]:
        line("commands", f"svcctl service {said['service']} --help")
    can = said["capabilities"].items()
    section("capabilities", [(name, "yes" if yes else "not supported") for name, yes in can])
    rules = said["names"].items()
    section("names", [(kind, _pairs(rule) or "as they are") for kind, rule in rules])
    removal, limits, rate = said["removal"], said["limits"], said["rate"]
    then = f", then delete after {removal['delete_after']}" if removal["delete_after"] else ""
    section(
        "limits",
        [
            ("removal", f"{removal['mode']}{then}"),
            ("removals", _allowance(limits)),
            ("rate", f"{rate['calls']:g} per {rate['per_seconds']:g} s" if rate else "unlimited"),
            ("concurrency", said["concurrency"]),
        ],
    )
    section("settings", _flat(said["settings"]))


def _allowance(limits: Mapping[str, Any]) -> str:
    configured = "the default" if limits["removals"] is None else limits["removals"]
    return (
        f"{configured}: {limits['allowed']} of {limits['of']} accounts in 24 hours; "
        f"{limits['recent']} lost access, {limits['left']} more may"
    )


def _pairs(table: Mapping[str, Any]) -> str:
    from svcctl.model import to_json

    return ", ".join(f"{key} = {to_json(value)}" for key, value in table.items())


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings that say something, one a line, in TOML's dotted keys."""
    from svcctl.model import to_json

    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif value not in (None, [], ""):
            yield f"{prefix}{key}", f"= {to_json(value)}"
