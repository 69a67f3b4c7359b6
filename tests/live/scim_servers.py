"""Three SCIM servers that agree on little, and what each of them cannot do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from svcctl.hooks.testing.proxy import Proxy, proxied
from svcctl.hooks.testing.server import running
from tests.live.environments import SERVERS
from tests.scim.remote import Remote
from tests.scim.server import TOKEN, scim2_server

SECRET = "a-client-secret-for-tests"


@dataclass(frozen=True)
class Idp:
    """A running server.

    base: the URL for svcctl, through the proxy. remote: past it, so that its log is svcctl's alone.
    names: whether the displayName of a user can be changed. settings: what svcctl has to be told.
    """

    name: str
    base: str
    token: str
    proxy: Proxy
    remote: Remote
    names: bool = True
    settings: str = ""


Environment = Callable[[str], Path]


@contextmanager
def scim2(_: Environment) -> Iterator[Idp]:
    with scim2_server() as server, proxied(server.port) as proxy:
        base = "/live/v2"
        remote = Remote(server.url + base, TOKEN)
        yield Idp("scim2-server", proxy.url + base, TOKEN, proxy, remote)


@contextmanager
def canaille(environment: Environment) -> Iterator[Idp]:
    """Its bearer token is an access token, fetched with OAuth client credentials."""
    python = environment("canaille")
    with proxied(0) as proxy:

        def configure(_: Path, port: int) -> list[str]:
            program = str(SERVERS / "canaille" / "run.py")
            return [str(python), program, str(port), str(proxy.port), SECRET]

        # Whoever addresses it otherwise than its configuration says is answered with 400.
        host = f"127.0.0.1:{proxy.port}"
        with running(configure, lambda port: bool(_token(port, host)), patience=60) as server:
            proxy.upstream = server.port
            token, base = _token(server.port, host), "/scim/v2"
            remote = Remote(server.url + base, token, host, by_name=True)
            settings = "external_ids = false"
            yield Idp("canaille", proxy.url + base, token, proxy, remote, settings=settings)


def _token(port: int, host: str) -> str:
    grant = {"grant_type": "client_credentials", "scope": "profile groups"}
    url = f"http://127.0.0.1:{port}/oauth/token"
    client, headers = ("svcctl", SECRET), {"Host": host}
    answer = requests.post(url, grant, auth=client, headers=headers, timeout=20)
    return str(answer.json()["access_token"])


@contextmanager
def django_scim2(environment: Environment) -> Iterator[Idp]:
    python = environment("django_scim2")
    with proxied(0) as proxy:

        def configure(_: Path, port: int) -> list[str]:
            program = str(SERVERS / "django_scim2" / "run.py")
            return [str(python), program, str(port), str(proxy.port), TOKEN]

        def ready(port: int) -> bool:
            url = f"http://127.0.0.1:{port}/scim/v2/Users"
            return requests.get(url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=20).ok

        with running(configure, ready) as server:
            proxy.upstream = server.port
            base = "/scim/v2"
            remote = Remote(server.url + base, TOKEN, lists=True)
            # Its own adapter makes displayName of first and last name.
            yield Idp("django-scim2", proxy.url + base, TOKEN, proxy, remote, names=False)


STARTS = {"scim2-server": scim2, "canaille": canaille, "django-scim2": django_scim2}
