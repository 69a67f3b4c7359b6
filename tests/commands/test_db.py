import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from svcctl.errors import ExitCode
from svcctl.store.database import SCHEMA

if TYPE_CHECKING:
    from tests.conftest import Svcctl

MIGRATIONS = [
    {"revision": "0001", "title": "the first schema"},
    {"revision": "0002", "title": "pipelines: associations, partials, codes, sealed messages"},
    {"revision": "0003", "title": "the hash chain over what was recorded"},
    {
        "revision": "0004",
        "title": "undo: what an undo put back stays so for a while, and is found by what it undid",
    },
    {"revision": "0005", "title": "pulls: when each source was last taken over"},
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty configuration; no database yet."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "svcctl.toml").write_text("")
    return tmp_path


def execute(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "svcctl.db")) as connection, connection:
        connection.execute(statement)


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def told(folder: Path, what: str) -> str:
    return "".join(
        f"{folder}/svcctl.db: {what} {migration['revision']} {migration['title']}\n"
        for migration in MIGRATIONS
    )


def test_upgrade_makes_the_database_and_then_has_nothing_to_do(
    svcctl: "Svcctl", folder: Path
) -> None:
    made = svcctl("db", "upgrade")
    assert (made.exit_code, made.stderr) == (0, "")
    assert made.stdout == told(folder, "applied")
    assert svcctl("db", "upgrade").stdout == f"{folder}/svcctl.db: up to date\n"
    assert files(folder) == ["svcctl.db", "svcctl.toml"]
    assert svcctl("db", "check") == type(made)(0, "", "")


def test_a_dry_run_of_an_upgrade_shows_the_migrations_and_writes_nothing(
    svcctl: "Svcctl", folder: Path
) -> None:
    shown = svcctl("db", "upgrade", "--dry-run")
    assert shown.exit_code == ExitCode.OK
    assert shown.stdout == told(folder, "would apply")
    assert files(folder) == ["svcctl.toml"]


def test_upgrade_answers_in_json(svcctl: "Svcctl", folder: Path) -> None:
    def rows(*arguments: str) -> object:
        document = json.loads(svcctl("db", "upgrade", *arguments, "--json").stdout)
        assert document.pop("schema") == "svcctl.migrations/1"
        return document

    for arguments, applied in (("--dry-run",), False), ((), True):
        expected = [{**migration, "applied": applied, "backup": None} for migration in MIGRATIONS]
        assert rows(*arguments) == {"rows": expected}
    assert rows() == {"rows": []}


def test_a_newer_schema_is_refused_by_every_command(svcctl: "Svcctl", folder: Path) -> None:
    svcctl("db", "upgrade")
    execute(folder, "UPDATE alembic_version SET version_num = '9999'")
    for command in ("upgrade", "check"):
        refused = svcctl("db", command)
        assert refused.exit_code == ExitCode.CONFIG
        assert refused.stdout == ""
        assert refused.stderr == (
            f"error: {folder}/svcctl.db: schema 9999 is newer than this svcctl ({SCHEMA})\n"
            "hint: upgrade svcctl, or restore the backup made before the database was upgraded\n"
        )


def test_an_unusable_database_is_74(svcctl: "Svcctl", folder: Path) -> None:
    missing = svcctl("db", "check")
    assert missing.exit_code == ExitCode.DATABASE
    assert missing.stderr == (
        f"error: {folder}/svcctl.db: no database yet\nhint: create it with: svcctl db upgrade\n"
    )
    (folder / "svcctl.db").write_text("this is a letter to my mother " * 50)
    for command in (["upgrade"], ["check"], ["backup", "copy.bak"]):
        refused = svcctl("db", *command)
        assert refused.exit_code == ExitCode.DATABASE
        assert "svcctl.db: file is not a database" in refused.stderr
    assert files(folder) == ["svcctl.db", "svcctl.toml"]


def test_a_check_that_finds_something_is_1_and_says_what(svcctl: "Svcctl", folder: Path) -> None:
    svcctl("db", "upgrade")
    execute(folder, "INSERT INTO states (name, priority, rule) VALUES ('Member', 1, '{')")
    (folder / "svcctl.db").chmod(0o644)
    found = svcctl("db", "check")
    assert (found.exit_code, found.stderr) == (ExitCode.FAILED, "")
    assert [line.split(None, 1)[0] for line in found.stdout.splitlines()] == [
        "check",
        "permissions",
        "json",
    ]
    document = json.loads(svcctl("db", "check", "--json").stdout)
    assert document["rows"][1] == {
        "check": "json",
        "subject": "states Member",
        "problem": "rule is not readable",
    }


def test_a_backup_is_a_whole_database_that_only_its_owner_reads(
    svcctl: "Svcctl", folder: Path
) -> None:
    svcctl("db", "upgrade")
    made = svcctl("db", "backup", "copy.bak")
    assert made.exit_code == ExitCode.OK
    size = (folder / "copy.bak").stat().st_size
    assert made.stdout == f"copy.bak: schema {SCHEMA}, {size:,} bytes, checked\n"
    assert (folder / "copy.bak").stat().st_mode & 0o777 == 0o600
    assert files(folder) == ["copy.bak", "svcctl.db", "svcctl.toml"]
    (folder / "svcctl.toml").write_text('database = "copy.bak"\n')
    assert svcctl("db", "check").exit_code == ExitCode.OK


def test_a_backup_replaces_a_file_only_with_force(svcctl: "Svcctl", folder: Path) -> None:
    svcctl("db", "upgrade")
    (folder / "copy.bak").write_text("precious")
    refused = svcctl("db", "backup", "copy.bak")
    assert refused.exit_code == ExitCode.USAGE
    assert refused.stderr == (
        "error: copy.bak: exists\nhint: choose another name, or use --force\n"
    )
    assert (folder / "copy.bak").read_text() == "precious"
    replaced = svcctl("db", "backup", "copy.bak", "--force", "--json")
    assert json.loads(replaced.stdout) == {
        "schema": "svcctl.backup/1",
        "path": "copy.bak",
        "schema_version": SCHEMA,
        "size": (folder / "copy.bak").stat().st_size,
    }


def test_without_a_terminal_a_sound_check_is_silent_and_on_one_it_is_not(
    svcctl: "Svcctl", folder: Path
) -> None:
    svcctl("db", "upgrade")
    assert svcctl("db", "check").stderr == ""
    assert svcctl("db", "check", stdin="").stderr == (
        f"{folder}/svcctl.db: nothing wrong was found\n"
    )
