"""Transactions in the database of a service, and the configured statements in them."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, CursorResult, Engine, create_engine, event, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from svcctl.config.source import DatabaseUrl
from svcctl.databases import UnusableUrl, connect_sqlite, open_engine, run_all, silence
from svcctl.errors import Invalid, Transient
from svcctl.hooks.sql.config import Statements
from svcctl.hooks.sql.errors import meaning

_AT_ONCE = 1000
_NONE: Mapping[str, Any] = {}

Row = Mapping[str, Any]
"""The values of a row by column, in lower case."""


class Transactions:
    """Begins them, from as many threads at once as there are connections. seconds: for each wait.

    Raises Invalid for a URL that cannot be used.
    """

    def __init__(
        self,
        url: DatabaseUrl,
        password: str | None,
        statements: Statements,
        *,
        seconds: float,
        connections: int,
    ) -> None:
        self._private = password or ""
        self._engine = _opened(url, password, seconds, connections)
        self._prepared = {
            name: [_Prepared(step.sql, step.rows) for step in statements.steps(name)]
            for name in Statements.model_fields
        }

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def begin(
        self, what: str, values: Mapping[str, Any] = _NONE, *, writes: bool = True
    ) -> Iterator["Transaction"]:
        """Committed at the end; on any error everything is taken back.

        what: for messages. values: of the parameters; password and password_hash are never shown.
        writes: whether to wait for the turn to write, where a database has one writer.
        """
        private = (self._private, *_secrets(values))
        with _explained(what, private):
            connection = self._engine.connect().execution_options(writes=writes)
        try:
            with _explained(what, private):
                yield Transaction(connection, self._prepared, values, private)
                connection.commit()
        except Transient:
            # It may be broken. The server takes everything back when it is gone.
            connection.invalidate()
            raise
        except BaseException:
            with suppress(SQLAlchemyError):
                connection.rollback()
            raise
        finally:
            connection.close()


class Transaction:
    """One of them. Every method raises the ManagerError that an error of the database means."""

    def __init__(
        self,
        connection: Connection,
        prepared: Mapping[str, list["_Prepared"]],
        values: Mapping[str, Any],
        private: tuple[str, ...],
    ) -> None:
        self._connection = connection
        self._prepared = prepared
        self._values = values
        self._private = private

    def rows(self, name: str, /, **values: Any) -> list[Row]:
        """What a query gives."""
        with _explained(name, self._private):
            result = self._prepared[name][0].execute(self._connection, {**self._values, **values})
            if not result.returns_rows:
                raise Invalid(f"statements.{name}: gives no rows", hint="write a query")
            return [_lowered(row) for row in result.mappings()]

    @contextmanager
    def stream(self, name: str) -> Iterator[Iterator[Row]]:
        """The same, as the rows arrive, to be read within the block."""
        with _explained(name, self._private):
            result = self._prepared[name][0].execute(self._connection, _NONE, yield_per=_AT_ONCE)
            with closing(result):
                yield map(_lowered, result.mappings())

    def run(self, name: str, /, **values: Any) -> None:
        """Statements that change something. Raises Invalid for a wrong number of rows."""
        steps, private = self._prepared[name], (*self._private, *_secrets(values))
        for number, step in enumerate(steps):
            where = name if len(steps) == 1 else f"{name}[{number}]"
            with _explained(where, private):
                changed = step.execute(self._connection, {**self._values, **values}).rowcount
            if step.rows is not None and changed != step.rows:
                raise Invalid(
                    f"statements.{where}: changed {changed} rows, not {step.rows}",
                    hint="nothing was kept",
                )


def _secrets(values: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(values.get(name, "")) for name in ("password", "password_hash"))


class _Prepared:
    """A statement, and the parameters that it has."""

    def __init__(self, sql: str, rows: int | None) -> None:
        self.rows = rows
        self._clause = text(sql)
        self._names = tuple(self._clause.compile().params)

    def execute(
        self, connection: Connection, values: Mapping[str, Any], **options: Any
    ) -> CursorResult[Any]:
        given = {name: values.get(name) for name in self._names}
        return connection.execute(self._clause, given, execution_options=options)


def _opened(url: DatabaseUrl, password: str | None, seconds: float, connections: int) -> Engine:
    # The pool would take back by itself what was not committed, and log where it cannot.
    pool: dict[str, Any] = {"pool_size": connections, "pool_reset_on_return": None}
    if url.file is not None:
        opened = connect_sqlite(url.file, writes=True, seconds=seconds)
        engine = create_engine(
            "sqlite://", creator=opened, poolclass=QueuePool, hide_parameters=True, **pool
        )
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        engine = open_engine(url, password, seconds=seconds, pool_pre_ping=True, **pool)
    except UnusableUrl as error:
        raise Invalid(f"database: {error.message}", hint=error.hint) from None
    # What is left of a connection that broke would keep its locks.
    limits = {
        "postgresql": {
            "statement_timeout": round(seconds * 1000),
            "idle_in_transaction_session_timeout": silence(seconds) * 1000,
        },
        "mysql": {
            "innodb_lock_wait_timeout": max(1, round(seconds)),
            "wait_timeout": silence(seconds),
        },
    }.get(engine.dialect.name, {})
    settings = [f"SET SESSION {name} = {value}" for name, value in limits.items()]
    if settings:
        event.listen(engine, "connect", lambda dbapi, _record: run_all(dbapi, *settings))
    return engine


def _begin_sqlite(connection: Connection) -> None:
    # At once as a writer: one that reads first may not become one, where another writes.
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _explained(what: str, private: tuple[str, ...]) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError, ValueError, OverflowError) as error:
        # Drivers let the last three through: a socket that breaks, a text or date that is none.
        problem = meaning(error, f"statements.{what}", private)
    else:
        return
    # Without the cause: what drivers raise may hold values.
    raise problem from None


def _lowered(row: Mapping[Any, Any]) -> Row:
    return {str(name).lower(): value for name, value in row.items()}
