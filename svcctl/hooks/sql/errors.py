"""From what a database's driver raises to what it means for an account."""

import re
import sqlite3
from collections.abc import Iterable

from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from svcctl.config.values import redacted
from svcctl.databases import LATE, is_lost, said
from svcctl.errors import Conflict, Denied, Invalid, ManagerError, Transient
from svcctl.text import brief

_TAKEN = frozenset({"23505", "42710", "42P04", 1007, 1062, 1396, 1586})
"""unique_violation, duplicate_object; ER_DUP_ENTRY, ER_CANNOT_USER of CREATE USER."""
_DENIED = frozenset({"42501", "25006", "28P01", 1044, 1045, 1141, 1142, 1143, 1227, 1290, 1370})
_TRANSIENT = frozenset({"40001", "40P01", "55P03", 1040, 1158, 1159, 1160, 1161, 1203, 1205, 1213})
_TRANSIENT_CLASSES = ("08", "53", "57", "58")
_SYNTAX = frozenset({"42601", 1064})
"""Their messages repeat the statement, and with MySQL's driver what was filled in."""
_BUSY = re.compile(r"starting up|shutting down|recovery|too many|connection slots|conflict")
_SQLITE_TAKEN = frozenset(
    {
        sqlite3.SQLITE_CONSTRAINT_UNIQUE,
        sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
        sqlite3.SQLITE_CONSTRAINT_ROWID,
    }
)
_SQLITE_TRANSIENT = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
    }
)
_SQLITE_DENIED = frozenset({sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH})


def meaning(error: BaseException, what: str, private: Iterable[str]) -> ManagerError:
    """The ManagerError for what SQLAlchemy or a driver raised.

    what: the statement's key, for the message. private: values that must not be seen.
    """
    driver = getattr(error, "orig", None) or error
    code, text = said(driver)
    secret = [value for value in private if value]
    if secret and code in _SYNTAX:
        text = "not understood"
    message = f"{what}: {brief(redacted(text, secret))}"
    if code is not None:
        message += f" ({code})"
    kind, hint = _kind(error, driver, code, text)
    return kind(message, hint=hint)


def _kind(
    error: BaseException, driver: BaseException, code: str | int | None, text: str
) -> tuple[type[ManagerError], str | None]:
    rights = "check the database user's password and rights"
    if isinstance(driver, sqlite3.Error):
        return _sqlite_kind(driver)
    if code in _TAKEN:
        return Conflict, None
    if code in _DENIED or (isinstance(code, str) and code.startswith("28")):
        return Denied, rights
    # psycopg knows no code for what the server says before there is a session.
    if code is None and "FATAL" in text and not _BUSY.search(text):
        return Denied, rights
    if (
        code in _TRANSIENT
        or code in LATE
        or is_lost(driver, code)
        or (isinstance(code, str) and code.startswith(_TRANSIENT_CLASSES))
        or (isinstance(code, int) and (code == 0 or 2000 <= code < 3000))
        or isinstance(error, (PoolTimeout, TimeoutError, ConnectionError))
    ):
        return Transient, None
    if code is None and isinstance(error, DBAPIError):
        if isinstance(error, IntegrityError):
            return Conflict, None
        if isinstance(error, (OperationalError, InterfaceError)):
            return Transient, None
    if isinstance(error, (SQLAlchemyError, ValueError, OverflowError, UnicodeError)):
        return Invalid, "try the statement in the database's own client, as this user"
    return Transient, None


def _sqlite_kind(driver: sqlite3.Error) -> tuple[type[ManagerError], str | None]:
    code = getattr(driver, "sqlite_errorcode", 0)
    if code in _SQLITE_TAKEN:
        return Conflict, None
    if code & 0xFF in _SQLITE_TRANSIENT:
        return Transient, None
    if code & 0xFF in _SQLITE_DENIED:
        return Denied, "svcctl must be able to write to the file and its folder"
    if code & 0xFF == sqlite3.SQLITE_CANTOPEN:
        return Invalid, "check database; the file must exist, and svcctl enter its folder"
    return Invalid, "try the statement in the database's own client"
