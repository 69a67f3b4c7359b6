"""What must hold of a site, whatever happened to it before: what is there, and what is wrong."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import text

from chaos.processes import Ended, in_turn
from svcctl.config.load import load
from svcctl.hooks.htpasswd import HtpasswdManager
from svcctl.hooks.manager import RemoteAccount
from svcctl.hooks.sandbox import SandboxManager
from svcctl.store.database import SCHEMA, Database

Line = Sequence[str]
Step = Line | Callable[[Path], list[Line]]
"""A command line, or how the lines are found out when their turn has come."""

OK = frozenset({0})
STILL = [("db", "check"), ("audit", "verify", "--json")]
SANDBOXES = ("lab", "other")

_FACTS = {
    "users": "SELECT username, active, state, removed_at IS NULL FROM users",
    "memberships": "SELECT username, name FROM memberships JOIN users ON users.id = user_id"
    " JOIN groups ON groups.id = group_id WHERE present",
    "accounts": "SELECT username, service, status, uid IS NULL, groups, nickname, pin"
    " FROM accounts JOIN users ON users.id = user_id",
    "associations": "SELECT provider, uid FROM associations",
    "held": "SELECT service, verb, count(*) FROM operations WHERE status = 'held' GROUP BY 1, 2",
    "told": "SELECT username, title FROM notifications JOIN users ON users.id = user_id",
}


@dataclass(frozen=True)
class Found:
    """A site as it is: what svcctl knows, what the services have, and what they were asked."""

    facts: dict[str, list[Any]]
    remote: dict[str, list[Any]]
    creates: dict[str, Counter[str]] = field(default_factory=dict)


def rows(folder: Path, statement: str) -> list[Any]:
    if (folder / "svcctl.db").exists():
        with closing(sqlite3.connect(folder / "svcctl.db", timeout=30)) as connection:
            return connection.execute(statement).fetchall()
    database = Database(load(folder / "svcctl.toml").database_url)
    try:
        with database.read() as there:
            return [tuple(row) for row in there.execute(text(statement))]
    finally:
        database.close()


def look(folder: Path) -> Found:
    """Everything that does not depend on the moment or on chance."""
    remote: dict[str, list[Any]] = {}
    creates: dict[str, Counter[str]] = {}
    for name in SANDBOXES:
        sandbox = SandboxManager(folder / f"{name}.sqlite")
        remote[name] = _plain(sandbox.accounts())
        creates[name] = Counter(
            call.name
            for call in sandbox.calls()
            if call.method == "create_account" and call.outcome == "done"
        )
        sandbox.close()
    wiki = HtpasswdManager(folder / "wiki.passwords", folder / "wiki.groups")
    remote["wiki"] = _plain(wiki.list_accounts())
    facts = {name: sorted(map(str, rows(folder, sql))) for name, sql in _FACTS.items()}
    return Found(facts, remote, creates)


def _plain(accounts: Any) -> list[Any]:
    def one(account: RemoteAccount) -> str:
        return f"{account.name} {account.active} {sorted(account.groups or ())} {account.nickname}"

    return sorted(map(one, accounts))


def compare(folder: Path, expected: Found) -> list[str]:
    """In words, what is not as it is when nothing happens."""
    try:
        return differences(look(folder), expected)
    except sqlite3.Error as error:
        return [f"the database cannot be looked at: {error}"]


def differences(found: Found, expected: Found) -> list[str]:
    wrong: list[str] = []
    for kind, here, there in (
        ("", found.facts, expected.facts),
        ("on ", found.remote, expected.remote),
    ):
        for name, wanted in there.items():
            missing = list((Counter(wanted) - Counter(here[name])).elements())
            extra = list((Counter(here[name]) - Counter(wanted)).elements())
            wrong += [f"{kind}{name}: {what} is missing" for what in missing]
            wrong += [f"{kind}{name}: {what} is too much" for what in extra]
    for service, counts in found.creates.items():
        more = counts - expected.creates[service]
        wrong += [f"{service}: {name} was created once too often" for name in more]
    return wrong


def undecided(folder: Path) -> int:
    """Creates that nothing told apart: they waited for the operator."""
    sql = "SELECT count(*) FROM operations WHERE error LIKE 'the service cannot be searched%'"
    return int(rows(folder, sql)[0][0])


def after(folder: Path, steps: Sequence[Step], codes: frozenset[int] = OK) -> list[str]:
    """Run the commands; then nothing may be open, damaged, locked or left to do. In words."""
    wrong: list[str] = []
    lines: list[Line] = []
    for step in steps:
        if callable(step):
            wrong += _run(folder, lines, codes)[0]
            lines = step(folder)
        else:
            lines = [*lines, step]
    wrong += _run(folder, lines, codes)[0]
    still, (last, *_) = _run(folder, [("sync", "--all", "--json"), *STILL], OK, silent=True)
    wrong += still
    if last.code == 0 and (left := json.loads(last.stdout)["operations"]):
        wrong.append(f"there was something left to do: {left}")
    return wrong + still_open(folder)


def _run(
    folder: Path, lines: Sequence[Line], codes: frozenset[int], *, silent: bool = False
) -> tuple[list[str], list[Ended]]:
    ended = in_turn(folder, lines) if lines else []
    wrong = [f"svcctl {' '.join(one.words)}: {one.wrong}" for one in ended if one.wrong]
    wrong += [str(one) for one in ended if one.code not in codes or (silent and one.stderr)]
    return wrong, ended


def still_open(folder: Path) -> list[str]:
    """What no run may leave behind when all is over."""
    wrong = []
    if rows(folder, "SELECT version_num FROM alembic_version") != [(SCHEMA,)]:
        return ["the schema is not the newest"]
    for verb, status, number in rows(
        folder,
        "SELECT verb, status, count(*) FROM operations WHERE status IN"
        " ('pending', 'running', 'unknown') AND NOT (status = 'unknown' AND"
        " verb = 'create_account') GROUP BY 1, 2",
    ):
        wrong.append(f"{number} {verb} still {status}")
    for (command,) in rows(folder, "SELECT command FROM runs WHERE ended_at IS NULL"):
        wrong.append(f"the run of {command!r} never ended")
    return wrong
