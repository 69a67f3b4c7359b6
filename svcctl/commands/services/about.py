"""A service in a few words: what `list` and `show` have in common."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from svcctl.commands.completion import complete_services
from svcctl.commands.output import say
from svcctl.errors import HookError, SvcctlError, UsageError
from svcctl.model import Verb

if TYPE_CHECKING:
    from svcctl.config.settings import Settings
    from svcctl.hooks.contract import ServiceHook

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="A service.", autocompletion=complete_services)
]
_SHORT = {
    "list_accounts": "list",
    Verb.CREATE: "create",
    Verb.ENABLE: "enable",
    Verb.DISABLE: "disable",
    Verb.DELETE: "delete",
    Verb.SET_PASSWORD: "password",
    Verb.CHANGE_GROUPS: "groups",
    Verb.SET_NICKNAME: "nickname",
}


def about(hook: "ServiceHook") -> dict[str, Any]:
    package, version = _package(hook)
    return {
        "service": hook.name,
        "title": hook.title,
        "hook": hook.config.hook,
        "package": package,
        "version": version,
        "create": hook.config.create,
        "capabilities": _capabilities(hook),
        "status": "ok",
        "error": None,
        "hint": None,
    }


def about_unusable(
    name: str, status: str, *, hook: str | None = None, error: HookError | None = None
) -> dict[str, Any]:
    """A service whose hook failed to load, or that the configuration no longer has."""
    return {
        "service": name,
        "title": None,
        "hook": hook,
        "package": None,
        "version": None,
        "create": None,
        "capabilities": [],
        "status": status,
        "error": error and error.message,
        "hint": error and error.hint,
    }


def standing(
    name: str, accounts: Mapping[str, Mapping[str, int]], pauses: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    return {
        "accounts": live(accounts.get(name, {})),
        "paused": pause_of(pauses.get(name)),
    }


def live(counted: Mapping[str, int]) -> dict[str, int]:
    """Without the rows of accounts that were deleted or never came to be."""
    return {status: number for status, number in counted.items() if status != "absent"}


def pause_of(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if row is None else {key: row[key] for key in ("since", "actor", "reason")}


def for_table(row: Mapping[str, Any]) -> dict[str, Any]:
    can = [short for name, short in _SHORT.items() if name in row.get("capabilities", ())]
    accounts = [f"{number} {status}" for status, number in row["accounts"].items()]
    said = [] if row["paused"] and row["status"] == "ok" else [row["status"]]
    if row["paused"]:
        said.append(f"paused since {row['paused']['since']}")
    return {
        **row,
        "can": " ".join(can),
        "accounts": ", ".join(accounts),
        "status": ", ".join(said),
    }


def sentence(paused: Mapping[str, Any]) -> str:
    because = f": {paused['reason']}" if paused["reason"] else ""
    return f"since {paused['since']} by {paused['actor']}{because}"


def _capabilities(hook: "ServiceHook") -> list[str]:
    from svcctl.hooks.manager import READS, VERBS

    return sorted(name for name in READS | VERBS if hook.can(name))


def _package(hook: "ServiceHook") -> tuple[str | None, str | None]:
    """The installed package that the hook comes from, and its version; a lone module has none."""
    from importlib import metadata

    from svcctl.hooks.registry import GROUP

    entries = metadata.entry_points(group=GROUP, name=hook.config.hook)
    dist = next((entry.dist for entry in entries), None)
    if dist is not None:
        return dist.name, dist.version
    top = type(hook).__module__.partition(".")[0]
    names = metadata.packages_distributions().get(top, [])
    return (names[0], metadata.version(names[0])) if names else (None, None)


def require(settings: "Settings", names: Iterable[str]) -> None:
    """Raise UsageError for a service that is not configured."""
    from svcctl.config.problems import suggest

    for name in names:
        if name not in settings.services:
            hint = suggest(name, settings.services) or "no service is configured"
            raise UsageError(f"no such service: {name}", hint=hint)


def tell(error: SvcctlError) -> None:
    say(f"error: {error.message}")
    if error.hint:
        say(f"hint: {error.hint}")
