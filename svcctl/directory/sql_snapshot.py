"""A database that is not ours, as it is at one moment: nothing of it can be changed from here."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, CursorResult, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from svcctl.config.source import SqlSource
from svcctl.databases import LATE, UnusableUrl, connect_sqlite, is_lost, open_engine, run_all, said
from svcctl.errors import ConfigError, SourceError

_AT_ONCE = 1000
_OPCODES = 10_000
_WRITES = frozenset({"25006", 1792})


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
        try:
            engine = open_engine(
                self._source.url, self._password(), seconds=self._seconds, poolclass=NullPool
            )
        except UnusableUrl as error:
            raise SourceError(f"{self._key}.url: {error.message}", hint=error.hint) from error
        if engine.dialect.name == "mysql":
            event.listen(engine, "connect", self._prepare_mysql)
            event.listen(engine, "begin", _begin_mysql)
        else:
            event.listen(engine, "connect", self._prepare_postgresql)
        return engine

    def _password(self) -> str | None:
        if self._source.password is None:
            return None
        try:
            return self._source.password.reveal()
        except ConfigError as error:
            raise SourceError(error.message, hint=error.hint) from error

    def _sqlite(self, file: str) -> Callable[[], sqlite3.Connection]:
        opened = connect_sqlite(file, writes=False, seconds=self._seconds)

        def connect() -> sqlite3.Connection:
            connection = opened()
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
        run_all(
            dbapi,
            f"SET SESSION {limit}",
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "SET SESSION TRANSACTION READ ONLY",
        )

    def _prepare_postgresql(self, dbapi: Any, _record: Any) -> None:
        run_all(
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
        code, text = said(error)
        where = f"{self._key}.{option}"
        if code in LATE or text == "interrupted" or isinstance(error, TimeoutError):
            return self._late(option)
        if option == "url":
            remedy = "check the URL, the password, and that the server runs and lets this user in"
            if self._source.url.file is not None:
                remedy = "check the path, and that svcctl may read the file and enter its folder"
            return SourceError(f"{where}: cannot connect: {text}", hint=remedy)
        if code in _WRITES or "readonly database" in text:
            return SourceError(
                f"{where}: would change the database: {text}", hint="write one SELECT"
            )
        if is_lost(error, code):
            return SourceError(
                f"{where}: the connection was lost while reading: {text}",
                hint="nothing of this source was taken over; the next pull tries again",
            )
        return SourceError(
            f"{where}: {text}", hint="try the query in the database's own client, as this user"
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
