"""What goes wrong between svcctl and a server, thrown for by dice that a seed repeats."""

import asyncio
import random
import re
from collections import Counter
from dataclasses import dataclass, field

from svcctl.hooks.testing import proxy as http
from svcctl.hooks.testing.faults import without_last
from svcctl.hooks.testing.proxy import Proxy
from svcctl.hooks.testing.relay import Gone
from tests.support import ldap_proxy as ldap
from tests.support.ldap_proxy import LdapProxy

DELAY = 0.02
_PAGE = b"<!DOCTYPE html><title>Log in</title><form method=post><input name=password></form>"
_HTTP_KINDS = {
    # what comes instead of the server: nothing was done
    "delay": 4,
    "drop": 6,
    "refuse": 1,
    "429": 2,
    "429 for long": 1,
    "500": 4,
    "502": 2,
    "503": 3,
    "401": 2,
    "403": 2,
    "404 page": 3,
    "login page": 3,
    "garbage": 3,
    "empty": 3,
    "null": 2,
    "hang": 1,
    # the server acts, and the client does not hear of it
    "lost": 10,
    "truncated": 8,
    "garbled": 6,
    "500 after": 4,
    "short": 8,
}
_LDAP_KINDS = {
    "delay": 4,
    "drop": 6,
    "refuse": 1,
    "busy": 4,
    "unavailable": 3,
    "other": 4,
    "denied": 3,
    "unwilling": 3,
    "size limit": 3,
    "time limit": 3,
    "garbage": 3,
    "hang": 1,
    "lost": 12,
    "truncated": 8,
    "garbled": 6,
    "half": 8,
}
_CODES = {
    "busy": 51,
    "unavailable": 52,
    "other": 80,
    "denied": 50,
    "unwilling": 53,
    "size limit": 4,
    "time limit": 3,
}


@dataclass
class Trouble:
    """How often something goes wrong, and what did.

    chance: of one exchange. struck: how often each kind has.
    """

    dice: random.Random
    chance: float = 0.0
    struck: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        return self.struck.total()

    def kind(self, kinds: dict[str, int]) -> str | None:
        """What happens to this exchange; None: nothing."""
        if self.dice.random() >= self.chance:
            return None
        kind = self.dice.choices(list(kinds), list(kinds.values()))[0]
        self.struck[kind] += 1
        return kind


def http_trouble(proxy: Proxy, trouble: Trouble) -> None:
    """From now on until `proxy.restore`, trouble strikes what goes through the proxy."""

    async def answer(_: http.Exchange, ask: http.Ask) -> bytes:
        match kind := trouble.kind(_HTTP_KINDS):
            case None:
                return await ask()
            case "delay":
                await asyncio.sleep(DELAY)
                return await ask()
            case "drop":
                raise Gone
            case "refuse":
                # Nobody listens for a moment.
                await proxy.close()
                asyncio.get_running_loop().call_later(DELAY, _reopen, proxy)
                raise Gone
            case "hang":
                await asyncio.sleep(3600)
                raise Gone
            case "lost":
                await ask()
                raise Gone
            case "truncated":
                whole = await ask()
                return whole[: max(1, len(whole) - 1 - trouble.dice.randrange(len(whole)))]
            case "garbled":
                await ask()
                return _http("200 OK", _PAGE)
            case "500 after":
                await ask()
                return _http("500 Internal Server Error", b"out of order")
            case "short":
                return _shortened(await ask())
        return _instead(kind)

    proxy.from_now(answer)


def _reopen(proxy: Proxy) -> None:
    task = asyncio.ensure_future(proxy._open())
    task.add_done_callback(lambda _: None)


def _instead(kind: str) -> bytes:
    match kind:
        case "429":
            return _http("429 Too Many Requests", b"", b"Retry-After: 0")
        case "429 for long":
            return _http("429 Too Many Requests", b"", b"Retry-After: 3600")
        case "404 page":
            return _http("404 Not Found", _PAGE)
        case "login page":
            return _http("200 OK", _PAGE)
        case "garbage":
            return b"\x7f\x00\xffnobody speaks like this\r\n\r\n"
        case "empty":
            return _http("200 OK", b"")
        case "null":
            return _http("200 OK", b"null", b"Content-Type: application/json")
        case "503":
            return _http("503 Service Unavailable", b"", b"Retry-After: 0")
    return _http(f"{kind} Error", b'{"detail": "out of order"}', b"Content-Type: application/json")


def _http(status: str, body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 " + status.encode(), b"Connection: close", *headers]
    lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


def _shortened(whole: bytes) -> bytes:
    """A listing without its last resource, as if there were one less on the page."""
    head, _, body = whole.partition(b"\r\n\r\n")
    body = without_last("Resources")(body)
    head = re.sub(rb"(?i)\r\ncontent-length:[^\r]*", b"", head)
    return b"\r\n".join([head, b"Content-Length: %d" % len(body), b"", body])


def _let_in(proxy: LdapProxy) -> None:
    proxy._open = True


def ldap_trouble(proxy: LdapProxy, trouble: Trouble) -> None:
    """The same for LDAP: result codes instead of statuses."""

    async def answer(exchange: ldap.Exchange, ask: ldap.Ask) -> list[bytes]:
        kind = trouble.kind(_LDAP_KINDS)
        match kind:
            case None:
                return await ask()
            case "delay":
                await asyncio.sleep(DELAY)
                return await ask()
            case "drop":
                raise ldap.Gone
            case "refuse":
                await proxy.cut()
                asyncio.get_running_loop().call_later(DELAY, _let_in, proxy)
                raise ldap.Gone
            case "hang":
                await asyncio.sleep(3600)
                raise ldap.Gone
            case "garbage":
                raise ldap.Gone(_http("400 Bad Request", b""))
            case "lost":
                await ask()
                raise ldap.Gone
            case "truncated":
                whole = b"".join(await ask())
                raise ldap.Gone(whole[: max(1, len(whole) - 3)])
            case "garbled":
                await ask()
                raise ldap.Gone(_http("400 Bad Request", b""))
            case "half":
                # Entries came, and then the server says that it cannot go on.
                pieces = await ask()
                kept = pieces[: trouble.dice.randrange(len(pieces))]
                return [*kept, ldap.result(exchange, _CODES["unavailable"])]
        return [ldap.result(exchange, _CODES[kind])]

    proxy.on(answer, for_good=True)
