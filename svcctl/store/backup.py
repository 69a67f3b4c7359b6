"""Copies of the database, made while others read and write."""

import os
import shlex
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from svcctl.disk import sync
from svcctl.errors import StoreError, UsageError
from svcctl.store.database import Database, schema_of


@dataclass(frozen=True, slots=True)
class Backup:
    """A finished copy; `size` is in bytes."""

    path: Path
    schema: str
    size: int


def backup(database: Database, path: Path, *, force: bool = False) -> Backup:
    """Copy a SQLite database to one file (0600), complete and checked before it has its name.

    `force` replaces a file that is there. Raises UsageError when the path will not do, and for
    PostgreSQL, with the command that does it; StoreError when the copy fails or is damaged.
    """
    if database.path is None:
        raise UsageError(
            f"{database.name}: a PostgreSQL database is backed up with PostgreSQL's own tool",
            hint=f"run: {_pg_dump(database, path)}",
        )
    _require_fit(database.path, path, force=force)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        part = Path(name)
        try:
            schema = _copy(database, part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        sync(path.parent)
        return Backup(path, schema, path.stat().st_size)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot write the backup: {error.strerror}",
            hint="check the folder's permissions and the free space",
        ) from error


def _require_fit(source: Path, path: Path, *, force: bool) -> None:
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: no such folder", hint="create it first")
    if path.is_dir():
        raise UsageError(f"{path}: is a folder", hint="name a file in it")
    if not path.exists():
        return
    if source.exists() and path.samefile(source):
        raise UsageError(f"{path}: is the database itself", hint="choose another name")
    if path.with_name(path.name + "-wal").exists():
        raise UsageError(f"{path}: is a database in use", hint="choose another name")
    if not force:
        raise UsageError(f"{path}: exists", hint="choose another name, or use --force")


def _copy(database: Database, part: Path) -> str:
    with database.read() as connection:
        schema = schema_of(connection)
        if schema is None:
            raise StoreError(
                f"{database.name}: not a svcctl database",
                hint="`database` in the configuration names another program's database",
            )
        source = connection.connection.dbapi_connection
        if not isinstance(source, sqlite3.Connection):
            raise TypeError(source)
        try:
            with closing(sqlite3.connect(part, isolation_level=None)) as copy:
                source.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")  # one file, readable from any medium
                found = [
                    *(text for (text,) in copy.execute("PRAGMA integrity_check") if text != "ok"),
                    *(f"{row[0]} lacks a {row[2]}" for row in copy.execute(_REFERENCES)),
                ]
        except sqlite3.Error as error:
            raise StoreError(f"{part}: {error}", hint="check the free space") from error
    if found:
        raise StoreError(
            f"{database.name}: the copy is damaged, and so is the original: {found[0]}",
            hint="run: svcctl db check",
        )
    sync(part)
    return schema


_REFERENCES = "PRAGMA foreign_key_check"


def _pg_dump(database: Database, path: Path) -> str:
    return shlex.join(
        ["pg_dump", "--format=custom", f"--file={path}", f"--dbname={database.public_url}"]
    )
