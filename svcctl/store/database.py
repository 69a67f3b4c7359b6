"""Opening the database, transactions, and what its errors mean to a person."""

import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    ExceptionContext,
    Row,
    create_engine,
    event,
    inspect,
    make_url,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from svcctl.errors import ConfigError, ExitCode, SchemaError, StoreError
from svcctl.store.sqlite import (
    SqliteFile,
    keep_last_ids,
    last_ids,
    pragma,
    require_references,
)

__all__ = ["BUSY_SECONDS", "SCHEMA", "Connection", "Database", "Row", "schema_of"]
"""`Connection` and `Row` are what the layers above hand around without knowing SQLAlchemy."""

SCHEMA = "0005"
"""The migration that this code expects; a test keeps it equal to Alembic's head."""

BUSY_SECONDS = 10

_ALONE = "SELECT pg_advisory_xact_lock(hashtext('svcctl migration'))"
_DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', true)"
    " WHERE current_setting('synchronous_commit') = 'off'"
)


class Database:
    """One SQLite file or one PostgreSQL database.

    `read()` gives a connection in one read transaction, `write()` one that commits at the end and
    rolls back on any exception. Errors of the driver come out as StoreError. `busy` is how many
    seconds a lock of another program is waited for. Raises ConfigError for a URL of another kind.
    """

    def __init__(self, url: str, *, read_only: bool = False, busy: float = BUSY_SECONDS) -> None:
        self.url = _parse(url)
        self.read_only = read_only
        self.sqlite = self.url.drivername == "sqlite"
        in_memory = self.url.database in (None, "", ":memory:")
        self.path = Path(self.url.database or "") if self.sqlite and not in_memory else None
        self._busy = busy
        self._engine: Engine | None = None
        self._file = SqliteFile(self.path, read_only=read_only, busy=busy)

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            self._engine = self._file.engine() if self.sqlite else self._server_engine()
            event.listen(self._engine, "handle_error", self._refuse_values)
        return self._engine

    @property
    def name(self) -> str:
        """The file, or the URL without passwords."""
        return str(self.path) if self.path else self.public_url

    @property
    def public_url(self) -> str:
        """The URL as the database's own tools take it, without passwords."""
        query = {key: value for key, value in self.url.query.items() if "password" not in key}
        bare = URL.create(
            self.url.get_backend_name(),
            self.url.username,
            host=self.url.host,
            port=self.url.port,
            database=self.url.database,
            query=query,
        )
        return bare.render_as_string()

    def exists(self) -> bool:
        """Whether the SQLite file is there; a server's database is taken to be."""
        return self.path is None or self.path.exists()

    def create_file(self) -> None:
        """An empty SQLite file, readable by its owner only (0600), new folders 0700."""
        if self.path is None or self.path.exists():
            return
        try:
            for folder in reversed([self.path.parent, *self.path.parent.parents]):
                if not folder.exists():
                    folder.mkdir(mode=0o700, exist_ok=True)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise StoreError(
                f"{self.path}: cannot create the database: {error.strerror}",
                hint="check the folder's permissions and the free space",
            ) from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection whose reads all see the same moment."""
        with self._errors(), self.engine.connect() as connection:
            if not self.sqlite:
                connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            yield connection
            self._file.require_unchanged()

    @contextmanager
    def write(self, *, durable: bool = False, keep: bool = True) -> Iterator[Connection]:
        """A transaction. `durable`: on disk when it returns, even through a power loss.

        `keep` false rolls back at the end instead: the dry run of a directory change.
        """
        with self._errors(), self.engine.connect() as connection:
            connection.execution_options(svcctl_immediate=True)
            if self.sqlite:
                pragma(connection, f"synchronous={'FULL' if durable else 'NORMAL'}")
            elif self.read_only:
                connection.execution_options(postgresql_readonly=True)
            with connection.begin() as transaction:
                if durable and not self.sqlite:
                    connection.exec_driver_sql(_DURABLE)
                yield connection
                if not keep:
                    transaction.rollback()

    @contextmanager
    def writer(self) -> Iterator[Callable[[], AbstractContextManager[Connection]]]:
        """Many small transactions, one after the other, on one connection."""
        with self._errors(), self.engine.connect() as connection:
            connection.execution_options(svcctl_immediate=True)
            if self.sqlite:
                pragma(connection, "synchronous=NORMAL")

            @contextmanager
            def transaction() -> Iterator[Connection]:
                with connection.begin():
                    yield connection

            yield transaction

    @contextmanager
    def rebuild(self) -> Iterator[Connection]:
        """A durable transaction for migrations: one at a time, references checked at its end only.

        SQLite changes a table by building it anew; dropping the old one must not cascade.
        """
        with self._errors(), self.engine.connect() as connection:
            if not self.sqlite:
                with connection.begin():
                    connection.exec_driver_sql(_ALONE)
                    yield connection
                return
            connection.execution_options(svcctl_immediate=True)
            pragma(connection, "synchronous=FULL")
            pragma(connection, "foreign_keys=OFF")
            try:
                with connection.begin():
                    ids = last_ids(connection)
                    yield connection
                    keep_last_ids(connection, ids)
                    require_references(connection, self.name)
            finally:
                pragma(connection, "foreign_keys=ON")

    @contextmanager
    def session(self, name: str) -> Iterator[Callable[..., list[Any]]]:
        """A connection of its own outside of transactions, known to the server by `name`.

        Gives a function from SQL and its parameters to rows. The connection closes at the end, and
        with it end the advisory locks that were taken on it.
        """
        with self._errors(), self.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()

            def ask(sql: str, *parameters: Any) -> list[Any]:
                with self._errors():
                    rows = connection.exec_driver_sql(sql, parameters or None)
                    return list(rows) if rows.returns_rows else []

            if not self.sqlite:
                ask("SELECT set_config('application_name', %s, false)", name)
            yield ask

    def require_schema(self) -> None:
        """Raise unless the database is there and of exactly this code's schema."""
        if not self.exists():
            raise StoreError(
                f"{self.path}: no database yet", hint="create it with: svcctl db upgrade"
            )
        found = self.schema()
        if found is None:
            raise StoreError(
                f"{self.name}: not a svcctl database", hint="create it with: svcctl db upgrade"
            )
        if found != SCHEMA:
            self.refuse_newer(found)
            raise SchemaError(
                f"{self.name}: schema {found} is older than this svcctl ({SCHEMA})",
                hint="run: svcctl db upgrade",
            )

    def refuse_newer(self, found: str, known: str = SCHEMA) -> None:
        """Raise when the schema found is not one of svcctl's up to the known one."""
        if not re.fullmatch(r"\d{4}", found):
            raise StoreError(
                f"{self.name}: schema {found} is not one of svcctl's",
                hint="`database` in the configuration names another program's database",
            )
        if found > known:
            raise SchemaError(
                f"{self.name}: schema {found} is newer than this svcctl ({known})",
                hint="upgrade svcctl, or restore the backup made before the database was upgraded",
            )

    def schema(self) -> str | None:
        """The migration that the database is at, None when it has none."""
        with self.read() as connection:
            return schema_of(connection)

    def close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _server_engine(self) -> Engine:
        limits: dict[str, Any] = {}
        if "connect_timeout" not in self.url.query:
            limits["connect_timeout"] = max(2, round(self._busy))
        try:
            engine = create_engine(self.url, pool_pre_ping=True, connect_args=limits)
        except ModuleNotFoundError as error:
            raise StoreError(
                f"{self.name}: the driver for PostgreSQL is not installed",
                hint="install it with: pip install 'svcctl[postgres]'",
            ) from error
        wait = f"SET lock_timeout = {max(1, round(self._busy * 1000))}"

        @event.listens_for(engine, "connect")
        def prepare(dbapi: Any, _record: Any) -> None:
            dbapi.autocommit = True
            dbapi.execute(wait)
            dbapi.autocommit = False

        return engine

    def _refuse_values(self, context: ExceptionContext) -> None:
        """Values that the driver cannot send."""
        if isinstance(context.original_exception, (UnicodeEncodeError, OverflowError)):
            raise StoreError(
                f"{self.name}: a value cannot be stored: {context.original_exception}",
                hint="look for a broken character or an enormous number in what was given",
            ) from context.original_exception

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._explain(error.orig or error) from error
        except sqlite3.Error as error:
            raise self._explain(error) from error
        except SQLAlchemyError as error:
            raise StoreError(f"{self.name}: {error}") from error

    def _explain(self, error: BaseException) -> StoreError:
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        state: str | None = getattr(error, "sqlstate", None)
        if "is locked" in said or state in ("55P03", "40P01", "40001"):
            locked = StoreError(
                f"{self.name}: the database is locked by another program",
                hint=f"waited {self._busy:g} s; try again when it has finished",
            )
            locked.exit_code = ExitCode.TRY_LATER
            return locked
        if state == "23505":  # what is there already is looked for before; this came meanwhile
            faster = StoreError(
                f"{self.name}: another program has just written the same: {said}", hint="try again"
            )
            faster.exit_code = ExitCode.TRY_LATER
            return faster
        hint = next((hint for sign, hint in _HINTS.items() if sign in said or sign == state), None)
        if hint is None and not self.sqlite and (state is None or state.startswith(("08", "57P"))):
            hint = "check that the server runs and that `database` in the configuration is right"
        return StoreError(f"{self.name}: {said}", hint=hint)


def schema_of(connection: Connection) -> str | None:
    """The migration that the database is at, None when it has none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


_HINTS = {
    "readonly": "the file, its folder or the disk is read-only; svcctl must write there",
    "unable to open": "check the path and its permissions, or run: svcctl db upgrade",
    "disk is full": "free some space; everything recorded so far is safe",
    "53100": "free some space on the server; everything recorded so far is safe",
    "disk I/O": "the disk has failed or is full; look at the system log",
    "malformed": "the file is damaged; restore a backup (svcctl db backup makes them)",
    "not a database": "the path in `database` names another file, or it is damaged",
    "25006": "the server is a read-only standby, or the role may only read",
    "42501": "the role lacks a permission: it must own svcctl's tables",
}


def _parse(url: str) -> URL:
    if url.startswith("sqlite:///"):  # the rest is a path, whatever characters it has
        return URL.create("sqlite", database=url.removeprefix("sqlite:///"))
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError("database: not a URL", hint=_URLS) from error
    drivers = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}
    driver = drivers.get(parsed.get_backend_name())
    if driver is None:
        raise ConfigError(f"database: {parsed.get_backend_name()} is not supported", hint=_URLS)
    return parsed.set(drivername=driver)


_URLS = "write a path, or postgresql://USER@HOST/NAME"
