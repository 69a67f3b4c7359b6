"""The front door: a site in a temporary folder, and `svcctl(...)` as a person would type it."""

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from sqlalchemy import text

from svcctl.cli import main
from svcctl.config.load import load
from svcctl.store.database import SCHEMA, Database
from svcctl.store.tables import metadata


@dataclass(frozen=True)
class Result:
    """What a command gave back."""

    exit_code: int
    stdout: str
    stderr: str


class Svcctl(Protocol):
    """`svcctl("users", "show", "ada")`; the configuration is the site's."""

    def __call__(self, *arguments: str, stdin: str | None = None) -> Result: ...


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Site:
    """A folder with a `svcctl.toml` and an empty database of the current schema."""

    folder: Path
    database: Database

    def write(self, name: str, content: str | bytes) -> Path:
        """A file in the site's folder."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def configure(self, config: str) -> None:
        """Another configuration for the same database."""
        self.write("svcctl.toml", config)

    def rows(self, statement: str, **values: Any) -> list[dict[str, Any]]:
        """What the database says."""
        with self.database.read() as connection:
            return [dict(row) for row in connection.execute(text(statement), values).mappings()]

    def execute(self, statement: str, **values: Any) -> None:
        """A row that no command makes."""
        with self.database.write() as connection:
            connection.execute(text(statement), values)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Site]]:
    """`site(config)`: write the configuration, make the database, stand in the folder."""
    opened: list[Database] = []

    def build(config: str = "") -> Site:
        for name in [name for name in os.environ if name.startswith("SVCCTL_")]:
            monkeypatch.delenv(name)
        monkeypatch.chdir(tmp_path)
        (tmp_path / "svcctl.toml").write_text(config, encoding="utf-8")
        database = Database(load(tmp_path / "svcctl.toml").database_url)
        opened.append(database)
        database.create_file()
        with database.write() as connection:
            metadata.create_all(connection)
            connection.execute(text("CREATE TABLE alembic_version (version_num TEXT PRIMARY KEY)"))
            connection.execute(
                text("INSERT INTO alembic_version VALUES (:schema)"), {"schema": SCHEMA}
            )
        return Site(tmp_path, database)

    yield build
    for database in opened:
        database.close()


@pytest.fixture
def svcctl(monkeypatch: pytest.MonkeyPatch) -> Svcctl:
    """Run one command line in this process. With `stdin`, the streams are a terminal's."""

    def run(*arguments: str, stdin: str | None = None) -> Result:
        stream = io.StringIO if stdin is None else Terminal
        stdout, stderr = stream(), stream()
        monkeypatch.setattr(sys, "stdin", stream(stdin or ""))
        with redirect_stdout(stdout), redirect_stderr(stderr):
            exit_code = main(["--config", "svcctl.toml", *arguments])
        return Result(exit_code, stdout.getvalue(), stderr.getvalue())

    return run
