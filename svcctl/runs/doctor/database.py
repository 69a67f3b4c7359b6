"""The database: there, of this schema, sound, for its owner only, with room to grow."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from svcctl.config.settings import Settings
from svcctl.errors import ExitCode, SchemaError, SvcctlError
from svcctl.runs.doctor.line import Line, fail, failed, ok, warn
from svcctl.store import integrity
from svcctl.store.database import SCHEMA, Database

_ROOM = 100 * 2**20
_NO_ROOM = 10 * 2**20


@contextmanager
def opened(settings: Settings, found: list[Line]) -> Iterator[Database | None]:
    """The database for reading, None where its rows cannot be; what was found goes into `found`."""
    try:
        database = Database(settings.database_url, read_only=True)
    except SvcctlError as error:
        found.append(failed("database", "", error))
        yield None
        return
    try:
        found.extend(_look(database))
        yield database if _readable(database) else None
    finally:
        database.close()


def _look(database: Database) -> Iterator[Line]:
    try:
        if not database.exists():
            database.require_schema()
        findings = integrity.check(database)
    except SvcctlError as error:
        yield failed("database", database.name, error)
        return
    for finding in findings:
        about = finding.subject if finding.check != "schema" else database.name
        message, _, remedy = finding.problem.partition("; ")
        code = ExitCode.CONFIG if finding.check == "schema" else ExitCode.DATABASE
        yield fail("database", about, message.removeprefix(f"{about}: "), remedy, code=code)
    if not findings:
        yield ok("database", database.name, f"schema {SCHEMA}, nothing wrong was found")
    yield from _room(database)


def _room(database: Database) -> Iterator[Line]:
    """Whether it can be written, and copied before the next upgrade."""
    if database.path is None:
        return
    folder = database.path.resolve().parent
    for place in (database.path, folder):
        if not os.access(place, os.W_OK):
            yield fail(
                "disk",
                str(place),
                "cannot be written by whom you are",
                "run svcctl as the user whose database it is, or change the permissions",
                code=ExitCode.DATABASE,
            )
    free, size = shutil.disk_usage(folder).free, database.path.stat().st_size
    said = f"{free // 2**20:,} MiB are free, the database has {size // 2**20:,}"
    if free < _NO_ROOM:
        yield fail("disk", str(folder), said, "free some space", code=ExitCode.DATABASE)
    elif free < max(_ROOM, 2 * size):
        yield warn("disk", str(folder), said, "an upgrade copies the database: free some space")
    else:
        yield ok("disk", str(folder), said)


def _readable(database: Database) -> bool:
    try:
        database.require_schema()
    except SchemaError:
        return False
    except SvcctlError:
        return False
    return True
