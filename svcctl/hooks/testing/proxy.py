"""What stands between svcctl and a server in a test: it keeps a log, and can be in the way."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from svcctl.hooks.testing.relay import Gone, Relay


class Limit(Protocol):
    """A rate limit that stands before the server."""

    def refusal(self) -> bytes | None:
        """The whole answer to a request that came too early; None if it may pass."""


@dataclass
class Exchange:
    """One request.

    status: what the server answered; None if it was never asked.
    told: what the client was told; None if it got no answer.
    """

    method: str
    path: str
    body: bytes
    status: int | None = None
    told: int | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def acted(self) -> bool:
        """Whether the server took over what was to be written."""
        return self.method != "GET" and self.status is not None and self.status < 400

    def __str__(self) -> str:
        return f"{self.method} {self.path} -> {self.status} (told {self.told})"


Ask = Callable[[], Awaitable[bytes]]
Answer = Callable[[Exchange, Ask], Awaitable[bytes]]
"""What the client is told, as a whole HTTP answer: asks the server or not. Raises Gone."""


@dataclass
class _Fault:
    method: str
    path: str
    nth: int
    strike: Answer
    last: bool = False
    lasts: bool = False

    def due(self, exchange: Exchange) -> bool:
        if not (re.fullmatch(self.method, exchange.method) and re.search(self.path, exchange.path)):
            return False
        self.nth -= 1
        return self.nth == 0 or (self.lasts and self.nth < 0)


@dataclass
class Proxy(Relay):
    """HTTP/1.1 with connections that stay open, to a server on a port of this machine.

    log: all requests so far, in the order in which they came. delay: seconds before each is passed
    on. limit: a rate limit that the server itself does not have.
    Faults strike once, at the nth request from now whose method and path match; those of
    `from_now` strike until `restore`.
    """

    upstream: int
    delay: float = 0
    limit: Limit | None = None
    log: list[Exchange] = field(default_factory=list)
    _faults: list[_Fault] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def writes(self) -> list[Exchange]:
        """What the server was asked to change."""
        return [one for one in self.log if one.method != "GET" and one.status is not None]

    # What a test can do

    def restore(self) -> None:
        self._faults[:] = [fault for fault in self._faults if not fault.lasts]
        super().restore()

    def from_now(self, answer: Answer, nth: int = 1) -> None:
        """Answer so from the nth request on, until `restore`; each answer ends its connection."""
        self._faults.append(_Fault(".*", "", nth, answer, last=True, lasts=True))

    def cut_at(self, method: str = ".*", path: str = "", nth: int = 1) -> None:
        """Be cut when such a request comes: the server never sees it."""

        async def strike(_: Exchange, __: Ask) -> bytes:
            await self.close()
            raise Gone

        self._faults.append(_Fault(method, path, nth, strike))

    def lose(self, method: str = ".*", path: str = "", nth: int = 1) -> None:
        """The server acts, and its answer is lost."""

        async def strike(_: Exchange, ask: Ask) -> bytes:
            await ask()
            raise Gone

        self._faults.append(_Fault(method, path, nth, strike))

    def lose_and_cut(self, method: str = ".*", path: str = "", nth: int = 1) -> None:
        """The server acts, its answer is lost, and so is the connection until `restore`."""

        async def strike(_: Exchange, ask: Ask) -> bytes:
            await ask()
            await self.close()
            raise Gone

        self._faults.append(_Fault(method, path, nth, strike))

    def answer(self, raw: bytes, method: str = ".*", path: str = "", nth: int = 1) -> None:
        """Say so instead of the server, which is not asked; the connection ends with it."""
        # Announced, or the next request may be sent into the connection while it ends.
        announced = re.sub(rb"^HTTP/1.*\r\n", rb"\g<0>Connection: close\r\n", raw)

        async def strike(_: Exchange, __: Ask) -> bytes:
            return announced

        self._faults.append(_Fault(method, path, nth, strike, last=True))

    def reset(self) -> None:
        """Transparent, with an empty log: as for the first test."""
        self.delay, self.limit = 0, None
        self.restore()
        self._faults.clear()
        self.log.clear()

    # How it is done

    async def serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while not self.resets and (asked := await _read(reader)) is not None:
            exchange, answer, last = await self._answered(*asked)
            if client.is_closing():
                break
            exchange.told = _status(answer)
            client.write(answer)
            await client.drain()
            if last:
                break

    async def _answered(self, head: bytes, body: bytes) -> tuple[Exchange, bytes, bool]:
        """What the client is to be told, and whether its connection ends with it."""
        method, path, _ = head.partition(b"\r\n")[0].decode("ascii").split(" ")
        exchange = Exchange(method, path, body)
        self.log.append(exchange)

        async def ask() -> bytes:
            answer = await _forwarded(self.upstream, head, body)
            exchange.status = _status(answer)
            return answer

        # Every fault sees every request: each counts its own.
        due = [fault for fault in self._faults if fault.due(exchange)]
        if self.delay:
            await asyncio.sleep(self.delay)
        last = b"\r\nconnection: close" in head.lower()
        if due:
            if not due[0].lasts:
                self._faults.remove(due[0])
            answer = await due[0].strike(exchange, ask)
            last = last or due[0].last
        else:
            answer = (self.limit and self.limit.refusal()) or await ask()
        return exchange, answer, last


async def _read(reader: asyncio.StreamReader) -> tuple[bytes, bytes] | None:
    """The next request of a connection; None when there is none."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        return head, await reader.readexactly(int(length[1]) if length else 0)
    except asyncio.IncompleteReadError:
        return None


async def _forwarded(port: int, head: bytes, body: bytes) -> bytes:
    """What the server says, made to fit a connection that stays open."""
    reader, server = await asyncio.open_connection("127.0.0.1", port)
    try:
        # In HTTP/1.0 the end of the connection is the end of the answer.
        first, _, rest = head.partition(b"\r\n")
        rest = re.sub(rb"(?im)^(connection|keep-alive):.*\r\n", b"", rest)
        server.write(first.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\nConnection: close\r\n" + rest)
        server.write(body)
        await server.drain()
        answer = await reader.read(-1)
    finally:
        server.close()
        with suppress(OSError):
            await server.wait_closed()
    if not answer:
        raise Gone
    head, _, body = answer.partition(b"\r\n\r\n")
    first, _, rest = head.partition(b"\r\n")
    rest = re.sub(rb"(?im)^(connection|keep-alive|content-length):.*(\r\n|\Z)", b"", rest + b"\r\n")
    if _status(answer) not in (204, 304):
        rest += b"Content-Length: %d\r\n" % len(body)
    return b"HTTP/1.1 " + first.partition(b" ")[2] + b"\r\n" + rest + b"\r\n" + body


def _status(answer: bytes) -> int | None:
    found = re.match(rb"HTTP/1\.\d (\d\d\d)", answer)
    return int(found[1]) if found else None


@contextmanager
def proxied(upstream: int) -> Iterator[Proxy]:
    """A proxy before the server on this port."""
    with Proxy(upstream) as proxy:
        yield proxy
