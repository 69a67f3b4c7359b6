"""Faults of LDAP, by a proxy before the server; the manager must be given the proxy's URL."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from svcctl.hooks.testing.faults import DONE, Faults, Strike
from tests.support.ldap_proxy import Ask, Exchange, Gone, LdapProxy, result

OTHER = 80
INVALID_CREDENTIALS = 49
INSUFFICIENT_ACCESS_RIGHTS = 50
HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


class LdapFaults(Faults):
    """An exchange is a request, the bind included. No server says how long it wants to be left."""

    kinds = frozenset(
        {"refused", "timeout", "error", "cut", "malformed", "denied", "lost", "garbled"}
    )

    def __init__(self, proxy: LdapProxy) -> None:
        self._proxy = proxy

    @contextmanager
    def strike(self, kind: str, nth: int = 1) -> Iterator[Strike]:
        strike = Strike()

        async def answer(exchange: Exchange, ask: Ask) -> list[bytes]:
            strike.happened = True
            match kind:
                case "error":
                    return [result(exchange, OTHER)]
                case "denied":
                    bound = exchange.kind != "bind"
                    code = INSUFFICIENT_ACCESS_RIGHTS if bound else INVALID_CREDENTIALS
                    return [result(exchange, code)]
                case "refused":
                    await self._proxy.cut()
                case "timeout":
                    await asyncio.sleep(3600)
                case "cut":
                    raise Gone(result(exchange, 0)[:-3])
                case "malformed":
                    raise Gone(HTTP)
            if kind in DONE:
                await ask()
            raise Gone(HTTP if kind == "garbled" else b"")

        self._proxy.on(answer, nth=nth, for_good=True)
        try:
            yield strike
        finally:
            self._proxy.restore()
