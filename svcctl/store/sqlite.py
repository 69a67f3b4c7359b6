"""How SQLite files are opened: the write-ahead log, the pragmas, and reading without a trace."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool, StaticPool

from svcctl.errors import ExitCode, StoreError


class SqliteFile:
    """One file, or None for a database in memory; `busy` is in seconds."""

    def __init__(self, path: Path | None, *, read_only: bool, busy: float) -> None:
        self.path = path
        self.read_only = read_only
        self.busy = busy
        self._as_it_lay: tuple[int, ...] | None = None

    def engine(self) -> Engine:
        """A pool of connections. Transactions begin IMMEDIATE with option `svcctl_immediate`."""
        pool = StaticPool if self.path is None else QueuePool
        engine = create_engine("sqlite://", creator=self._connect, poolclass=pool)

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            immediate = connection.get_execution_options().get("svcctl_immediate")
            connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

        return engine

    def _connect(self) -> sqlite3.Connection:
        name = ":memory:"
        if self.path is not None:
            name = f"file:{quote(self.path.absolute().as_posix())}?{self._mode(self.path)}"
        dbapi = sqlite3.connect(
            name, uri=True, timeout=self.busy, check_same_thread=False, isolation_level=None
        )
        try:
            dbapi.execute("PRAGMA foreign_keys=ON")
            dbapi.execute("PRAGMA cache_size=-16000")
            dbapi.execute("PRAGMA temp_store=MEMORY")
            if self.read_only:
                dbapi.execute("PRAGMA query_only=ON")
                # Reads the file: one that is no database fails here, where it is closed again.
                dbapi.execute("PRAGMA schema_version")
            elif self.path is not None:
                _require_log(dbapi, self.path)
        except BaseException:
            dbapi.close()
            raise
        return dbapi

    def require_unchanged(self) -> None:
        """Raise when the file was read as it lay, without locks, and somebody has written since."""
        if self.path is None or self._as_it_lay in (None, _fingerprint(self.path)):
            return
        changed = StoreError(f"{self.path}: changed while it was read", hint="try again")
        changed.exit_code = ExitCode.TRY_LATER
        raise changed

    def _mode(self, path: Path) -> str:
        """How to open it. Reading leaves the file, and its folder, byte for byte as they were.

        With a log beside it (a writer at work, or one that crashed) `ro` leaves both alone. Without
        one, `ro` would leave two sidecars behind; `rw` removes them, and `query_only` holds writes
        off. Where the folder takes no sidecars, the file is read as it lies, and watched.
        """
        if not self.read_only:
            return "mode=rw"
        if _log(path).exists():
            return "mode=ro"
        if os.access(path.parent, os.W_OK):
            return "mode=rw"
        self._as_it_lay = _fingerprint(path)
        return "mode=ro&immutable=1"


def _log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _fingerprint(path: Path) -> tuple[int, ...]:
    """Differs after every commit; a log is a writer at work."""
    try:
        file = path.stat()
    except FileNotFoundError:
        return ()
    return file.st_ino, file.st_size, file.st_mtime_ns, _log(path).exists()


def _require_log(dbapi: sqlite3.Connection, path: Path) -> None:
    (mode,) = dbapi.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise StoreError(
            f"{path}: this disk keeps no write-ahead log (journal mode {mode})",
            hint="put the database on a local disk",
        )
    dbapi.execute("PRAGMA synchronous=NORMAL")


def pragma(connection: Connection, setting: str) -> None:
    """Set it outside of a transaction, where alone SQLite heeds it; once as long as it lasts."""
    name, _, value = setting.partition("=")
    if connection.info.get(name) == value:
        return
    with closing(connection.connection.cursor()) as cursor:
        cursor.execute(f"PRAGMA {setting}")
    connection.info[name] = value


def last_ids(connection: Connection) -> list[tuple[str, int]]:
    """The highest id that each table ever gave, for tables that never give one again."""
    found = "SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'"
    if connection.exec_driver_sql(found).first() is None:
        return []
    rows = connection.exec_driver_sql("SELECT name, seq FROM sqlite_sequence")
    return [(table, last) for table, last in rows]


def keep_last_ids(connection: Connection, ids: list[tuple[str, int]]) -> None:
    """Put them back: SQLite forgets them with the table that a migration builds anew."""
    for table, last in ids:
        connection.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
        connection.exec_driver_sql("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, last))


def require_references(connection: Connection, name: str) -> None:
    """Raise when a row refers to one that is not there."""
    lost = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if lost is not None:
        raise StoreError(
            f"{name}: rows of {lost[0]} refer to rows of {lost[2]} that are not there",
            hint="nothing was changed; run: svcctl db check",
        )
