"""Real servers for tests: required or skipped, in a folder of their own, gone afterwards."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

READY_SECONDS = 20.0
STOP_SECONDS = 5.0
# Between choosing a free port and listening on it, somebody else may take it.
ATTEMPTS = 3


class Require(Protocol):
    """`require("nginx", "nginx-light")`: the path of a program, or the test is skipped."""

    def __call__(self, binary: str, package: str) -> str: ...


Configure = Callable[[Path, int], list[str]]
"""Write the configuration for a folder and a port; return the foreground command."""


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


@pytest.fixture
def require() -> Require:
    """Skip, or with SVCCTL_LIVE=required fail, where a program is missing."""

    def find(binary: str, package: str) -> str:
        path = shutil.which(binary) or shutil.which(binary, path="/usr/sbin:/sbin")
        if path:
            return path
        reason = f"{binary} is missing: apt-get install {package}"
        if os.environ.get("SVCCTL_LIVE") == "required":
            pytest.fail(reason)
        pytest.skip(reason)

    return find


@pytest.fixture
def server() -> Iterator[Callable[[Configure], Server]]:
    """`server(configure)`: start it on a free loopback port, wait until it listens, end it."""
    running: list[Server] = []

    def start(configure: Configure) -> Server:
        for attempt in range(ATTEMPTS):
            started = _start(configure)
            running.append(started)
            if _listens(started):
                return started
            if attempt == ATTEMPTS - 1:
                pytest.fail(f"{started.process.args!r} does not listen:\n{started.log}")
            _stop(started)
        raise AssertionError

    yield start
    for each in running:
        _stop(each)
        shutil.rmtree(each.folder, ignore_errors=True)


def _start(configure: Configure) -> Server:
    # Not pytest's tmp_path: that is private, and servers change their user.
    folder = Path(tempfile.mkdtemp(prefix="svcctl-live-"))
    folder.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = configure(folder, port)
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    return Server(folder, port, process)


def _listens(server: Server) -> bool:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", server.port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            # It might be somebody else's, whose port ours could not get.
            time.sleep(0.1)
            return server.process.poll() is None
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
