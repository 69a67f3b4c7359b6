"""Real servers for tests: required or skipped, in a folder of their own, gone afterwards."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn, Protocol

import pytest

from tests.live.environments import NotInstalled, python_for
from tests.support.process import Configure, NotStarted, Server, running


class Require(Protocol):
    """`require("nginx", "nginx-light")`: the path of a program, or the test is skipped."""

    def __call__(self, binary: str, package: str) -> str: ...


def absent(reason: str) -> NoReturn:
    """What a test needs is not here: skip it, or with SVCCTL_LIVE=required fail."""
    if os.environ.get("SVCCTL_LIVE") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def require() -> Require:
    """Skip, or with SVCCTL_LIVE=required fail, where a program is missing."""

    def find(binary: str, package: str) -> str:
        path = shutil.which(binary) or shutil.which(binary, path="/usr/sbin:/sbin")
        return path or absent(f"{binary} is missing: apt-get install {package}")

    return find


@pytest.fixture(scope="session")
def environment() -> Callable[[str], Path]:
    """`environment("canaille")`: the Python with the requirements in servers/canaille."""

    def find(name: str) -> Path:
        try:
            return python_for(name)
        except NotInstalled as error:
            absent(str(error))

    return find


@pytest.fixture
def server() -> Iterator[Callable[[Configure], Server]]:
    """`server(configure)`: start it on a free loopback port, wait until it listens, end it."""
    with ExitStack() as stack:

        def start(configure: Configure) -> Server:
            try:
                return stack.enter_context(running(configure))
            except NotStarted as error:
                pytest.fail(str(error))

        yield start
