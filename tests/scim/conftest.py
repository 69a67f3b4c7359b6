"""`idp`: a SCIM server behind a proxy, empty for each test."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from svcctl.hooks.testing.proxy import Proxy, proxied
from svcctl.hooks.testing.server import Server
from tests.scim.remote import Remote
from tests.scim.server import TOKEN, fresh_base, scim2_server


@dataclass(frozen=True)
class Idp:
    """base: the URL for svcctl, through the proxy. remote: past it, so that its log is svcctl's."""

    base: str
    token: str
    proxy: Proxy
    remote: Remote


@pytest.fixture(scope="session")
def scim2() -> Iterator[Server]:
    with scim2_server() as server:
        yield server


@pytest.fixture
def idp(scim2: Server) -> Iterator[Idp]:
    base = fresh_base()
    with proxied(scim2.port) as proxy:
        yield Idp(proxy.url + base, TOKEN, proxy, Remote(scim2.url + base, TOKEN))
