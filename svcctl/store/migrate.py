"""Migrations: explicit, forward only, with a backup first. Alembic is imported here only."""

import os
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect

from svcctl.clock import stamp
from svcctl.errors import StoreError
from svcctl.store.backup import backup
from svcctl.store.database import Database, schema_of

if TYPE_CHECKING:
    from alembic.config import Config

SCRIPTS = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True)
class Migration:
    """One step forward."""

    revision: str
    title: str


@dataclass(frozen=True, slots=True)
class Upgraded:
    """From which schema to which; `before` is None for a new database, `backup` if none was due."""

    before: str | None
    after: str
    backup: Path | None = None


def pending(database: Database, *, scripts: Path = SCRIPTS) -> tuple[Migration, ...]:
    """The migrations that an upgrade would apply, in order. Raises like `upgrade`."""
    if not database.exists():
        return _steps(_config(scripts), None)
    with database.read() as connection:
        return _pending(database, connection, _config(scripts))


def upgrade(database: Database, *, scripts: Path = SCRIPTS) -> Upgraded:
    """Bring the database to the newest schema, in one transaction.

    A missing SQLite file is created (0600); one of an older schema is first copied to
    `<file>.<schema>.<stamp>.bak` (0600), at a moment when nobody else can write. Raises SchemaError
    for a newer schema, StoreError for another program's database and when a migration fails; then
    nothing is changed.
    """
    from alembic import command

    if database.exists() and not pending(database, scripts=scripts):
        return _nothing_to_do(database.schema())
    database.create_file()
    config = _config(scripts)
    with database.rebuild() as connection:
        before = schema_of(connection)
        steps = _pending(database, connection, config)
        if not steps:  # another upgrade was faster
            return _nothing_to_do(before)
        saved = _save(database, before) if before is not None else None
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return Upgraded(before, steps[-1].revision, saved)


def _nothing_to_do(schema: str | None) -> Upgraded:
    return Upgraded(schema, str(schema))


def _pending(database: Database, connection: Connection, config: "Config") -> tuple[Migration, ...]:
    before = schema_of(connection)
    if before is not None:
        database.refuse_newer(before, _steps(config, None)[-1].revision)
    elif others := sorted(inspect(connection).get_table_names()):
        raise StoreError(
            f"{database.name}: holds tables of another program ({', '.join(others[:3])})",
            hint="name a new or empty database in `database`",
        )
    return _steps(config, before)


def _config(scripts: Path) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    return config


def _steps(config: "Config", before: str | None) -> tuple[Migration, ...]:
    from alembic.script import ScriptDirectory

    found = ScriptDirectory.from_config(config).iterate_revisions("head", before or "base")
    return tuple(Migration(step.revision, step.doc) for step in found)[::-1]


def _save(database: Database, before: str) -> Path | None:
    if database.path is None:
        return None
    moment = stamp().replace("-", "").replace(":", "")
    names = (f"{moment}-{number}" if number > 1 else moment for number in count(1))
    paths = (database.path.with_name(f"{database.path.name}.{before}.{name}.bak") for name in names)
    # An upgrade that was killed after its backup may have run within the same second.
    path = next(path for path in paths if not os.path.lexists(path))
    reader = Database(f"sqlite:///{database.path}", read_only=True)
    try:
        return backup(reader, path).path
    finally:
        reader.close()
