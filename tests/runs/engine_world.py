"""A site of people and sandboxes, and what can be asked of it."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import insert

from svcctl.config.load import load
from svcctl.hooks.manager import RemoteAccount
from svcctl.hooks.sandbox import Call, SandboxManager
from svcctl.model import to_json
from svcctl.store.standing import refresh_states
from svcctl.store.tables import groups, memberships, users
from tests.support.forks import Fork, Forks

MOMENT = "2026-01-01T00:00:00Z"
LONG_AGO = "2020-01-01T00:00:00Z"


def lab(name: str = "lab", more: str = "", *, hook: str = "sandbox", create: str = "auto") -> str:
    """The table of a sandbox service that Members may use."""
    return (
        f'[services.{name}]\nhook = "{hook}"\npath = "{name}.sqlite"\ncreate = "{create}"\n'
        f'access.states = ["Member"]\n{more}\n'
    )


STATES = '[states.Member]\npriority = 100\ngroups = ["staff"]\n'


@dataclass
class World:
    """A site with everything at hand that a test of the engine asks."""

    site: Any
    svcctl: Callable[..., Any]
    forks: Forks
    _opened: list[SandboxManager] = field(default_factory=list)

    def people(self, names: Sequence[str], *member_of: str, **columns: Any) -> None:
        """Users in these groups, sorted into states, as fast as it goes."""
        wanted = set(member_of)
        with self.site.database.write() as connection:
            known = {row.name: row.id for row in connection.execute(groups.select())}
            for name in sorted(wanted - known.keys()):
                row = connection.execute(insert(groups).values(name=name))
                known[name] = row.inserted_primary_key[0]
            ids = []
            for name in names:
                values = {"username": name, "created_at": MOMENT, "updated_at": MOMENT, **columns}
                values["attributes"] = to_json(values.get("attributes", {}))
                row = connection.execute(insert(users).values(**values))
                ids.append(row.inserted_primary_key[0])
            pairs = [{"user_id": i, "group_id": known[name]} for i in ids for name in wanted]
            if pairs:
                connection.execute(insert(memberships), pairs)
            rules = load(self.site.folder / "svcctl.toml").state_rules()
            refresh_states(connection, rules, ids)

    def regroup(self, names: Sequence[str], *, out_of: str) -> None:
        """Take people out of a group behind the commands' back: no account follows."""
        quoted = ", ".join(f"'{name}'" for name in names)
        self.site.execute(
            "DELETE FROM memberships WHERE group_id = (SELECT id FROM groups WHERE name = :group)"
            f" AND user_id IN (SELECT id FROM users WHERE username IN ({quoted}))",
            group=out_of,
        )
        with self.site.database.write() as connection:
            connection.exec_driver_sql("DELETE FROM states")
            refresh_states(connection, load(self.site.folder / "svcctl.toml").state_rules())

    def sandbox(self, name: str = "lab", **settings: Any) -> SandboxManager:
        """The service itself, as its owner sees it."""
        manager = SandboxManager(self.site.folder / f"{name}.sqlite", **settings)
        self._opened.append(manager)
        return manager

    def remote(self, name: str = "lab") -> dict[str, RemoteAccount]:
        return {account.name: account for account in self.sandbox(name).accounts()}

    def calls(self, name: str = "lab") -> list[Call]:
        return self.sandbox(name).calls()

    def said(self, name: str = "lab") -> list[tuple[str, str, str]]:
        return [(call.method, call.name, call.outcome) for call in self.calls(name)]

    def run(self, *words: str) -> tuple[int, dict[str, Any]]:
        """A command with --json: its exit code and its document."""
        result = self.svcctl(*words, "--json")
        assert result.stdout, result.stderr
        return result.exit_code, json.loads(result.stdout)

    def rows(self, statement: str, **values: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.site.rows(statement, **values)
        return found

    def accounts(self, service: str = "lab") -> dict[str, dict[str, Any]]:
        return {
            row["username"]: row
            for row in self.rows(
                "SELECT accounts.*, username FROM accounts JOIN users ON users.id = user_id"
                " WHERE service = :service ORDER BY username",
                service=service,
            )
        }

    def status(self, service: str = "lab") -> dict[str, str]:
        return {name: row["status"] for name, row in self.accounts(service).items()}

    def operations(self, where: str = "1") -> list[tuple[str, str, str]]:
        """(user, verb, status), in the order of their rows."""
        return [
            (row["username"], row["verb"], row["status"])
            for row in self.rows(
                "SELECT username, verb, status FROM operations JOIN users ON users.id = user_id"
                f" WHERE {where} ORDER BY operations.id"
            )
        ]

    def age(self, column: str = "next_attempt_at", table: str = "operations") -> None:
        """As if that had been long ago."""
        self.site.execute(
            f"UPDATE {table} SET {column} = :ago WHERE {column} IS NOT NULL", ago=LONG_AGO
        )

    def start(self, *words: str, code: str = "", **environment: str) -> Fork:
        """A run in a process of its own; `code` is executed in it first."""
        return self.forks.begin(self.site.folder, *words, code=code, environment=environment)

    def until(self, calls: int, process: Fork) -> None:
        """Wait until lab has been asked so often, or the process has ended."""
        manager = self.sandbox()
        deadline = time.monotonic() + 60
        while process.working and time.monotonic() < deadline:
            with manager._file.transaction() as db:
                if db.execute("SELECT count(*) FROM calls").fetchone()[0] >= calls:
                    break
            time.sleep(0.005)

    def sound(self, *, aged: bool = False) -> None:
        """`db check` has nothing to say, and the record, unless a test aged it, is as written."""
        for words in (("db", "check"), ("audit", "verify"))[: 1 if aged else 2]:
            result = self.svcctl(*words)
            assert (result.exit_code, result.stderr) == (0, ""), result.stdout + result.stderr


def names(count: int, start: int = 0) -> list[str]:
    return [f"user{number:05d}" for number in range(start, start + count)]
