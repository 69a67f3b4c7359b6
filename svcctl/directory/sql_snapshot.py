"""A database that is not ours, as it is at one moment: nothing of it can be changed from here."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, CursorResult, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from svcctl.config.source import SqlSource
from svcctl.errors import ConfigError, SourceError

_AT_ONCE = 1000
_OPCODES = 10_000
_DRIVERS = {"postgresql": ("PostgreSQL", "postgres"), "mysql": ("MySQL and MariaDB", "mysql")}
_LATE = frozenset({"57014", 1969, 3024})
"""PostgreSQL's query_canceled, MariaDB's and MySQL's statement timeouts."""
_WRITES = frozenset({"25006", 1792})
_LOST = frozenset({"57P01", "57P02", "57P03", 1053, 1927, 2006, 2013, 2014, 2055})


class Snapshot:
    """Open from `with` on, one read-only transaction long; it is rolled back whatever happens."""

    def __init__(self, source: SqlSource, key: str) -> None:
        self._source = source
        self._key = key
        self._seconds = source.timeout.total_seconds()
        self._deadline = 0.0
        self._connection: Connection | None = None
        self._answers: list[CursorResult[Any]] = []

    @contextmanager
    def opened(self) -> Iterator["Snapshot"]:
        """Connect, and leave nothing open. Raises SourceError."""
        self._deadline = time.monotonic() + self._seconds
        engine = self._engine()
        try:
            with self._errors("url"):
                connection = engine.connect()
            self._connection = connection
            dbapi = connection.connection.dbapi_connection
            try:
                yield self
            finally:
                # An answer that was not read to its end: MySQL's driver would read it all first.
                if (answer := getattr(dbapi, "_result", None)) is not None:
                    answer.unbuffered_active = False
                for result in self._answers:
                    result.close()
                connection.invalidate()
                connection.close()
        finally:
            engine.dispose()

    def select(self, option: str, sql: str) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """The names of the columns, and the rows as they arrive. Raises SourceError."""
        assert self._connection is not None
        with self._errors(option):
            result: CursorResult[Any] = self._connection.exec_driver_sql(
                sql.strip().rstrip(";"),
                execution_options={
                    "stream_results": True,
                    "yield_per": _AT_ONCE,
                    "no_parameters": True,  # a % is a %
                },
            )
            self._answers.append(result)
            if not result.returns_rows:
                raise SourceError(
                    f"{self._key}.{option}: gives no rows", hint="write one SELECT that does"
                )
            return list(result.keys()), self._rows(option, result)

    def _rows(self, option: str, result: CursorResult[Any]) -> Iterator[tuple[Any, ...]]:
        with self._errors(option):
            for rows in result.partitions(_AT_ONCE):
                yield from map(tuple, rows)
                if time.monotonic() > self._deadline:
                    raise self._late(option)

    # Connecting

    def _engine(self) -> Engine:
        if (file := self._source.url.file) is not None:
            engine = create_engine("sqlite://", creator=self._sqlite(file), poolclass=NullPool)
            event.listen(engine, "begin", _begin)
            return engine
        url = self._url()
        name, extra = _DRIVERS[url.get_backend_name()]
        try:
            engine = create_engine(
                url, poolclass=NullPool, connect_args=self._limits(url), hide_parameters=True
            )
        except ModuleNotFoundError as error:
            raise SourceError(
                f"{self._key}.url: the driver for {name} is not installed",
                hint=f"install it with: pip install 'svcctl[{extra}]'",
            ) from error
        except (SQLAlchemyError, TypeError, ValueError) as error:
            raise self._unusable() from error
        if url.get_backend_name() == "mysql":
            event.listen(engine, "connect", self._prepare_mysql)
            event.listen(engine, "begin", _begin_mysql)
        else:
            event.listen(engine, "connect", self._prepare_postgresql)
        return engine

    def _url(self) -> URL:
        try:
            url = make_url(self._source.url.full)
        except (ArgumentError, ValueError) as error:
            raise self._unusable() from error
        if self._source.password is not None:
            try:
                url = url.set(password=self._source.password.reveal())
            except ConfigError as error:
                raise SourceError(error.message, hint=error.hint) from error
        return url

    def _unusable(self) -> SourceError:
        return SourceError(
            f"{self._key}.url: not a URL of a database",
            hint="write it like mysql://user@host:3306/name; @, : and / in names as %40, %3A, %2F",
        )

    def _limits(self, url: URL) -> dict[str, Any]:
        """What the driver is told when it connects, unless the URL says it."""
        wait = max(1, min(10, round(self._seconds)))
        if url.get_backend_name() == "mysql":
            silence = round(self._seconds) + 1
            limits: dict[str, Any] = {
                "connect_timeout": wait,
                "read_timeout": silence,
                "write_timeout": silence,
            }
        else:
            limits = {
                "connect_timeout": max(2, wait),
                "client_encoding": "utf8",
                "keepalives_idle": 30,
                "keepalives_interval": 10,
                "keepalives_count": 3,
                "application_name": "svcctl",
            }
        return {name: value for name, value in limits.items() if name not in url.query}

    def _sqlite(self, file: str) -> Callable[[], sqlite3.Connection]:
        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(
                f"file:{quote(file)}?mode=ro", uri=True, timeout=self._seconds, isolation_level=None
            )
            connection.execute("PRAGMA query_only=ON")
            # Otherwise ATTACH would make the file that it names.
            connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            connection.set_progress_handler(lambda: time.monotonic() > self._deadline, _OPCODES)
            return connection

        return connect

    # All of the session reads only, not just the transaction: a COMMIT in a query changes nothing.

    def _prepare_mysql(self, dbapi: Any, _record: Any) -> None:
        limit = f"max_execution_time = {round(self._seconds * 1000)}"
        if "mariadb" in dbapi.get_server_info().lower():
            limit = f"max_statement_time = {self._seconds}"
        _set(
            dbapi,
            f"SET SESSION {limit}",
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "SET SESSION TRANSACTION READ ONLY",
        )

    def _prepare_postgresql(self, dbapi: Any, _record: Any) -> None:
        _set(
            dbapi,
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            f"SET statement_timeout = {round(self._seconds * 1000)}",
        )

    # What went wrong

    @contextmanager
    def _errors(self, option: str) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._explain(option, error.orig or error) from error
        except sqlite3.Error as error:
            raise self._explain(option, error) from error
        except SQLAlchemyError as error:
            raise self._explain(option, error) from error
        except (OSError, UnicodeError, ValueError, OverflowError) as error:
            # Drivers let these through: a socket that breaks, a text or date that is none.
            raise self._explain(option, error) from error

    def _explain(self, option: str, error: BaseException) -> SourceError:
        code, said = _said(error)
        where = f"{self._key}.{option}"
        if code in _LATE or said == "interrupted" or isinstance(error, TimeoutError):
            return self._late(option)
        if option == "url":
            remedy = "check the URL, the password, and that the server runs and lets this user in"
            if self._source.url.file is not None:
                remedy = "check the path, and that svcctl may read the file and enter its folder"
            return SourceError(f"{where}: cannot connect: {said}", hint=remedy)
        if code in _WRITES or "readonly database" in said:
            return SourceError(
                f"{where}: would change the database: {said}", hint="write one SELECT"
            )
        if code in _LOST or (isinstance(code, str) and code[:2] == "08") or _broken(error):
            return SourceError(
                f"{where}: the connection was lost while reading: {said}",
                hint="nothing of this source was taken over; the next pull tries again",
            )
        return SourceError(
            f"{where}: {said}", hint="try the query in the database's own client, as this user"
        )

    def _late(self, option: str) -> SourceError:
        return SourceError(
            f"{self._key}.{option}: not read within {self._seconds:g} s",
            hint="make the query faster, or set a longer timeout for the source",
        )


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_mysql(connection: Connection) -> None:
    connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")


def _set(dbapi: Any, *statements: str) -> None:
    with dbapi.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    dbapi.commit()


def _said(error: BaseException) -> tuple[str | int | None, str]:
    """The code and the first line of what the driver says: no statement, no values."""
    code: str | int | None = getattr(error, "sqlstate", None)
    said = str(error)
    if len(error.args) == 2 and isinstance(error.args[0], int):  # MySQL's driver
        code, said = error.args[0], str(error.args[1])
    line = next(iter(said.strip().splitlines()), type(error).__name__)
    return code, line[:300]


def _broken(error: BaseException) -> bool:
    """Whether the connection is gone, where the server had no time to say why."""
    return isinstance(error, ConnectionError) or (
        type(error).__name__ == "OperationalError" and (getattr(error, "sqlstate", "") is None)
    )
