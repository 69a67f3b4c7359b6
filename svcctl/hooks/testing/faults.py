"""What goes wrong between a manager and its service, on demand; and what a manager may say then."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

from svcctl.errors import Denied, Incomplete, Invalid, ManagerError, RateLimited, Transient
from svcctl.hooks.testing.proxy import Ask, Exchange, Proxy
from svcctl.hooks.testing.relay import Gone

UNKNOWN = (Transient, Incomplete)
KINDS: Mapping[str, tuple[type[ManagerError], ...]] = MappingProxyType(
    {
        "refused": UNKNOWN,
        "timeout": UNKNOWN,
        "error": UNKNOWN,
        "cut": UNKNOWN,
        "malformed": (*UNKNOWN, Denied),
        "limited": (RateLimited,),
        "denied": (Denied,),
        "missing": (*UNKNOWN, Denied, Invalid),
        "short": UNKNOWN,
        "lost": UNKNOWN,
        "garbled": UNKNOWN,
    }
)
"""Each kind of fault, and the errors that fit it. None of them is NotFound or Conflict.

refused: nobody listens. timeout: no answer comes. error: the service fails (HTTP 500). cut: the
answer ends in the middle. malformed: something else answers, such as a login page. limited: too
many calls (429). denied: the credentials are not taken any more (401). missing: the place itself
is not there, such as a folder that is not mounted. short: a listing shows less than there is.
lost: **it is done**, and no answer comes. garbled: **it is done**, and the answer says nothing.
"""
DONE = frozenset({"lost", "garbled"})
RETRY_AFTER = 3600.0
"""Seconds that a `limited` fault asks for."""


@dataclass(slots=True)
class Strike:
    """Whether a fault has struck."""

    happened: bool = False


class Faults:
    """Faults of one way to one service. Subclass it for a way that HttpFaults does not cover.

    kinds: those of KINDS that `strike` knows.
    """

    kinds: frozenset[str] = frozenset()

    @contextmanager
    def strike(self, kind: str, nth: int = 1) -> Iterator[Strike]:
        """In the block, the nth exchange with the service and every later one goes wrong.

        An exchange is whatever can fail by itself: a request, a statement, a file that is read.
        """
        raise NotImplementedError(f"{type(self).__name__}.strike: {kind} at {nth}")
        yield Strike()


def _http(status: str, body: str = "", *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Connection: close", *headers]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", body]).encode()


_PAGE = "<!DOCTYPE html><title>Log in</title><form method=post><input name=password></form>"
_HTML = "Content-Type: text/html"
_JSON = "Content-Type: application/json"
_ANSWERS: Mapping[str, bytes] = MappingProxyType(
    {
        "error": _http("500 Internal Server Error", "<h1>Internal Server Error</h1>", _HTML),
        "cut": _http("200 OK", '{"', _JSON, length=4711),
        "malformed": _http("200 OK", _PAGE, _HTML),
        "limited": _http("429 Too Many Requests", "", f"Retry-After: {RETRY_AFTER:.0f}"),
        "denied": _http("401 Unauthorized", "", 'WWW-Authenticate: Bearer realm="test"'),
        "garbled": _http("200 OK", _PAGE, _HTML),
    }
)


class HttpFaults(Faults):
    """Faults of HTTP, by a proxy before the service; the manager must be given the proxy's URL.

    short: makes a page of a listing shorter than it is, such as `without_last("items")`; without
    it short pages are not tested. Leave it out where a short page is how a listing ends.
    """

    def __init__(self, proxy: Proxy, *, short: Callable[[bytes], bytes] | None = None) -> None:
        self._proxy = proxy
        self._short = short
        kinds = {*_ANSWERS, "refused", "timeout", "lost"}
        self.kinds = frozenset(kinds | ({"short"} if short else set()))

    @contextmanager
    def strike(self, kind: str, nth: int = 1) -> Iterator[Strike]:
        strike = Strike()

        async def answer(_: Exchange, ask: Ask) -> bytes:
            if kind == "short":
                return await self._shortened(strike, ask)
            strike.happened = True
            if kind in DONE:
                await ask()
            if kind == "refused":
                await self._proxy.close()
            if kind == "timeout":
                await asyncio.sleep(3600)
            if kind in _ANSWERS:
                return _ANSWERS[kind]
            raise Gone

        self._proxy.from_now(answer, nth)
        try:
            yield strike
        finally:
            self._proxy.restore()

    async def _shortened(self, strike: Strike, ask: Ask) -> bytes:
        whole = await ask()
        head, _, body = whole.partition(b"\r\n\r\n")
        short = self._short(body) if self._short else body
        strike.happened = strike.happened or short != body
        head = re.sub(rb"(?i)\r\ncontent-length:[^\r]*", b"", head)
        length = b"Connection: close\r\nContent-Length: %d" % len(short)
        return b"\r\n".join([head, length, b"", short])


def without_last(key: str | None = None) -> Callable[[bytes], bytes]:
    """For `short`: JSON without the last item of the list under `key`, or of a list that it is.

    Whatever has no such list is left as it is.
    """

    def shorten(body: bytes) -> bytes:
        try:
            document = json.loads(body)
        except ValueError:
            return body
        items = document.get(key) if key and isinstance(document, dict) else document
        if not isinstance(items, list) or not items:
            return body
        items.pop()
        return json.dumps(document).encode()

    return shorten
