"""sandbox: a service in a SQLite file, with every verb, and faults on demand.

For tests, for the demo, and for trying hooks: what it answers is what a real service may answer.
"""

import hashlib
import json
import os
import random
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import Field, field_validator

from svcctl.clock import stamp
from svcctl.config.service import HookConfig
from svcctl.errors import (
    Conflict,
    Denied,
    Incomplete,
    Invalid,
    ManagerError,
    NotFound,
    RateLimited,
    Transient,
)
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import (
    READS,
    VERBS,
    Created,
    GroupChange,
    Manager,
    NewAccount,
    RemoteAccount,
)
from svcctl.names import NameRule

T = TypeVar("T")

_CHANCE = r"(?::(?P<argument>0|1|0?\.[0-9]{1,6})|@(?P<number>[1-9][0-9]{0,8}))?"
_SECONDS = r"(?P<argument>[0-9]{1,5}(?:\.[0-9]{1,3})?)"
_NUMBER = r"(?:@(?P<number>[1-9][0-9]{0,8}))?"
_SPELLINGS = {
    "transient": _CHANCE,
    "denied": _CHANCE,
    "lost": _CHANCE,
    "rate_limited": f"(?::{_SECONDS})?{_NUMBER}",
    "hang": f":{_SECONDS}{_NUMBER}",
    "incomplete": _NUMBER,
    "invalid": ":(?P<argument>.+)",
    "none": "",
}
EXAMPLES = (
    "transient, transient:0.1, denied@3, lost@3, rate_limited:2.5, hang:5, incomplete@2, "
    "invalid:NAME"
)
METHODS = READS | VERBS


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong in a method: KIND, KIND:ARGUMENT, KIND@NUMBER (only the Nth call, from 1).

    transient, denied: nothing is done, and that error says so; `transient:0.1`: in a tenth of calls
    lost: it **is done**, and then a Transient: the answer is lost; with a chance or number as above
    rate_limited, rate_limited:2.5: nothing is done, and RateLimited asks for 2.5 seconds
    hang:5: 5 seconds pass first
    incomplete, incomplete@2: a listing never ends well: Incomplete after 2 pages, or all
    invalid:NAME: Invalid, for the account of this name only
    none: nothing, in spite of the configuration
    """

    kind: str
    argument: str = ""
    number: int = 0

    @classmethod
    def parse(cls, method: str, text: str) -> "Fault":
        """Raises ValueError, saying what may be written."""
        if method not in METHODS:
            raise ValueError(f"{method}: no such method; there are {', '.join(sorted(METHODS))}")
        kind = re.split("[:@]", text, maxsplit=1)[0]
        match = re.fullmatch(kind + _SPELLINGS.get(kind, "(?!)"), text)
        if not match:
            raise ValueError(f"{method}: {text!r} is not a fault; write one like {EXAMPLES}")
        if kind == "incomplete" and not method.startswith("list_"):
            raise ValueError(f"{method}: only a listing can be incomplete")
        parts = match.groupdict()
        return cls(kind, parts.get("argument") or "", int(parts.get("number") or 0))

    def strikes(self, method: str, call: int, name: str, seed: int) -> bool:
        """Whether it is this call's turn; chance depends on nothing but seed, method and call."""
        match self.kind:
            case "none":
                return False
            case "invalid":
                return name == self.argument
            case "transient" | "denied" | "lost" if self.argument:
                chance = random.Random(f"{seed} {method} {call}")  # noqa: S311 - to be repeatable
                return chance.random() < float(self.argument)
            case "incomplete":
                return True
        return self.number in (0, call)

    def error(self, method: str) -> ManagerError | None:
        """What is raised before anything is done."""
        message = f"sandbox: {method} is broken on purpose: {self.kind}"
        match self.kind:
            case "transient":
                return Transient(message)
            case "denied":
                return Denied(message, hint="svcctl service NAME heal")
            case "rate_limited":
                seconds = float(self.argument) if self.argument else None
                return RateLimited(message, retry_after=seconds)
            case "invalid":
                return Invalid(f"{message} for {self.argument}", hint="svcctl service NAME heal")
        return None


@dataclass(frozen=True, slots=True)
class Call:
    """A line of the log. `outcome`: done, lost, or the name of the error."""

    number: int
    method: str
    uid: str
    name: str
    at: str
    outcome: str


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
        self._file = _SandboxFile(path)
        self._latency = latency
        self._faults = {
            method: Fault.parse(method, text) for method, text in (faults or {}).items()
        }
        self._seed = seed
        self._page_size = page_size
        self._logged = METHODS if log_reads else VERBS
        self._reads: dict[str, int] = {}
        if not external_ids:
            self.stores_external_id = False  # type: ignore[misc]  # this service, not the class

    def close(self) -> None:
        self._file.close()

    def check(self) -> None:
        """The file is a sandbox, or can become one."""
        with self._call("check"):
            pass

    def list_accounts(self) -> Iterator[RemoteAccount]:
        return self._listing("list_accounts", _accounts_after)

    def list_groups(self) -> Iterator[str]:
        return self._listing("list_groups", _groups_after)

    def get_account(self, uid: str) -> RemoteAccount:
        with self._call("get_account", uid) as call:
            return _account(call.db, uid)

    def find_account(self, external_id: str, name: str) -> RemoteAccount | None:
        with self._call("find_account", name=name) as call:
            find = "SELECT uid FROM accounts WHERE external_id = ? OR name = ? ORDER BY name = ?"
            row = call.db.execute(find, (external_id, name, name)).fetchone()
            return _account(call.db, row[0]) if row else None

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
                (call.uid, _digest(call.uid, new.password), json.dumps(data), number),
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
        self._set("set_password", uid, "password", _digest(uid, password))

    def set_nickname(self, uid: str, nickname: str) -> None:
        self._set("set_nickname", uid, "nickname", nickname)

    def change_groups(self, uid: str, add: frozenset[str], remove: frozenset[str]) -> GroupChange:
        """A group that does not exist is made."""
        with self._call("change_groups", uid) as call:
            had = _account(call.db, uid).groups or frozenset()
            joined, left = add - remove - had, remove & had
            names = [(name,) for name in sorted(joined)]
            call.db.executemany("INSERT OR IGNORE INTO groups (name) VALUES (?)", names)
            where = "SELECT number, ? FROM accounts WHERE uid = ?"
            pairs = [(name, uid) for name in sorted(joined)]
            call.db.executemany(f"INSERT INTO memberships {where}", pairs)
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
            return [account for _, account in _accounts_after(db, 0, -1)]

    def has_password(self, uid: str, password: str) -> bool:
        """Whether this is the account's password; it is kept as a digest only."""
        with self._file.transaction() as db:
            row = db.execute("SELECT password FROM accounts WHERE uid = ?", (uid,)).fetchone()
            return bool(row) and row[0] == _digest(uid, password)

    def _set(self, method: str, uid: str, column: str, value: object) -> None:
        with self._call(method, uid) as call:
            update = f"UPDATE accounts SET {column} = ? WHERE uid = ?"  # noqa: S608 - our own column
            if not call.db.execute(update, (value, uid)).rowcount:
                raise NotFound(f"sandbox: no account {uid}")

    def _listing(
        self, method: str, after: Callable[[sqlite3.Connection, int, int], list[tuple[int, T]]]
    ) -> Iterator[T]:
        with self._call(method) as call:
            fault = call.fault
        pages = last = 0
        while True:
            with self._file.transaction() as db:
                page = after(db, last, self._page_size)
            yield from (item for _, item in page)
            pages += 1
            if fault and fault.kind == "incomplete" and pages >= (fault.number or 1):
                raise Incomplete(f"sandbox: {method} ended after page {pages}, on purpose")
            if len(page) < self._page_size:
                break
            last = page[-1][0]
            self._wait(self._latency)
        if fault and fault.kind == "incomplete":
            raise Incomplete(f"sandbox: {method} ended after page {pages}, on purpose")

    @contextmanager
    def _call(self, method: str, uid: str = "", name: str = "") -> Iterator["_Call"]:
        """One call: latency, fault, the work, the log; work and log in one transaction."""
        self._wait(self._latency)
        logged = method in self._logged
        with self._file.transaction(write=logged) as db:
            call = _Call(db, method, uid, name or _name_of(db, uid))
            call.fault = fault = self._fault(call, logged=logged)
            error = fault.error(method) if fault else None
            if logged and error:
                call.log(type(error).__name__)
        if error:
            raise error
        if fault and fault.kind == "hang":
            self._wait(float(fault.argument))
        failure: ManagerError | None = None
        with self._file.transaction(write=logged) as call.db:
            try:
                yield call
            except ManagerError as raised:
                failure = raised
            lost = fault is not None and fault.kind == "lost" and not failure
            if logged:
                call.log(type(failure).__name__ if failure else "lost" if lost else "done")
        if failure:
            raise failure
        if lost:
            raise Transient(f"sandbox: {method} is broken on purpose: it was done, the answer lost")

    @staticmethod
    def _wait(seconds: float) -> None:
        if seconds:
            time.sleep(seconds)

    def _fault(self, call: "_Call", *, logged: bool) -> Fault | None:
        broken = "SELECT fault, since FROM faults WHERE method = ?"
        row = call.db.execute(broken, (call.method,)).fetchone()
        fault = Fault.parse(call.method, row[0]) if row else self._faults.get(call.method)
        if logged:
            count = "INSERT INTO counts VALUES (?, 1) ON CONFLICT DO UPDATE SET calls = calls + 1"
            call.db.execute(count, (call.method,))
            counted = "SELECT calls FROM counts WHERE method = ?"
            number = call.db.execute(counted, (call.method,)).fetchone()[0] - (row[1] if row else 0)
        else:
            with self._file.lock:
                number = self._reads[call.method] = self._reads.get(call.method, 0) + 1
        struck = fault and fault.strikes(call.method, number, call.name, self._seed)
        return fault if struck else None


class SandboxHook(ServiceHook):
    """The default policy on a service that can do everything."""

    config: SandboxConfig
    config_class = SandboxConfig
    manager_class = SandboxManager
    commands = "svcctl.hooks.sandbox_commands:app"
    version = "1"
    username_rule = NameRule(max_length=64)
    nickname_rule = NameRule(min_length=0, max_length=64)


# Below: the file.

_APPLICATION_ID = 0x73766373
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS accounts (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    uid TEXT UNIQUE,
    name TEXT NOT NULL UNIQUE,
    external_id TEXT UNIQUE,
    active INTEGER NOT NULL DEFAULT 1,
    nickname TEXT NOT NULL DEFAULT '',
    password TEXT NOT NULL DEFAULT '',
    data TEXT NOT NULL DEFAULT '{{}}'
);
CREATE TABLE IF NOT EXISTS groups (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS memberships (
    number INTEGER NOT NULL REFERENCES accounts ON DELETE CASCADE,
    name TEXT NOT NULL REFERENCES groups (name),
    PRIMARY KEY (number, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS faults (method TEXT PRIMARY KEY, fault TEXT, since INTEGER);
CREATE TABLE IF NOT EXISTS counts (method TEXT PRIMARY KEY, calls INTEGER);
CREATE TABLE IF NOT EXISTS calls (
    number INTEGER PRIMARY KEY, method TEXT, uid TEXT, name TEXT, at TEXT, outcome TEXT
);
PRAGMA application_id = {_APPLICATION_ID}
"""


@dataclass(slots=True)
class _Call:
    db: sqlite3.Connection
    method: str
    uid: str
    name: str
    fault: Fault | None = None

    def log(self, outcome: str) -> None:
        insert = "INSERT INTO calls (method, uid, name, at, outcome) VALUES (?, ?, ?, ?, ?)"
        self.db.execute(insert, (self.method, self.uid, self.name, stamp(), outcome))


class _SandboxFile:
    """One connection for all threads, one transaction at a time."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.RLock()
        self._path = path
        self._open: sqlite3.Connection | None = None

    def close(self) -> None:
        with self.lock:
            if self._open:
                self._open.close()
            self._open = None

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        """Commits, or rolls back on any error. Raises a ManagerError for what SQLite says."""
        with self.lock:
            try:
                if not write and not self._open and not self._path.exists():
                    with closing(sqlite3.connect(":memory:")) as nothing:
                        nothing.executescript(_SCHEMA)
                        yield nothing
                    return
                db = self._open = self._open or self._connect()
                db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                try:
                    yield db
                except BaseException:
                    db.execute("ROLLBACK")
                    raise
                db.execute("COMMIT")
            except sqlite3.Error as error:
                raise self._refusal(error) from error

    def _connect(self) -> sqlite3.Connection:
        with suppress(OSError):
            # SQLite gives its other files the mode of this one. An error is SQLite's to tell.
            os.close(os.open(self._path, os.O_CREAT | os.O_WRONLY, 0o600))
        db = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            if db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
                self._make(db)
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            db.close()
            raise
        return db

    def _make(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        # Another process may have been first.
        mine = db.execute("PRAGMA application_id").fetchone()[0] == _APPLICATION_ID
        if not mine and db.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise Invalid(f"{self._path}: another program's database", hint="name another file")
        # Not executescript, which would commit first.
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
        db.execute("COMMIT")
        db.execute("PRAGMA journal_mode = WAL")

    def _refusal(self, error: sqlite3.Error) -> ManagerError:
        message = f"{self._path}: {error}"
        match getattr(error, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
                return Denied(message, hint="the folder must exist, and be writable for svcctl")
            case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_MISMATCH:
                return Invalid(message, hint="name another file")
        return Transient(message)


def _accounts_after(
    db: sqlite3.Connection, number: int, count: int
) -> list[tuple[int, RemoteAccount]]:
    page = db.execute(
        "SELECT number, uid, name, active, external_id, nickname, data FROM accounts "
        "WHERE number > ? ORDER BY number LIMIT ?",
        (number, count),
    ).fetchall()
    groups: dict[int, set[str]] = {}
    if page:
        between = "SELECT number, name FROM memberships WHERE number BETWEEN ? AND ?"
        for member, name in db.execute(between, (page[0][0], page[-1][0])):
            groups.setdefault(member, set()).add(name)
    # One document for the page: decoding each by itself takes longer than all the rest.
    data = json.loads(f"[{','.join(row[6] for row in page)}]")
    return [
        (
            row[0],
            RemoteAccount(
                uid=row[1],
                name=row[2],
                active=bool(row[3]),
                external_id=row[4],
                groups=frozenset(groups.get(row[0], ())),
                nickname=row[5],
                data=each,
            ),
        )
        for row, each in zip(page, data, strict=True)
    ]


def _account(db: sqlite3.Connection, uid: str) -> RemoteAccount:
    row = db.execute("SELECT number FROM accounts WHERE uid = ?", (uid,)).fetchone()
    if not row:
        raise NotFound(f"sandbox: no account {uid}")
    return _accounts_after(db, row[0] - 1, 1)[0][1]


def _groups_after(db: sqlite3.Connection, number: int, count: int) -> list[tuple[int, str]]:
    find = "SELECT number, name FROM groups WHERE number > ? ORDER BY number LIMIT ?"
    return db.execute(find, (number, count)).fetchall()


def _name_of(db: sqlite3.Connection, uid: str) -> str:
    row = db.execute("SELECT name FROM accounts WHERE uid = ?", (uid,)).fetchone() if uid else None
    return row[0] if row else ""


def _digest(uid: str, password: str) -> str:
    return hashlib.blake2b(password.encode(), salt=uid.encode()[:16]).hexdigest()
