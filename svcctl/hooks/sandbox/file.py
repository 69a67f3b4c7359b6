"""The SQLite file that is the service: its tables, its transactions, what is read and logged."""

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from svcctl.clock import stamp
from svcctl.errors import Denied, Invalid, ManagerError, NotFound, Transient
from svcctl.hooks.manager import RemoteAccount
from svcctl.model import NOTHING

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


@dataclass(frozen=True, slots=True)
class Call:
    """A line of the log. `outcome`: done, lost, or the name of the error."""

    number: int
    method: str
    uid: str
    name: str
    at: str
    outcome: str


class SandboxFile:
    """One connection for all threads, one transaction at a time."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._path = path
        self._open: sqlite3.Connection | None = None

    def close(self) -> None:
        with self._lock:
            if self._open:
                self._open.close()
            self._open = None

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        """Commits, or rolls back on any error. Raises a ManagerError for what SQLite says."""
        with self._lock:
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


def accounts_after(
    db: sqlite3.Connection, number: int, count: int
) -> list[tuple[int, RemoteAccount]]:
    """A page: the accounts after this number, each with its own; a negative count is no limit."""
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
                attributes=each.get("attributes", NOTHING),
            ),
        )
        for row, each in zip(page, data, strict=True)
    ]


def account(db: sqlite3.Connection, uid: str) -> RemoteAccount:
    """The account. Raises NotFound."""
    row = db.execute("SELECT number FROM accounts WHERE uid = ?", (uid,)).fetchone()
    if not row:
        raise NotFound(f"sandbox: no account {uid}")
    return accounts_after(db, row[0] - 1, 1)[0][1]


def groups_after(db: sqlite3.Connection, number: int, count: int) -> list[tuple[int, str]]:
    """A page: the groups after this number, each with its own."""
    find = "SELECT number, name FROM groups WHERE number > ? ORDER BY number LIMIT ?"
    return db.execute(find, (number, count)).fetchall()


def name_of(db: sqlite3.Connection, uid: str) -> str:
    """The name of an account; empty where there is none."""
    row = db.execute("SELECT name FROM accounts WHERE uid = ?", (uid,)).fetchone() if uid else None
    return row[0] if row else ""


def broken(db: sqlite3.Connection, method: str) -> tuple[str, int]:
    """The fault that `break_method` set, or nothing, and how many calls were counted before."""
    find = "SELECT fault, since FROM faults WHERE method = ?"
    return db.execute(find, (method,)).fetchone() or ("", 0)


def count(db: sqlite3.Connection, method: str) -> int:
    """Count a call of this method, and say how many there are now."""
    insert = "INSERT INTO counts VALUES (?, 1) ON CONFLICT DO UPDATE SET calls = calls + 1"
    db.execute(insert, (method,))
    counted = db.execute("SELECT calls FROM counts WHERE method = ?", (method,)).fetchone()
    return int(counted[0])


def log(db: sqlite3.Connection, method: str, uid: str, name: str, outcome: str) -> None:
    """Write a line of the log."""
    insert = "INSERT INTO calls (method, uid, name, at, outcome) VALUES (?, ?, ?, ?, ?)"
    db.execute(insert, (method, uid, name, stamp(), outcome))


def digest(uid: str, password: str) -> str:
    """What is kept of a password."""
    return hashlib.blake2b(password.encode(), salt=uid.encode()[:16]).hexdigest()
