"""Real servers for tests: required or skipped, in a folder of their own, gone afterwards."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from svcctl.hooks.testing.server import Configure, NotStarted, Server, absent, program, running
from tests.live.environments import NotInstalled, python_for
from tests.live.ldap_servers import SERVERS, Directory
from tests.live.scim_servers import STARTS, Idp


class Require(Protocol):
    """`require("nginx", "nginx-light")`: the path of a program, or the test is skipped."""

    def __call__(self, binary: str, package: str) -> str: ...


@pytest.fixture(scope="session")
def require() -> Require:
    """Skip, or with SVCCTL_LIVE=required fail, where a program is missing."""
    return program


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


@pytest.fixture(scope="module", params=STARTS)
def running_idp(request: pytest.FixtureRequest, environment: Any) -> Iterator[Idp]:
    with STARTS[request.param](environment) as idp:
        yield idp


@pytest.fixture
def idp(running_idp: Idp) -> Idp:
    running_idp.proxy.reset()
    running_idp.remote.clear()
    return running_idp


@pytest.fixture(scope="session", params=SERVERS)
def running_directory(request: pytest.FixtureRequest) -> Iterator[Directory]:
    with SERVERS[request.param]() as directory:
        yield directory


@pytest.fixture
def directory(running_directory: Directory) -> Directory:
    """An OpenLDAP server and a Samba domain, without people and groups."""
    running_directory.clear()
    return running_directory
