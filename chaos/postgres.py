"""A PostgreSQL server of one's own for sites to keep their databases on, and copies of those."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from svcctl.store.database import Database

MARK = "postgres"
"""A file of this name beside a site's folder says where the server is that holds its database."""


def url(place: str, name: str) -> str:
    return f"postgresql://svcctl@/{name}?host={place}"


def ask(place: str, sql: str) -> list[Any]:
    database = Database(url(place, "postgres"))
    try:
        with database.session("chaos") as session:
            return session(sql)
    finally:
        database.close()


def binaries() -> Path | None:
    """The folder of the newest server that is installed."""
    if found := shutil.which("postgres"):
        return Path(found).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    newest = max(versions, key=lambda path: int(path.parts[-3]), default=None)
    return newest.parent if newest else None


@contextmanager
def server(programs: Path) -> Iterator[str]:
    """Where its socket is, while it runs."""
    folder = Path(tempfile.mkdtemp(prefix="svcctl-chaos-postgres-"))
    other: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        other = {"user": "postgres", "group": "postgres", "extra_groups": []}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, **other}
    setup = ["--auth=trust", "--username=svcctl", "--no-sync", "--encoding=UTF8"]
    subprocess.run(
        [str(programs / "initdb"), f"--pgdata={folder}/data", *setup], check=True, **quiet
    )
    limits = ["-c", "shared_buffers=32MB", "-c", "max_connections=60"]
    process = subprocess.Popen(
        [
            str(programs / "postgres"),
            "-D",
            f"{folder}/data",
            "-F",
            "-k",
            str(folder),
            "-h",
            "",
            *limits,
        ],
        **quiet,
    )
    try:
        ready = [str(programs / "pg_isready"), "-q", "-h", str(folder)]
        while subprocess.run(ready, check=False).returncode:
            if process.poll() is not None:
                raise RuntimeError("PostgreSQL does not start")
            time.sleep(0.05)
        yield str(folder)
    finally:
        process.send_signal(signal.SIGQUIT)  # at once: the data is thrown away
        process.wait()
        shutil.rmtree(folder)
