"""What a service shows, written down: its people as a directory, and the configuration for them.

With both, a pull and an adoption, the next plan finds nothing to do.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from svcctl.config.settings import ATTRIBUTE_NAME, TAKEN
from svcctl.config.toml import to_toml
from svcctl.directory.person import name_problem, text_problem, tidy
from svcctl.errors import Invalid, UsageError
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import Manager, RemoteAccount
from svcctl.hooks.registry import build_manager
from svcctl.model import Verb
from svcctl.names import ATTRIBUTES, PLACEHOLDERS
from svcctl.runs.lane import user_of
from svcctl.runs.listing import listed, with_groups
from svcctl.spool import Spool

SOURCE = "people"
STATE = "Member"
NICKNAME = "nickname"
_SEPARATORS = ";|/,"
_NO_ATTRIBUTES = TAKEN | {NICKNAME} | (PLACEHOLDERS - ATTRIBUTES)
_COLUMNS = ("id", "username", "active", "groups")


class Live:
    """The accounts of one service as people. To be closed: it may fill a file.

    rule: by which `adopt` recognises them again. left_out: what cannot be written down, and why.
    """

    def __init__(self, hook: ServiceHook) -> None:
        self.hook = hook
        self.people = 0
        self.groups: dict[str, str] = {}
        """Directory group -> group on the service."""
        self.left_out: list[str] = []
        self._spool = Spool("the service")
        config = hook.config
        formats = config.name_format or config.name_formats or not config.sync_names
        self._names_them = hook.can(Verb.SET_NICKNAME) and not formats
        # Also where nobody has one: else everybody would get one.
        self._attributes: set[str] = {NICKNAME} if self._names_them else set()
        self._keys: set[str] | None = set()
        self._names: set[str] = set()
        self._shunned: set[str] = set()

    @property
    def rule(self) -> str:
        return "uid" if self._keys is None else "external-id"

    def csv(self, separator: str) -> Iterator[str]:
        """The lines of the people's file."""
        attributes = sorted(self._attributes)
        yield _line([*_COLUMNS, *attributes])
        for uid, key, name, active, groups, shown in self._spool:
            id_ = uid if self._keys is None else key
            held = separator.join(group for group in groups if group in self.groups)
            flag = "yes" if active else "no"
            yield _line([id_, name, flag, held, *(shown.get(one, "") for one in attributes)])

    def separator(self) -> str:
        """What stands between two groups; groups that have it in their names are left out."""
        chosen = min(_SEPARATORS, key=lambda one: sum(one in group for group in self.groups))
        for group in [group for group in self.groups if chosen in group]:
            del self.groups[group]
            self.left_out.append(f"group {group!r}: its name cannot be told from a separator")
        return chosen

    def configuration(self, path: str, separator: str, table: Mapping[str, Any]) -> str:
        """The tables to add to a configuration that has the service's own, `table`, and no people.

        path: where the people's file is, as seen from there.
        """
        key = f"services.{self.hook.name}"
        source = {"type": "csv", "path": path}
        if separator != ";":
            source["groups_separator"] = separator
        extra = sorted(self._attributes - ATTRIBUTES)
        parts = [
            f"# From here on: what `svcctl init --from-live {self.hook.name}` found.",
            _table("directory", {"attributes": extra}) if extra else "",
            _table(f"directory.sources.{SOURCE}", source),
            "# Whoever is in that file; narrow it with groups or attributes instead of public.",
            _table(f"states.{STATE}", {"priority": 100, "public": True}),
        ]
        if "access" not in table:
            parts.append(_table(f"{key}.access", {"states": [STATE]}))
        if self._names_them:
            parts.append(_table(f"{key}.name_formats", {STATE: f"{{{NICKNAME}}}"}))
        if self.groups and "groups" not in table:
            parts += [
                "# Groups that svcctl manages: those of people = those on the service. Take out",
                "# what is to stay in other hands, such as administrators.",
                _table(f"{key}.groups.map", dict(sorted(self.groups.items()))),
            ]
        return "\n" + "\n".join(filter(None, parts))

    def take(self, remote: RemoteAccount) -> None:
        """One more account."""
        name = tidy(remote.name)
        problem = name_problem(name)
        if problem is None and name in self._names:
            problem = "is the same as that of another account"
        if problem is not None or name_problem(remote.uid):
            self.left_out.append(f"account {remote.uid!r}: its name {problem or 'has no id'}")
            return
        self._names.add(name)
        self._know(remote.external_id)
        held = [tidy(group) for group in sorted(remote.groups or ()) if self._knows_group(group)]
        shown = dict(self._shown(remote))
        self._attributes.update(shown)
        self._spool.keep((remote.uid, remote.external_id, name, remote.active, held, shown))
        self.people += 1

    def _know(self, key: str | None) -> None:
        """External ids serve as ids of people where every account has one of its own, not ours."""
        if self._keys is None:
            return
        fit = key is not None and user_of(key) is None and name_problem(key) is None
        if not fit or key in self._keys or key != tidy(key or ""):
            self._keys = None
        elif key is not None:
            self._keys.add(key)

    def _knows_group(self, group: str) -> bool:
        name = tidy(group)
        if group in self._shunned:
            return False
        problem = name_problem(name)
        if problem is None and self.groups.setdefault(name, group) != group:
            problem = "is the same as that of another group"
        if problem is not None:
            self._shunned.add(group)
            self.left_out.append(f"group {group!r}: its name {problem}")
        return problem is None

    def _shown(self, remote: RemoteAccount) -> Iterator[tuple[str, str]]:
        for attribute, value in remote.attributes.items():
            first = value[0] if isinstance(value, (list, tuple)) and value else value
            text = str(first) if isinstance(first, (str, int, float)) else ""
            known = ATTRIBUTE_NAME.fullmatch(attribute) and attribute not in _NO_ATTRIBUTES
            if known and text.strip() and not text_problem(text):
                yield attribute, text.strip()
        nickname = remote.nickname or ""
        if self._names_them and not text_problem(nickname):
            with suppress(Invalid):  # one that could not be set again is left alone
                if nickname and self.hook.nickname_rule.apply(nickname.strip()) == nickname:
                    yield NICKNAME, nickname

    def close(self) -> None:
        self._spool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_live(hook: ServiceHook) -> Live:
    """Read the whole service. Raises UsageError where it cannot list, and ManagerErrors."""
    if not hook.can("list_accounts"):
        raise UsageError(
            f"services.{hook.name}: {hook.manager_class.__name__} cannot list accounts",
            hint="write the people's file by hand, or export it from the service",
        )
    live = Live(hook)
    manager = build_manager(hook)
    try:
        for remote in _accounts(manager):
            live.take(remote)
    except BaseException:
        live.close()
        raise
    finally:
        with suppress(Exception):  # foreign code, and all is read by now
            manager.close()
    return live


def _accounts(manager: Manager) -> Iterator[RemoteAccount]:
    """Every account once; pages shift while they are read."""
    seen: set[str] = set()
    for page in listed(manager):
        fresh = {remote.uid: remote for remote in page if remote.uid not in seen}
        seen.update(fresh)
        yield from with_groups(manager, fresh.values())


def refuse_people(tables: Mapping[str, Any], path: Path) -> None:
    """Raise UsageError for a configuration that has people already: that is no beginning."""
    for key in ("directory", "states"):
        if key in tables:
            raise UsageError(
                f"{path}: has a table [{key}] already",
                hint="--from-live is for a beginning; with people of your own: svcctl adopt",
            )


def _table(path: str, values: Mapping[str, Any]) -> str:
    return f"[{path}]\n{to_toml(values)}"


def _line(cells: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()
