"""Real servers for tests: in the foreground, each in a folder and on a port of its own."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

READY_SECONDS = 20.0
STOP_SECONDS = 5.0
# Between choosing a free port and listening on it, somebody else may take it.
ATTEMPTS = 3

Configure = Callable[[Path, int], list[str]]
"""Write the configuration for a folder and a port; return the foreground command."""
Ready = Callable[[int], bool]
"""Whether the server on this port does its work. An OSError means: not yet."""


@dataclass(frozen=True)
class Server:
    """A running server."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it wrote to stdout and stderr."""
        return (self.folder / "output.log").read_text(errors="replace")


class NotStarted(Exception):
    """The server ended, or did not get ready in time; with what it wrote."""


def absent(reason: str) -> NoReturn:
    """What a test needs is not on this machine: skip it, or with SVCCTL_LIVE=required fail."""
    if os.environ.get("SVCCTL_LIVE") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


def program(binary: str, package: str) -> str:
    """The path of an installed program; else the test is skipped, naming the Debian package."""
    path = shutil.which(binary) or shutil.which(binary, path="/usr/sbin:/sbin")
    return path or absent(f"{binary} is missing: apt-get install {package}")


def listens(port: int) -> bool:
    """Whether anything accepts connections there. Prefer to ask whether it does its work."""
    socket.create_connection(("127.0.0.1", port), 1).close()
    return True


@contextmanager
def running(
    configure: Configure,
    ready: Ready = listens,
    *,
    patience: float = READY_SECONDS,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Start it on a free loopback port, wait until it is ready, end it and all that it started.

    patience: seconds until it must be ready. environment: variables besides those of the test.
    The server must stay in the foreground. Raises NotStarted, with what it wrote.
    """
    for attempt in range(ATTEMPTS):
        server = _start(configure, {**os.environ, **(environment or {})})
        try:
            if _gets_ready(server, ready, patience):
                yield server
                return
            if server.process.poll() is None or attempt == ATTEMPTS - 1:
                raise NotStarted(f"{server.process.args!r} is not ready:\n{server.log}")
        finally:
            _stop(server)
            shutil.rmtree(server.folder, ignore_errors=True)


def _start(configure: Configure, environment: Mapping[str, str]) -> Server:
    # Not pytest's tmp_path: that is private, and servers change their user.
    folder = Path(tempfile.mkdtemp(prefix="svcctl-live-"))
    folder.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = configure(folder, port)
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return Server(folder, port, process)


def _gets_ready(server: Server, ready: Ready, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            is_ready = ready(server.port)
        except OSError:
            is_ready = False
        if is_ready:
            # It might be somebody else's, whose port ours could not get.
            time.sleep(0.1)
            return server.process.poll() is None
        time.sleep(0.05)
    return False


def _stop(server: Server) -> None:
    """End the process and all that it started: they are one process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.process.pid, number)
        except ProcessLookupError:
            break
        try:
            server.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    server.process.wait(STOP_SECONDS)
