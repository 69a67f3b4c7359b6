import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from svcctl.errors import ConfigError, ExitCode, SchemaError, StoreError
from svcctl.store.database import SCHEMA, Database

Reopen = Callable[..., Database]

_USER = text(
    "INSERT INTO users (username, enabled, active, superuser, missing_pulls, created_at,"
    " updated_at) VALUES (:name, true, true, false, 0, '', '')"
)


def add(connection: Connection, *names: str) -> None:
    connection.execute(_USER, [{"name": name} for name in names])


def names(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.scalars(text("SELECT username FROM users ORDER BY username")))


def folder(database: Database) -> dict[str, str]:
    """Every file beside the database, with its content's hash."""
    assert database.path
    return {
        file.name: sha256(file.read_bytes()).hexdigest() for file in database.path.parent.iterdir()
    }


def mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


def crash(database: Database, *statements: str) -> None:
    """Another process commits the statements and is gone without closing anything."""
    program = (
        "import os, sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "for statement in sys.argv[2:]: connection.execute(statement)\n"
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program, str(database.path), *statements], check=True)


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_write_is_kept_and_an_exception_undoes_it(database: Database) -> None:
    with database.write() as connection:
        add(connection, "ada")

    def fail() -> None:
        with database.write() as connection:
            add(connection, "bob")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with database.write(keep=False) as connection:
        add(connection, "eve")
    assert names(database) == ["ada"]


def test_all_reads_of_a_transaction_see_the_same_moment(database: Database, reopen: Reopen) -> None:
    count = text("SELECT count(*) FROM users")
    with reopen(database).read() as connection:
        assert connection.scalar(count) == 0
        with database.write() as writer:
            add(writer, "ada")
        assert connection.scalar(count) == 0
    assert names(database) == ["ada"]


def test_nothing_is_written_through_a_database_opened_to_read(
    database: Database, reopen: Reopen
) -> None:
    reader = reopen(database, read_only=True)
    with pytest.raises(StoreError, match=r"read-?only") as caught, reader.write() as connection:
        add(connection, "ada")
    assert caught.value.exit_code == ExitCode.DATABASE
    assert names(database) == []


def test_text_sorts_the_way_python_sorts(database: Database) -> None:
    odd = [
        "b",
        "A",
        "a",
        "_",
        "Z",
        "ä",
        "-x",
        "\N{GRINNING FACE}",
        "\N{FULLWIDTH LATIN SMALL LETTER A}",
    ]
    with database.write() as connection:
        add(connection, *odd)
    assert names(database) == sorted(odd)


def test_the_id_of_a_removed_user_is_never_given_again(database: Database) -> None:
    last = text("SELECT max(id) FROM users")
    with database.write() as connection:
        add(connection, "ada", "bob")
        before = connection.scalar(last)
        connection.execute(text("DELETE FROM users WHERE username = 'bob'"))
        add(connection, "eve")
        assert connection.scalar(last) == before + 1


def test_many_threads_may_write(database: Database) -> None:
    with database.write() as connection:
        add(connection, "ada")

    def increase(_: int) -> None:
        with database.write() as connection:
            connection.execute(text("UPDATE users SET missing_pulls = missing_pulls + 1"))

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(increase, range(200)))
    with database.read() as connection:
        assert connection.scalar(text("SELECT missing_pulls FROM users")) == 200


def test_a_lock_of_another_program_means_try_later(database: Database, reopen: Reopen) -> None:
    hurried = reopen(database, busy=0.2)
    with database.write() as connection:
        add(connection, "ada")
        with pytest.raises(StoreError) as caught, hurried.write() as other:
            add(other, "ada")
    assert caught.value.exit_code == ExitCode.TRY_LATER
    assert caught.value.message == f"{database.name}: the database is locked by another program"
    assert caught.value.hint == "waited 0.2 s; try again when it has finished"


def test_a_newer_schema_is_refused_as_a_matter_of_configuration(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(
        SchemaError, match=f"schema 9999 is newer than this svcctl \\({SCHEMA}\\)"
    ) as caught:
        database.require_schema()
    assert caught.value.exit_code == ExitCode.CONFIG


def test_an_older_schema_asks_for_the_upgrade(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    with pytest.raises(SchemaError, match="schema 0000 is older") as caught:
        database.require_schema()
    assert caught.value.hint == "run: svcctl db upgrade"


def test_another_programs_database_is_not_taken_for_ours(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'e3a246e0dc1'"))
    with pytest.raises(StoreError, match=r"schema e3a246e0dc1 is not one of svcctl's"):
        database.require_schema()


def test_the_current_schema_is_accepted_and_an_empty_database_is_not(
    database: Database, blank: Database
) -> None:
    database.require_schema()
    with pytest.raises(StoreError, match=r"no database yet|not a svcctl database") as caught:
        blank.require_schema()
    assert caught.value.hint == "create it with: svcctl db upgrade"


@pytest.mark.parametrize("url", ["mysql://host/db", "not a url", "oracle:///x"])
def test_other_kinds_of_database_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^database: "):
        Database(url)


# SQLite


def test_every_connection_has_the_log_and_the_constraints_on(sqlite: Database) -> None:
    with sqlite.read() as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys")
        ]
    assert found == ["wal", 1]


def test_a_durable_write_is_synced_in_full_and_only_that_one(sqlite: Database) -> None:
    def level(*, durable: bool) -> object:
        with sqlite.write(durable=durable) as connection:
            add(connection, f"user{durable}")
            return connection.exec_driver_sql("PRAGMA synchronous").scalar()

    assert [level(durable=True), level(durable=False)] == [2, 1]


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace")
@pytest.mark.parametrize(("durable", "syncs"), [("True", 3), ("False", 0)])
def test_a_durable_commit_reaches_the_disk_each_time(
    sqlite: Database, tmp_path: Path, durable: str, syncs: int
) -> None:
    program = (
        "import os, sys\n"
        "from sqlalchemy import text\n"
        "from svcctl.store.database import Database\n"
        "database = Database('sqlite:///' + sys.argv[1])\n"
        "for number in range(4):\n"
        "    with database.write(durable=sys.argv[2] == 'True') as connection:\n"
        "        connection.execute(text(f\"INSERT INTO groups (name) VALUES ('{number}')\"))\n"
        "    if number == 0: os.write(2, b'first is written')\n"
        "os._exit(0)"
    )
    log = tmp_path / "strace"
    strace = ["strace", "-f", "-o", str(log), "-e", "trace=fsync,fdatasync,write"]
    subprocess.run(
        [*strace, sys.executable, "-c", program, str(sqlite.path), durable],
        check=True,
        capture_output=True,
    )
    calls = log.read_text().partition("first is written")[2]
    assert calls.count("sync(") == syncs


def test_a_write_has_the_lock_before_its_first_statement(sqlite: Database, reopen: Reopen) -> None:
    hurried = reopen(sqlite, busy=0)
    with (
        sqlite.write(),
        pytest.raises(StoreError, match="locked by another program"),
        hurried.write(),
    ):
        pass


def test_a_file_that_is_still_locked_while_it_is_opened_means_try_later(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE x (y)")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError) as caught:
            Database(f"sqlite:///{path}", busy=0.1).schema()
    assert caught.value.exit_code == ExitCode.TRY_LATER


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_file_and_its_sidecars_are_for_their_owner_only(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "new" / "deep" / "svcctl.db"
    database = Database(f"sqlite:///{path}")
    before = os.umask(umask)
    try:
        database.create_file()
        with database.write(durable=True) as connection:
            connection.execute(text("CREATE TABLE x (y INTEGER)"))
            assert {file.name: mode(file) for file in path.parent.iterdir()} == {
                "svcctl.db": "0o600",
                "svcctl.db-shm": "0o600",
                "svcctl.db-wal": "0o600",
            }
    finally:
        os.umask(before)
        database.close()
    assert mode(path.parent) == mode(path.parent.parent) == "0o700"


def test_reading_leaves_no_trace(sqlite: Database, reopen: Reopen) -> None:
    before = folder(sqlite)
    reader = reopen(sqlite, read_only=True)
    reader.require_schema()
    assert names(reader) == []
    reader.close()
    assert folder(sqlite) == before
    assert list(before) == ["svcctl.db"]


def test_reading_after_a_crash_sees_what_was_committed_and_leaves_it_where_it_lies(
    sqlite: Database, reopen: Reopen
) -> None:
    crash(sqlite, "INSERT INTO groups (name) VALUES ('staff')")
    before = folder(sqlite)
    reader = reopen(sqlite, read_only=True)
    with reader.read() as connection:
        assert connection.scalar(text("SELECT name FROM groups")) == "staff"
    reader.close()
    after = folder(sqlite)
    assert set(after) == set(before)
    assert [after[name] for name in ("svcctl.db", "svcctl.db-wal")] == [
        before[name] for name in ("svcctl.db", "svcctl.db-wal")
    ]


def test_reading_goes_on_beside_a_writer(sqlite: Database, reopen: Reopen) -> None:
    with sqlite.write() as connection:
        add(connection, "ada")
    reader = reopen(sqlite, read_only=True, busy=0)
    with sqlite.write() as connection:
        add(connection, "bob")
        assert names(reader) == ["ada"]
    assert names(reader) == ["ada", "bob"]


def test_a_writer_that_comes_later_does_not_disturb_a_reader(
    sqlite: Database, reopen: Reopen
) -> None:
    reader = reopen(sqlite, read_only=True)
    with reader.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM users")) == 0
        with sqlite.write() as writer:
            add(writer, "ada")
        sqlite.close()
        assert connection.scalar(text("SELECT count(*) FROM users")) == 0
    reader.close()
    assert names(sqlite) == ["ada"]


def test_a_database_on_a_read_only_disk_can_be_read(sqlite: Database, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, "size=2m"):
        assert sqlite.path
        shutil.copy(sqlite.path, disk)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        reader = Database(f"sqlite:///{disk}/svcctl.db", read_only=True)
        reader.require_schema()
        assert names(reader) == []
        reader.close()
        with pytest.raises(StoreError, match=r"readonly|unable to open") as caught:
            Database(f"sqlite:///{disk}/svcctl.db").require_schema()
    assert caught.value.exit_code == ExitCode.DATABASE


def test_a_change_under_a_reader_without_locks_is_noticed(
    sqlite: Database, reopen: Reopen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # as in a folder of another user
    reader = reopen(sqlite, read_only=True)
    assert names(reader) == []
    with sqlite.write() as connection:
        add(connection, "ada")
    with pytest.raises(StoreError, match="changed while it was read") as caught:
        names(reader)
    assert caught.value.exit_code == ExitCode.TRY_LATER


@pytest.mark.parametrize("name", ["with space", "50%25", "hash#", "ünïcode", "a&b=c;d"])
def test_a_path_may_have_any_characters(tmp_path: Path, name: str) -> None:
    database = Database(f"sqlite:///{tmp_path}/{name}.db")
    database.create_file()
    assert database.schema() is None
    database.close()
    assert [file.name for file in tmp_path.iterdir()] == [f"{name}.db"]


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "svcctl.db"
    path.write_text("[services.forum]\n" * 100)
    for read_only in (True, False):
        with pytest.raises(StoreError, match=r"svcctl.db: file is not a database") as caught:
            Database(f"sqlite:///{path}", read_only=read_only).require_schema()
        assert caught.value.exit_code == ExitCode.DATABASE
        assert caught.value.hint


def test_a_missing_file_is_not_created_by_looking(tmp_path: Path) -> None:
    for read_only in (True, False):
        with pytest.raises(StoreError, match="no database yet") as caught:
            Database(f"sqlite:///{tmp_path}/svcctl.db", read_only=read_only).require_schema()
        assert caught.value.exit_code == ExitCode.DATABASE
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_and_harms_nothing(sqlite: Database, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, "size=1m"):
        assert sqlite.path
        shutil.copy(sqlite.path, disk)
        database = Database(f"sqlite:///{disk}/svcctl.db")
        written = 0

        def fill() -> None:
            nonlocal written
            for number in range(10_000):
                with database.write(durable=True) as connection:
                    add(connection, *(f"user {number} {digit}" for digit in range(10)))
                written += 10

        with pytest.raises(StoreError) as caught:
            fill()
        assert caught.value.exit_code == ExitCode.DATABASE
        assert caught.value.hint
        assert "disk" in caught.value.message
        assert len(names(database)) == written > 100
        database.close()
        again = Database(f"sqlite:///{disk}/svcctl.db")
        with again.read() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        assert len(names(again)) == written
        again.close()


# PostgreSQL

pg = pytest.mark.parametrize("database", ["postgres"], indirect=True)


@pytest.mark.postgres
@pg
def test_a_read_on_a_server_cannot_write(database: Database) -> None:
    with pytest.raises(StoreError, match="read-only transaction"), database.read() as connection:
        add(connection, "ada")
    with database.write() as connection:
        add(connection, "bob")


@pytest.mark.postgres
@pg
def test_a_durable_write_is_durable_where_the_server_is_lax(database: Database) -> None:
    url = database.url.update_query_dict({"options": "-c synchronous_commit=off"})
    lax = Database(url.render_as_string(hide_password=False))
    setting = "SHOW synchronous_commit"
    with lax.write(durable=True) as connection:
        durable = connection.exec_driver_sql(setting).scalar()
    with lax.write() as connection:
        usual = connection.exec_driver_sql(setting).scalar()
    lax.close()
    assert (durable, usual) == ("on", "off")


@pytest.mark.postgres
@pg
def test_a_lost_connection_is_said_and_the_next_one_works(
    database: Database, reopen: Reopen
) -> None:
    kill = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    def lose() -> None:
        with database.write() as connection:
            add(connection, "ada")
            with reopen(database).read() as other:
                other.execute(kill)
            add(connection, "bob")

    with pytest.raises(StoreError) as caught:
        lose()
    assert caught.value.exit_code == ExitCode.DATABASE
    assert "check that the server runs" in (caught.value.hint or "")
    assert names(database) == []


@pytest.mark.postgres
def test_a_server_that_does_not_answer_is_said_without_the_password() -> None:
    database = Database("postgresql://svcctl:geheim@127.0.0.1:1/svcctl?sslpassword=geheim")
    with pytest.raises(StoreError) as caught:
        database.require_schema()
    assert caught.value.exit_code == ExitCode.DATABASE
    assert "check that the server runs" in (caught.value.hint or "")
    assert caught.value.message.startswith("postgresql://svcctl@127.0.0.1:1/svcctl: ")
    assert "geheim" not in f"{caught.value}{caught.value.hint}{database.name}"
