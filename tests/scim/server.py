"""scim2-server (https://pypi.org/project/scim2-server/): SCIM 2.0 in memory, one tenant a test."""

import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from svcctl.hooks.testing.server import Server, running

TOKEN = "a-bearer-token-for-tests"
_numbers = itertools.count(1)


@contextmanager
def scim2_server() -> Iterator[Server]:
    """The server on a free port. Each of its tenants (`fresh_base`) has data of its own."""

    def configure(folder: Path, port: int) -> list[str]:
        program = [sys.executable, "-m", "scim2_server.testserver.cli"]
        return [*program, "--port", str(port), "--dynamic-tenants", "--bearer-token", TOKEN]

    def ready(port: int) -> bool:
        url = f"http://127.0.0.1:{port}/ready/v2/ServiceProviderConfig"
        return requests.get(url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=5).ok

    with running(configure, ready) as server:
        yield server


def fresh_base() -> str:
    """The path of a tenant that nobody has used yet: `/tenant-4711-1/v2`."""
    return f"/tenant-{os.getpid()}-{next(_numbers)}/v2"
