import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlmodel import Field, SQLModel

from svcctl import clock
from svcctl.errors import ExitCode, SchemaError, StoreError, UsageError
from svcctl.store.backup import backup
from svcctl.store.chain.verify import verify
from svcctl.store.database import SCHEMA, Database
from svcctl.store.integrity import Finding, check
from svcctl.store.migrate import SCRIPTS, Migration, Upgraded, pending, upgrade
from svcctl.store.tables import metadata

NEXT = f"{int(SCHEMA) + 1:04}"

Reopen = Callable[..., Database]
Scripts = Callable[[str], Path]

PEOPLE = """
INSERT INTO users (id, username, enabled, active, superuser, missing_pulls, created_at, updated_at)
    VALUES (1, 'ada', true, true, false, 0, '', ''), (2, 'bob', true, true, false, 0, '', '');
INSERT INTO groups (id, name) VALUES (1, 'staff');
INSERT INTO memberships (user_id, group_id, present) VALUES (1, 1, true), (2, 1, true);
INSERT INTO runs (id, command, actor, host, pid, started_at) VALUES (1, 'sync', 'root', 'h', 1, '');
INSERT INTO accounts (id, user_id, service, status, uid, name, name_key, created_at, updated_at)
    VALUES (1, 1, 'forum', 'active', '17', 'Ada', 'ada', '', ''),
    (2, 2, 'forum', 'absent', NULL, '', '', '', '');
INSERT INTO operations (id, run_id, service, user_id, account_id, seq, verb, reason, actor, removal,
    notify, looked, status, attempts)
    VALUES (1, 1, 'forum', 1, 1, 1, 'create_account', '', '', false, false, false, 'done', 1),
    (2, 1, 'forum', 2, 2, 2, 'create_account', '', '', false, false, false, 'running', 1);
"""

REBUILD = """
    sqlite = op.get_bind().dialect.name == "sqlite"
    with op.batch_alter_table(
        "users",
        recreate="always" if sqlite else "never",
        table_kwargs={"sqlite_autoincrement": True},
    ) as users:
        users.add_column(sa.Column("mail", sa.Text(), nullable=False, server_default=""))
"""
FAIL = """
    op.add_column("users", sa.Column("mail", sa.Text()))
    op.execute("UPDATE users SET nothing = 1")
"""
LOSE = """
    op.execute("DELETE FROM users WHERE username = 'ada'")
"""


def run(database: Database, *statements: str) -> None:
    with database.write() as connection:
        for statement in statements:
            connection.execute(text(statement))


def people(database: Database) -> None:
    run(database, *filter(str.strip, PEOPLE.split(";")))
    if not database.sqlite:
        for table in ("users", "groups", "accounts", "operations", "runs"):
            run(database, f"SELECT setval('{table}_id_seq', (SELECT max(id) FROM {table}))")


def rows(database: Database, statement: str) -> list[tuple[Any, ...]]:
    with database.read() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def counts(database: Database) -> dict[str, int]:
    return {
        table: rows(database, f"SELECT count(*) FROM {table}")[0][0] for table in metadata.tables
    }


def mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    """svcctl's migrations and a later one, whose `upgrade` is given."""

    def build(body: str) -> Path:
        folder = tmp_path / "migrations"
        shutil.copytree(SCRIPTS, folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "versions" / f"{NEXT}_next.py").write_text(
            '"""the next schema"""\n'
            "import sqlalchemy as sa\n"
            "from alembic import op\n"
            f'revision, down_revision = "{NEXT}", "{SCHEMA}"\n'
            f"def upgrade():{body}"
        )
        return folder

    return build


def description(database: Database) -> set[tuple[Any, ...]]:
    """Everything that the database itself knows about the schema."""
    if database.sqlite:
        found = rows(
            database, "SELECT name, sql FROM sqlite_master WHERE name != 'alembic_version'"
        )
        # A column that a migration added stands behind the constraints.
        return {(name, *sorted((sql or "").replace(",", " ").split())) for name, sql in found}
    return {
        *rows(
            database,
            "SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default"
            " FROM information_schema.columns WHERE table_schema = 'public'",
        ),
        *rows(database, "SELECT indexdef, '' FROM pg_indexes WHERE schemaname = 'public'"),
        *rows(
            database,
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace",
        ),
    }


# Upgrades


def test_the_code_expects_the_last_migration(blank: Database) -> None:
    steps = pending(blank)
    assert steps[-1].revision == SCHEMA
    assert [step.revision for step in steps] == sorted(step.revision for step in steps)


def test_migrations_make_what_the_tables_say(database: Database) -> None:
    with database.read() as connection:
        # On SQLite Alembic takes '' for another default than ''.
        options = {"compare_type": True, "compare_server_default": not database.sqlite}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_migrations_make_exactly_what_the_tables_would_make(
    database: Database, request: pytest.FixtureRequest
) -> None:
    # Alembic's comparison knows nothing of CHECK, partial indexes and collations.
    migrated = description(database)
    with database.write() as connection:
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
    assert not any("users" in str(item) for item in description(database))
    for index in (index for table in metadata.tables.values() for index in table.indexes):
        condition = index.dialect_options["sqlite"]["where"]
        index.dialect_options["postgresql"]["where"] = condition
    with database.write() as connection:
        metadata.create_all(connection)
    differences = {item for item in migrated ^ description(database) if "alembic" not in str(item)}
    assert differences == set()


def test_an_upgrade_makes_a_database_and_a_second_one_nothing(blank: Database) -> None:
    assert upgrade(blank) == Upgraded(None, SCHEMA, None)
    blank.require_schema()
    assert check(blank) == []
    assert upgrade(blank) == Upgraded(SCHEMA, SCHEMA, None)
    assert pending(blank) == ()
    if blank.path:
        assert mode(blank.path) == "0o600"
        assert mode(blank.path.parent) == "0o700"
        blank.close()
        assert [file.name for file in blank.path.parent.iterdir()] == ["svcctl.db"]


def test_what_is_pending_is_told_without_a_trace(blank: Database) -> None:
    steps = pending(blank)
    assert steps[0] == Migration("0001", "the first schema")
    assert steps[-1].revision == SCHEMA
    if blank.path:
        assert not blank.path.parent.exists()
    else:
        assert blank.schema() is None


def test_an_upgrade_keeps_every_row_and_backs_up_first(
    database: Database, scripts: Scripts
) -> None:
    people(database)
    before = counts(database)
    result = upgrade(database, scripts=scripts(REBUILD))
    assert (result.before, result.after) == (SCHEMA, NEXT)
    assert counts(database) == before
    assert rows(database, "SELECT username, mail FROM users ORDER BY id") == [
        ("ada", ""),
        ("bob", ""),
    ]
    if database.sqlite:
        assert rows(database, "PRAGMA foreign_keys") == [(1,)]
        assert rows(database, "PRAGMA foreign_key_check") == []
    if not database.path:
        assert result.backup is None
        return
    assert result.backup
    assert result.backup.name.startswith(f"svcctl.db.{SCHEMA}.2")
    assert result.backup.suffix == ".bak"
    assert mode(result.backup) == "0o600"
    copy = Database(f"sqlite:///{result.backup}", read_only=True)
    assert copy.schema() == SCHEMA
    assert counts(copy) == before
    copy.close()


def test_an_upgrade_that_died_after_its_backup_can_be_repeated_at_once(
    sqlite: Database, scripts: Scripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "now", lambda: datetime(2026, 1, 1, tzinfo=UTC))
    people(sqlite)
    assert sqlite.path
    killed = backup(sqlite, sqlite.path.with_name(f"svcctl.db.{SCHEMA}.20260101T000000Z.bak"))
    before = killed.path.read_bytes()
    result = upgrade(sqlite, scripts=scripts(REBUILD))
    assert result.backup
    assert result.backup.name == f"svcctl.db.{SCHEMA}.20260101T000000Z-2.bak"
    assert killed.path.read_bytes() == before


def test_ids_are_still_never_given_again_after_a_table_was_rebuilt(
    database: Database, scripts: Scripts
) -> None:
    people(database)
    run(database, "DELETE FROM memberships", "DELETE FROM operations", "DELETE FROM accounts")
    run(database, "DELETE FROM users WHERE id = 2")
    upgrade(database, scripts=scripts(REBUILD))
    run(
        database,
        "INSERT INTO users (username, enabled, active, superuser, missing_pulls, created_at,"
        " updated_at) VALUES ('eve', true, true, false, 0, '', '')",
    )
    assert rows(database, "SELECT id FROM users WHERE username = 'eve'") == [(3,)]


def test_a_migration_that_fails_changes_nothing(database: Database, scripts: Scripts) -> None:
    people(database)
    before, described = counts(database), description(database)
    with pytest.raises(StoreError, match="nothing") as caught:
        upgrade(database, scripts=scripts(FAIL))
    assert caught.value.exit_code == ExitCode.DATABASE
    assert database.schema() == SCHEMA
    assert (counts(database), description(database)) == (before, described)


def test_a_migration_must_not_leave_references_to_nothing(
    database: Database, scripts: Scripts
) -> None:
    people(database)
    before = counts(database)
    with pytest.raises(StoreError, match=r"refer to rows of users|violates foreign key"):
        upgrade(database, scripts=scripts(LOSE))
    assert counts(database) == before


def test_what_an_older_database_recorded_is_in_the_chain_from_then_on(
    blank: Database, tmp_path: Path
) -> None:
    older = tmp_path / "older"
    shutil.copytree(SCRIPTS, older, ignore=shutil.ignore_patterns("__pycache__", "000[3-9]*"))
    upgrade(blank, scripts=older)
    people(blank)
    upgrade(blank)
    with blank.read() as connection:
        verdict = verify(connection)
    assert (verdict.findings, list(verdict.counts.values())) == ([], [1, 0])
    assert '"older":{"operations":1,"runs":0}' in rows(blank, "SELECT content FROM audit")[0][0]
    assert len({salt for (salt,) in rows(blank, "SELECT salt FROM operations")}) == 2
    run(blank, "UPDATE operations SET reason = 'none' WHERE id = 1")
    with blank.read() as connection:
        (found,) = verify(connection).findings
    assert found.subject == "operation 1"


def test_a_newer_database_is_never_touched(database: Database) -> None:
    run(database, "UPDATE alembic_version SET version_num = '9999'")
    for attempt in (pending, upgrade, check):
        with pytest.raises(SchemaError, match="schema 9999 is newer") as caught:
            attempt(database)
        assert caught.value.exit_code == ExitCode.CONFIG


def test_another_programs_tables_are_never_touched(blank: Database) -> None:
    blank.create_file()
    run(blank, "CREATE TABLE bookmarks (url TEXT)")
    with pytest.raises(StoreError, match=r"tables of another program \(bookmarks\)"):
        upgrade(blank)
    assert blank.schema() is None


def test_upgrades_at_the_same_time_do_it_once(blank: Database) -> None:
    program = (
        "import sys\n"
        "from svcctl.store.database import Database\n"
        "from svcctl.store.migrate import upgrade\n"
        "database = Database(sys.argv[1])\n"
        "print(upgrade(database).before)\n"
        "database.close()"
    )
    url = f"sqlite:///{blank.path}" if blank.path else blank.public_url
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program, url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    said = [process.communicate() for process in processes]
    assert sorted(said) == [(f"{SCHEMA}\n", "")] * 2 + [("None\n", "")]
    assert check(blank) == []


# Backups


def test_a_backup_is_complete_while_others_write(
    sqlite: Database, reopen: Reopen, tmp_path: Path
) -> None:
    people(sqlite)
    copy = tmp_path / "copy.bak"
    with sqlite.write() as connection:
        connection.execute(text("DELETE FROM operations"))
        made = backup(reopen(sqlite, read_only=True), copy)
    assert (made.path, made.schema, made.size) == (copy, SCHEMA, copy.stat().st_size)
    assert mode(copy) == "0o600"
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["copy.bak"]
    restored = Database(f"sqlite:///{copy}")
    restored.require_schema()
    assert counts(restored)["operations"] == 2
    assert check(restored) == []
    restored.close()


def test_a_backup_does_not_replace_a_file_unless_told_so(sqlite: Database, tmp_path: Path) -> None:
    copy = tmp_path / "copy.bak"
    copy.write_text("precious")
    with pytest.raises(UsageError, match=r"copy.bak: exists") as caught:
        backup(sqlite, copy)
    assert caught.value.hint == "choose another name, or use --force"
    assert copy.read_text() == "precious"
    backup(sqlite, copy, force=True)
    assert mode(copy) == "0o600"
    assert copy.read_bytes().startswith(b"SQLite format 3")


def test_a_backup_never_replaces_a_database_at_work(sqlite: Database, tmp_path: Path) -> None:
    assert sqlite.path
    with pytest.raises(UsageError, match="is the database itself"):
        backup(sqlite, sqlite.path, force=True)
    other = Database(f"sqlite:///{tmp_path}/other.db")
    upgrade(other)
    with other.read(), pytest.raises(UsageError, match="is a database in use"):
        backup(sqlite, tmp_path / "other.db", force=True)
    other.close()
    with pytest.raises(UsageError, match="no such folder"):
        backup(sqlite, tmp_path / "none" / "copy.bak")
    with pytest.raises(UsageError, match="is a folder"):
        backup(sqlite, tmp_path)


def test_a_damaged_database_gives_no_backup(sqlite: Database, tmp_path: Path) -> None:
    assert sqlite.path
    with closing(sqlite3.connect(sqlite.path)) as connection, connection:
        connection.execute("INSERT INTO memberships VALUES (7, 7, '', true)")
    with pytest.raises(StoreError, match="the copy is damaged, and so is the original"):
        backup(sqlite, tmp_path / "copy.bak")
    assert [file for file in tmp_path.iterdir() if file.is_file()] == []


@pytest.mark.postgres
@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_for_a_server_the_command_that_makes_a_backup_is_said(
    database: Database, tmp_path: Path
) -> None:
    url = database.url.update_query_dict({"sslpassword": "geheim"}).set(password="geheim")
    secret = Database(url.render_as_string(hide_password=False))
    with pytest.raises(UsageError, match="backed up with PostgreSQL's own tool") as caught:
        backup(secret, tmp_path / "my copy")
    hint = caught.value.hint or ""
    assert "geheim" not in f"{caught.value}{hint}"
    assert hint.startswith("run: pg_dump --format=custom '--file=")
    binaries = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/usr/bin"))
    command = hint.removeprefix("run: pg_dump")
    subprocess.run(f"{binaries}/pg_dump{command}", shell=True, check=True)
    assert (tmp_path / "my copy").read_bytes().startswith(b"PGDMP")


# Checks


def test_a_sound_database_has_no_findings(database: Database) -> None:
    people(database)
    assert check(database) == []


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        (
            "UPDATE accounts SET uid = NULL WHERE id = 1",
            Finding("accounts", "accounts 1", "exists but has no uid"),
        ),
        (
            "UPDATE accounts SET uid = '' WHERE id = 1",
            Finding("accounts", "accounts 1", "exists but has no uid"),
        ),
        (
            "UPDATE accounts SET uid = '18' WHERE id = 2",
            Finding("accounts", "accounts 2", "is absent but has a uid"),
        ),
        (
            "UPDATE accounts SET name_key = ''",
            Finding("accounts", "accounts 1", "exists but has no name key"),
        ),
        (
            "UPDATE runs SET ended_at = '2026-11-22T20:40:22Z'",
            Finding("operations", "operations 2", "is running though its run has ended"),
        ),
        (
            "UPDATE operations SET verb = 'explode' WHERE id = 1",
            Finding("operations", "operations 1", "verb is not one of svcctl's"),
        ),
        (
            "UPDATE operations SET user_id = 2 WHERE id = 1",
            Finding("operations", "operations 1", "user and service are not its account's"),
        ),
        (
            "UPDATE accounts SET groups = '{}' WHERE id = 1",
            Finding("json", "accounts 1", "groups is not readable"),
        ),
        (
            "UPDATE users SET attributes = '{\"mail' WHERE id = 1",
            Finding("json", "users 1", "attributes is not readable"),
        ),
    ],
)
def test_rows_that_make_no_sense_are_found(
    database: Database, statement: str, finding: Finding
) -> None:
    people(database)
    with database.write() as connection:
        connection.exec_driver_sql(statement)
    assert check(database) == [finding]


def test_statuses_that_no_version_knows_are_found(database: Database) -> None:
    people(database)
    lose = [
        "UPDATE operations SET status = 'lost' WHERE id = 1",
        "UPDATE accounts SET status = 'lost' WHERE id = 1",
    ]
    if database.sqlite:
        with database.write() as connection:
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
            for statement in lose:
                connection.exec_driver_sql(statement)
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")
        expected = {
            Finding("integrity", "file", "CHECK constraint failed in operations"),
            Finding("integrity", "file", "CHECK constraint failed in accounts"),
        }
    else:
        run(
            database,
            "ALTER TABLE operations DROP CONSTRAINT operations_status",
            "ALTER TABLE accounts DROP CONSTRAINT accounts_status",
            *lose,
        )
        expected = {
            Finding("operations", "operations 1", "status is not one of svcctl's"),
            Finding("accounts", "accounts 1", "status is not one of svcctl's"),
        }
    assert set(check(database)) == expected


def test_two_open_operations_of_one_verb_are_found(database: Database) -> None:
    people(database)
    run(
        database,
        "DROP INDEX operations_open",
        "INSERT INTO operations (run_id, service, user_id, account_id, seq, verb, reason, actor,"
        " removal, notify, looked, status, attempts) VALUES (1, 'forum', 2, 2, 3,"
        " 'create_account', '', '', false, false, false, 'held', 0)",
    )
    assert check(database) == [
        Finding("accounts", "accounts 2", "has two open operations of one verb")
    ]


def test_rows_that_refer_to_nothing_are_found(sqlite: Database) -> None:
    assert sqlite.path
    people(sqlite)
    sqlite.close()
    with closing(sqlite3.connect(sqlite.path)) as connection, connection:
        connection.execute("INSERT INTO memberships VALUES (7, 1, '', true)")
    assert check(sqlite) == [
        Finding("references", "memberships 3", "refers to users that are not there")
    ]


def test_a_damaged_file_is_found(sqlite: Database) -> None:
    assert sqlite.path
    people(sqlite)
    sqlite.close()
    with closing(sqlite3.connect(sqlite.path)) as connection:
        page, size = connection.execute(
            "SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_master"
            " WHERE name = 'accounts_user'"
        ).fetchone()
    with sqlite.path.open("r+b") as file:
        file.seek((page - 1) * size + 3)
        file.write(b"\x00\x09")
    found = check(sqlite)
    assert {finding.check for finding in found} == {"integrity"}


def test_a_file_that_others_may_read_is_found(sqlite: Database) -> None:
    assert sqlite.path
    sqlite.path.chmod(0o640)
    problem = f"mode is 0640; run: chmod 600 {sqlite.path}"
    assert check(sqlite) == [Finding("permissions", str(sqlite.path), problem)]


def test_an_old_schema_is_found(database: Database) -> None:
    run(database, "UPDATE alembic_version SET version_num = '0000'")
    (finding,) = check(database)
    assert finding.check == "schema"
    assert finding.problem.endswith(f"is older than this svcctl ({SCHEMA}); run: svcctl db upgrade")


def test_a_check_changes_nothing(sqlite: Database, reopen: Reopen) -> None:
    assert sqlite.path
    before = sqlite.path.read_bytes()
    assert check(reopen(sqlite, read_only=True)) == []
    assert sqlite.path.read_bytes() == before


def test_many_findings_of_a_kind_are_not_all_told(database: Database) -> None:
    people(database)
    with database.write() as connection:
        connection.execute(
            text("INSERT INTO groups (name) VALUES (:name)"), [{"name": f"{n}"} for n in range(50)]
        )
        connection.execute(
            text("INSERT INTO states (name, priority, rule) VALUES (:name, 1, '')"),
            [{"name": f"{n}"} for n in range(50)],
        )
    assert len(check(database)) == 20


def test_another_packages_tables_of_the_same_name_do_not_mix_with_ours() -> None:
    class Visitor(SQLModel, table=True):
        __tablename__ = "users"
        id: int | None = Field(default=None, primary_key=True)

    assert "username" in metadata.tables["users"].c
    assert list(SQLModel.metadata.tables["users"].c.keys()) == ["id"]
    SQLModel.metadata.clear()
