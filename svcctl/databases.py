"""Databases that are not ours: connecting to them, and what their drivers say."""

import re
import sqlite3
import time
from collections.abc import Callable, Generator
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Engine, ExceptionContext, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from svcctl.config.source import DatabaseUrl
from svcctl.errors import SvcctlError

LATE = frozenset({"57014", 1969, 3024})
"""PostgreSQL's query_canceled, MariaDB's and MySQL's statement timeouts."""
LOST = frozenset({"57P01", "57P02", "57P03", 1053, 1927, 2006, 2013, 2014, 2055})
"""The connection was ended, from either side."""
_BROKEN = frozenset({"DatabaseError", "InternalError", "OperationalError"})
"""What drivers raise without a code of the server: it is gone, or nothing that speaks like one."""
_DRIVERS = {"postgresql": ("PostgreSQL", "postgres"), "mysql": ("MySQL and MariaDB", "mysql")}


class UnusableUrl(SvcctlError):
    """It is none, or the driver for it is not installed. The message goes on after the key."""


def connect_sqlite(file: str, *, writes: bool, seconds: float) -> Callable[[], sqlite3.Connection]:
    """What opens a SQLite file that exists; transactions are begun by hand."""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{quote(file)}?mode={'rw' if writes else 'ro'}",
            uri=True,
            timeout=seconds,
            isolation_level=None,
            check_same_thread=False,
        )

    return connect


def open_engine(
    url: DatabaseUrl, password: str | None, *, seconds: float, **options: Any
) -> Engine:
    """An engine for a server that gives up connecting, and waiting for an answer, in time.

    options: of SQLAlchemy's create_engine. Raises UnusableUrl, which never shows the URL.
    """
    try:
        whole = make_url(url.full)
        if password is not None:
            whole = whole.set(password=password)
        engine = create_engine(
            whole, connect_args=_limits(whole, seconds), hide_parameters=True, **options
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        name, extra = _DRIVERS.get(url.partition(":")[0].partition("+")[0], ("it", ""))
        raise UnusableUrl(
            f"the driver for {name} is not installed",
            hint=f"install it with: pip install 'svcctl[{extra}]'"
            if extra
            else f"install what SQLAlchemy needs for {url.partition(':')[0]} next to svcctl",
        ) from error
    except (ArgumentError, SQLAlchemyError, TypeError, ValueError) as error:
        raise UnusableUrl(
            "not a URL of a database",
            hint="write it like mysql://user@host:3306/name; @, : and / in names as %40, %3A, %2F",
        ) from error
    event.listen(engine, "handle_error", _give_up)
    if engine.driver == "psycopg":
        event.listen(engine, "do_connect", _impatient(silence(seconds)))
        event.listen(engine, "handle_error", _leave)
    return engine


def _give_up(context: ExceptionContext) -> None:
    """A connection that is lost is not spoken to any more."""
    if is_lost(context.original_exception, said(context.original_exception)[0]):
        context.is_disconnect = True


def _leave(context: ExceptionContext) -> None:
    """A cursor on a PostgreSQL server is closed there, unless its connection is closed before."""
    if context.is_disconnect and context.execution_context is not None:
        cursor: Any = context.execution_context.cursor
        cursor.connection.close()
        cursor.close()


def silence(seconds: float) -> int:
    """How long a server may say nothing; longer than a statement, whose end it says itself."""
    return round(seconds) + 1


def _impatient(seconds: float) -> Callable[..., Any]:
    """What connects to PostgreSQL: its driver would wait for ever for a server that is silent."""
    import psycopg

    def within(waiting: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        end = time.monotonic() + seconds
        try:
            wanted = next(waiting)
            while True:
                # Nothing comes in every now and then, while nothing is there.
                ready = yield wanted
                if not ready and time.monotonic() > end:
                    raise psycopg.OperationalError(f"no answer within {seconds:g} s")
                wanted = waiting.send(ready)
        except StopIteration as done:
            return done.value

    class Cursor(psycopg.ServerCursor[Any]):
        def close(self) -> None:
            try:
                super().close()
            except psycopg.Error:
                # SQLAlchemy would log it, and go on with a connection that is of no use.
                self.connection.close()
                super().close()

    class Connection(psycopg.Connection[Any]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.server_cursor_factory = Cursor

        def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
            return super().wait(within(gen), *args, **kwargs)

    def connect(_dialect: object, _record: object, arguments: Any, settings: Any) -> Any:
        return Connection.connect(*arguments, **settings)

    return connect


def _limits(url: URL, seconds: float) -> dict[str, Any]:
    """What the driver is told when it connects, unless the URL says it."""
    wait = max(1, min(10, round(seconds)))
    limits: dict[str, Any] = {}
    if url.get_backend_name() == "mysql":
        limits = {"connect_timeout": wait}
        limits["read_timeout"] = limits["write_timeout"] = silence(seconds)
    elif url.get_backend_name() == "postgresql":
        limits = {
            "connect_timeout": max(2, wait),
            "client_encoding": "utf8",
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "application_name": "svcctl",
        }
    return {name: value for name, value in limits.items() if name not in url.query}


def run_all(dbapi: Any, *statements: str) -> None:
    """Statements on a fresh connection, for its session."""
    with dbapi.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    dbapi.commit()


def said(error: BaseException) -> tuple[str | int | None, str]:
    """The code and the first line of what the driver says: no statement, no values."""
    code: str | int | None = getattr(error, "sqlstate", None)
    text = str(error)
    if len(error.args) == 2 and isinstance(error.args[0], int):  # MySQL's driver
        code, text = error.args[0], str(error.args[1])
    line = next(iter(text.strip().splitlines()), type(error).__name__)
    return code, line[:300]


def is_lost(error: BaseException, code: str | int | None) -> bool:
    """Whether the connection is gone, also where the server had no time to say why.

    Or of no use: what comes is not the protocol.
    """
    return (
        code in LOST
        or (isinstance(code, str) and re.match("08", code) is not None)
        or isinstance(error, ConnectionError)
        or (
            code is None
            and type(error).__name__ in _BROKEN
            and not isinstance(error, sqlite3.Error)
        )
    )
