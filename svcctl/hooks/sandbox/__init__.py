"""sandbox: a service in a SQLite file, with every verb, and faults on demand.

For tests, for the demo, and for trying hooks: what it answers is what a real service may answer.
"""

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import Field, field_validator

from svcctl.config.service import HookConfig
from svcctl.errors import Conflict, Incomplete, ManagerError, NotFound, Transient
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import VERBS, Created, GroupChange, Manager, NewAccount, RemoteAccount
from svcctl.hooks.sandbox import file
from svcctl.hooks.sandbox.faults import EXAMPLES, METHODS, NOTHING, Fault
from svcctl.hooks.sandbox.file import Call, SandboxFile
from svcctl.names import NameRule

__all__ = ["EXAMPLES", "METHODS", "Call", "Fault", "SandboxConfig", "SandboxHook", "SandboxManager"]

T = TypeVar("T")


class SandboxConfig(HookConfig):
    """The settings of `hook = "sandbox"`."""

    path: Path = Field(description="the SQLite file that is the service; made when first used")
    latency: float = Field(0, ge=0, le=60, description="seconds that every call or page takes")
    faults: dict[str, str] = Field(
        default_factory=dict,
        description="method -> what goes wrong, like 'transient:0.1'; see Fault",
    )
    seed: int = Field(0, description="the same seed, the same chance")
    external_ids: bool = Field(
        default=True, description="false: a service that cannot store our key for the user"
    )
    page_size: int = Field(500, ge=1, le=100_000, description="accounts per page of a listing")
    log_reads: bool = Field(
        default=False, description="log and count reads in the file too; a dry run leaves traces"
    )

    @field_validator("faults")
    @classmethod
    def _are_faults(cls, faults: dict[str, str]) -> dict[str, str]:
        for method, text in faults.items():
            Fault.parse(method, text)
        return faults


class SandboxManager(Manager):
    """A service in a SQLite file: opaque uids, groups made on demand, a log of every verb.

    Safe for threads and for several processes. A verb and its line in the log are one transaction.
    Verbs are counted in the file, for all processes; reads leave the file alone and are counted
    by each manager for itself. Reading a file that is not there makes none and finds nothing.
    """

    concurrency = 16
    stores_external_id = True

    def __init__(
        self,
        path: Path,
        *,
        latency: float = 0,
        faults: Mapping[str, str] | None = None,
        seed: int = 0,
        external_ids: bool = True,
        page_size: int = 500,
        log_reads: bool = False,
    ) -> None:
        self._file = SandboxFile(path)
        self._latency = latency
        self._faults = {
            method: Fault.parse(method, text) for method, text in (faults or {}).items()
        }
        self._seed = seed
        self._page_size = page_size
        self._logged = METHODS if log_reads else VERBS
        self._reads = Counter[str]()
        if not external_ids:
            self.stores_external_id = False

    def close(self) -> None:
        self._file.close()

    def check(self) -> None:
        """The file is a sandbox, or can become one."""
        with self._call("check"):
            pass

    def list_accounts(self) -> Iterator[RemoteAccount]:
        return self._listing("list_accounts", file.accounts_after)

    def list_groups(self) -> Iterator[str]:
        return self._listing("list_groups", file.groups_after)

    def get_account(self, uid: str) -> RemoteAccount:
        with self._call("get_account", uid) as call:
            return file.account(call.db, uid)

    def find_account(self, external_id: str, name: str) -> RemoteAccount | None:
        with self._call("find_account", name=name) as call:
            find = "SELECT uid FROM accounts WHERE external_id = ? OR name = ? ORDER BY name = ?"
            row = call.db.execute(find, (external_id, name, name)).fetchone()
            return file.account(call.db, row[0]) if row else None

    def create_account(self, new: NewAccount) -> Created:
        """The uid is never given again; `data` holds its number and the attributes."""
        with self._call("create_account", name=new.name) as call:
            key = new.external_id if self.stores_external_id else None
            taken = "SELECT uid FROM accounts WHERE name = ? OR external_id = ?"
            if row := call.db.execute(taken, (new.name, key)).fetchone():
                raise Conflict(f"sandbox: {new.name} or its external id is taken by {row[0]}")
            insert = "INSERT INTO accounts (name, external_id) VALUES (?, ?)"
            number = call.db.execute(insert, (new.name, key)).lastrowid
            call.uid = f"sb-{number:06d}"
            data = {"number": number, "attributes": dict(new.attributes)}
            call.db.execute(
                "UPDATE accounts SET uid = ?, password = ?, data = ? WHERE number = ?",
                (call.uid, file.digest(call.uid, new.password), json.dumps(data), number),
            )
            return Created(uid=call.uid, name=new.name, data=data)

    def enable_account(self, uid: str) -> None:
        self._set("enable_account", uid, "active", 1)

    def disable_account(self, uid: str) -> None:
        self._set("disable_account", uid, "active", 0)

    def delete_account(self, uid: str) -> None:
        with self._call("delete_account", uid) as call:
            if not call.db.execute("DELETE FROM accounts WHERE uid = ?", (uid,)).rowcount:
                raise NotFound(f"sandbox: no account {uid}")

    def set_password(self, uid: str, password: str) -> None:
        self._set("set_password", uid, "password", file.digest(uid, password))

    def set_nickname(self, uid: str, nickname: str) -> None:
        self._set("set_nickname", uid, "nickname", nickname)

    def change_groups(self, uid: str, add: frozenset[str], remove: frozenset[str]) -> GroupChange:
        """A group that does not exist is made."""
        with self._call("change_groups", uid) as call:
            had = file.account(call.db, uid).groups or frozenset()
            joined, left = add - remove - had, remove & had
            call.db.executemany(
                "INSERT OR IGNORE INTO groups (name) VALUES (?)",
                [(name,) for name in sorted(joined)],
            )
            call.db.executemany(
                "INSERT INTO memberships SELECT number, ? FROM accounts WHERE uid = ?",
                [(name, uid) for name in joined],
            )
            call.db.executemany(
                "DELETE FROM memberships WHERE name = ? "
                "AND number = (SELECT number FROM accounts WHERE uid = ?)",
                [(name, uid) for name in left],
            )
            return GroupChange(added=joined, removed=left)

    # For tests and `svcctl service NAME …`: behind svcctl's back, without faults and log

    def break_method(self, method: str, text: str) -> None:
        """Break a method for every process, whatever is configured, and count from now on."""
        Fault.parse(method, text)
        with self._file.transaction(write=True) as db:
            since = "coalesce((SELECT calls FROM counts WHERE method = ?), 0)"
            db.execute(f"REPLACE INTO faults VALUES (?, ?, {since})", (method, text, method))  # noqa: S608 - constant

    def heal(self, method: str | None = None) -> None:
        """Undo `break_method`, for one method or all; what is configured holds again."""
        with self._file.transaction(write=True) as db:
            db.execute("DELETE FROM faults WHERE ? IN (method, '')", (method or "",))

    def drop(self, name: str) -> None:
        """Delete the account of this name. Raises NotFound."""
        with self._file.transaction(write=True) as db:
            if not db.execute("DELETE FROM accounts WHERE name = ?", (name,)).rowcount:
                raise NotFound(f"sandbox: no account of the name {name}")

    def calls(self) -> list[Call]:
        """What was asked of the service, oldest first."""
        with self._file.transaction() as db:
            return [Call(*row) for row in db.execute("SELECT * FROM calls ORDER BY number")]

    def accounts(self) -> list[RemoteAccount]:
        """Every account as it is."""
        with self._file.transaction() as db:
            return [account for _, account in file.accounts_after(db, 0, -1)]

    def has_password(self, uid: str, password: str) -> bool:
        """Whether this is the account's password; it is kept as a digest only."""
        with self._file.transaction() as db:
            row = db.execute("SELECT password FROM accounts WHERE uid = ?", (uid,)).fetchone()
            return bool(row) and row[0] == file.digest(uid, password)

    def _set(self, method: str, uid: str, column: str, value: object) -> None:
        with self._call(method, uid) as call:
            update = f"UPDATE accounts SET {column} = ? WHERE uid = ?"  # noqa: S608 - our own column
            if not call.db.execute(update, (value, uid)).rowcount:
                raise NotFound(f"sandbox: no account {uid}")

    def _listing(
        self, method: str, after: Callable[[sqlite3.Connection, int, int], list[tuple[int, T]]]
    ) -> Iterator[T]:
        with self._call(method) as call:
            incomplete, enough = call.fault.kind == "incomplete", call.fault.number or 1
        pages = last = 0
        while True:
            with self._file.transaction() as db:
                page = after(db, last, self._page_size)
            yield from (item for _, item in page)
            pages += 1
            ended = len(page) < self._page_size
            if incomplete and (ended or pages >= enough):
                raise Incomplete(f"sandbox: {method} ended after page {pages}, on purpose")
            if ended:
                return
            last = page[-1][0]
            _wait(self._latency)

    @contextmanager
    def _call(self, method: str, uid: str = "", name: str = "") -> Iterator["_Call"]:
        """One call: latency, fault, the work, the log; work and log in one transaction."""
        _wait(self._latency)
        logged = method in self._logged
        with self._file.transaction(write=logged) as db:
            call = _Call(db, method, uid, name or file.name_of(db, uid))
            call.fault = self._fault(call, logged=logged)
            error = call.fault.error(method)
            if logged and error:
                call.log(type(error).__name__)
        if error:
            raise error
        if call.fault.kind == "hang":
            _wait(float(call.fault.argument))
        failure: ManagerError | None = None
        with self._file.transaction(write=logged) as call.db:
            try:
                yield call
            except ManagerError as raised:
                failure = raised
            lost = call.fault.kind == "lost" and not failure
            if logged:
                call.log(type(failure).__name__ if failure else "lost" if lost else "done")
        if failure:
            raise failure
        if lost:
            raise Transient(f"sandbox: {method} is broken on purpose: it was done, the answer lost")

    def _fault(self, call: "_Call", *, logged: bool) -> Fault:
        """Count the call, and say what goes wrong in it."""
        text, since = file.broken(call.db, call.method)
        fault = Fault.parse(call.method, text) if text else self._faults.get(call.method, NOTHING)
        if logged:
            number = file.count(call.db, call.method) - since
        else:
            # Under the lock of the transaction.
            self._reads[call.method] += 1
            number = self._reads[call.method]
        return fault if fault.strikes(call.method, number, call.name, self._seed) else NOTHING


class SandboxHook(ServiceHook):
    """The default policy on a service that can do everything."""

    config: SandboxConfig
    config_class = SandboxConfig
    manager_class = SandboxManager
    commands = "svcctl.hooks.sandbox.commands:app"
    version = "1"
    username_rule = NameRule(max_length=64)
    nickname_rule = NameRule(min_length=0, max_length=64)


@dataclass(slots=True)
class _Call:
    """A call under way."""

    db: sqlite3.Connection
    method: str
    uid: str
    name: str
    fault: Fault = NOTHING

    def log(self, outcome: str) -> None:
        file.log(self.db, self.method, self.uid, self.name, outcome)


def _wait(seconds: float) -> None:
    if seconds:
        time.sleep(seconds)
