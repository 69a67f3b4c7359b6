"""The front door: a site in a temporary folder, and `svcctl(...)` as a person would type it."""

import io
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from sqlalchemy import Connection, Engine, event, text

from svcctl.cli import main
from svcctl.config import secrets
from svcctl.config.load import load
from svcctl.store.database import Database
from svcctl.store.migrate import upgrade
from tests.support.forks import Forks


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


def pytest_configure(config: pytest.Config) -> None:
    """Temporary folders lie in memory where there is room: no test waits for a disk to be sure."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK):
        there = os.statvfs(memory)
        if there.f_bavail * there.f_frsize > 4 * 2**30 and not there.f_flag & os.ST_NOEXEC:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))


class _Statements(dict[Any, Any]):
    """Compiled statements for all engines of one kind; each would compile its own again."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get((key[0].name, *key[1:]), default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        super().__setitem__((key[0].name, *key[1:]), compiled)


@pytest.fixture(autouse=True)
def _a_command_of_its_own() -> None:
    """A process fetches the secrets of one command; what other tests fetched is no secret here."""
    secrets._FETCHED.clear()


@pytest.fixture(scope="session", autouse=True)
def _statements() -> Iterator[None]:
    statements = _Statements()

    def share(connection: Connection) -> None:
        connection.execution_options(compiled_cache=statements)

    event.listen(Engine, "engine_connect", share)
    yield
    event.remove(Engine, "engine_connect", share)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database that was migrated once, to be copied."""
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('template')}/svcctl.db")
    upgrade(database)
    database.close()
    assert database.path
    return database.path


@pytest.fixture
def site(
    tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Site]]:
    """`site(config)`: write the configuration, make the database, stand in the folder."""
    opened: list[Database] = []

    def build(config: str = "") -> Site:
        for name in [name for name in os.environ if name.startswith("SVCCTL_")]:
            monkeypatch.delenv(name)
        monkeypatch.chdir(tmp_path)
        (tmp_path / "svcctl.toml").write_text(config, encoding="utf-8")
        database = Database(load(tmp_path / "svcctl.toml").database_url)
        assert database.path
        opened.append(database)
        database.create_file()
        shutil.copyfile(sqlite_template, database.path)
        return Site(tmp_path, database)

    yield build
    for database in opened:
        database.close()


class Prepared(Protocol):
    """`prepared(config, prepare)`: the site with this configuration, as `prepare` leaves it.

    It is prepared once and then copied. `variant` is whatever else decides how it is left.
    """

    def __call__(
        self, config: str, prepare: Callable[[Site], object], *variant: object
    ) -> Site: ...


@pytest.fixture(scope="session")
def originals() -> dict[object, Path]:
    """The folders of sites that were prepared."""
    return {}


@pytest.fixture
def prepared(
    site: Callable[[str], Site],
    originals: dict[object, Path],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Prepared:
    def build(config: str, prepare: Callable[[Site], object], *variant: object) -> Site:
        made = site(config)
        key = (config, prepare.__module__, prepare.__qualname__, *variant)
        if key in originals:
            shutil.copytree(originals[key], tmp_path, dirs_exist_ok=True)
        else:
            prepare(made)
            made.database.close()
            originals[key] = tmp_path_factory.mktemp("original") / "site"
            shutil.copytree(tmp_path, originals[key])
        return made

    return build


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """`forks.begin(folder, "sync", "--all")`: the same in a process of its own."""
    forks = Forks([Path(__file__).parent / "runs", Path(__file__).parent / "broken"])
    yield forks
    forks.close()


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
