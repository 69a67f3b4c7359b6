"""`database`: an empty, migrated Database, once on SQLite and once on a real PostgreSQL.

The PostgreSQL server is started for the session from the distribution's package, in a temporary
folder, on a socket of its own. Without the package its tests are skipped, or fail when
`SVCCTL_LIVE=required` (CI).
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import pytest

from svcctl.store.database import Database
from svcctl.store.migrate import upgrade

BACKENDS = ("sqlite", pytest.param("postgres", marks=pytest.mark.postgres))


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server; databases are cloned from one that was migrated once."""

    folder: Path

    def url(self, name: str) -> str:
        return f"postgresql://svcctl@/{name}?host={self.folder}"

    def ask(self, sql: str) -> list[Any]:
        database = Database(self.url("postgres"))
        try:
            with database.session("tests") as ask:
                return ask(sql)
        finally:
            database.close()


def _missing(reason: str) -> NoReturn:
    if os.environ.get("SVCCTL_LIVE") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


def _binaries() -> Path:
    found = shutil.which("postgres")
    if found:
        return Path(found).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    newest = max(versions, key=lambda path: int(path.parts[-3]), default=None)
    return newest.parent if newest else _missing("no PostgreSQL server: apt install postgresql")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    if not find_spec("psycopg"):
        _missing("no psycopg: pip install 'svcctl[postgres]'")
    binaries = _binaries()
    # Not under pytest's own folder: the server's user could not enter it, and its path is too long.
    folder = Path(tempfile.mkdtemp(prefix="svcctl-postgres-"))
    other_user: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        other_user = {"user": "postgres", "group": "postgres", "extra_groups": []}
    setup = ["--auth=trust", "--username=svcctl", "--no-sync", "--encoding=UTF8"]
    # Sorts unlike Python, as most servers do.
    setup += ["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en"]
    subprocess.run(
        [binaries / "initdb", f"--pgdata={folder}/data", *setup],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        **other_user,
    )
    memory = ["-c", "shared_buffers=16MB", "-c", "max_connections=60"]
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        [binaries / "postgres", "-D", f"{folder}/data", "-F", "-k", folder, "-h", "", *memory],
        stdout=log,
        stderr=log,
        cwd=folder,
        **other_user,
    )
    try:
        server = Server(folder)
        socket = folder / ".s.PGSQL.5432"
        deadline = time.monotonic() + 30
        while (
            not socket.exists()
            or subprocess.run([binaries / "pg_isready", "-q", "-h", folder], check=False).returncode
        ):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail((folder / "log").read_text())
            time.sleep(0.02)
        server.ask("CREATE DATABASE template_svcctl")
        template = Database(server.url("template_svcctl"))
        upgrade(template)
        template.close()
        yield server
    finally:
        process.send_signal(signal.SIGQUIT)  # at once: the data is thrown away
        process.wait()
        log.close()
        shutil.rmtree(folder)


@pytest.fixture
def reopen() -> Iterator[Callable[..., Database]]:
    """`reopen(database, read_only=True, busy=0.1)`: the same database once more."""
    opened: list[Database] = []

    def again(database: Database, *, read_only: bool = False, busy: float = 10) -> Database:
        url = f"sqlite:///{database.path}" if database.path else database.public_url
        opened.append(Database(url, read_only=read_only, busy=busy))
        return opened[-1]

    yield again
    for database in opened:
        database.close()


_numbers = count(1)


def _on_server(server: Server, template: str) -> Iterator[Database]:
    name = f"svcctl_{next(_numbers)}"
    server.ask(f"CREATE DATABASE {name} TEMPLATE {template}")
    database = Database(server.url(name))
    yield database
    database.close()
    server.ask(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def sqlite(tmp_path: Path, sqlite_template: Path) -> Iterator[Database]:
    """A migrated, empty SQLite database, alone in a folder."""
    path = tmp_path / "site" / "svcctl.db"
    path.parent.mkdir(mode=0o700)
    shutil.copy(sqlite_template, path)
    database = Database(f"sqlite:///{path}")
    yield database
    database.close()


@pytest.fixture(params=BACKENDS)
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A migrated, empty database of each kind."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite")
    else:
        yield from _on_server(request.getfixturevalue("postgres"), "template_svcctl")


@pytest.fixture(params=BACKENDS)
def blank(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of each kind before its first migration: on SQLite there is no file yet."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path}/blank/svcctl.db")
        yield database
        database.close()
    else:
        yield from _on_server(request.getfixturevalue("postgres"), "template0")
