"""What stands between svcctl and a directory server in a test: it sees and spoils requests.

It reads LDAP as far as messages go (RFC 4511, 5.1), so the connection must not be encrypted.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from svcctl.tripwire import allowed

REQUESTS = {
    0x60: "bind",
    0x42: "unbind",
    0x63: "search",
    0x66: "modify",
    0x68: "add",
    0x4A: "delete",
    0x6C: "rename",
    0x77: "extended",
}
WRITES = frozenset({"modify", "add", "delete", "rename", "extended"})
_ANSWERS = {"bind": 0x61, "search": 0x65, "modify": 0x67, "add": 0x69, "delete": 0x6B}
_ANSWERS |= {"rename": 0x6D, "extended": 0x78}
_MORE = frozenset({0x64, 0x73, 0x79})
"""What comes before the end of an answer: entries, references, intermediate responses."""


@dataclass
class Exchange:
    """A request. code: the result that the server gave; None if it was never asked."""

    kind: str
    message: bytes
    code: int | None = None

    @property
    def acted(self) -> bool:
        """Whether the server took over what was to be written."""
        return self.kind in WRITES and self.code == 0


class Gone(Exception):
    """The client gets no answer, or only the beginning of one."""

    def __init__(self, last: bytes = b"") -> None:
        super().__init__()
        self.last = last


Ask = Callable[[], Awaitable[list[bytes]]]
Strike = Callable[[Exchange, Ask], Awaitable[list[bytes]]]


@dataclass
class _Fault:
    kinds: frozenset[str]
    nth: int
    strike: Strike
    for_good: bool

    def due(self, exchange: Exchange) -> bool:
        if exchange.kind not in self.kinds:
            return False
        self.nth -= 1
        return self.nth == 0 or (self.for_good and self.nth < 0)


@dataclass
class LdapProxy:
    """log: all requests so far. Faults strike at the nth request of these kinds from now on."""

    upstream: tuple[str, int]
    log: list[Exchange] = field(default_factory=list)
    port: int = 0
    _faults: list[_Fault] = field(default_factory=list)
    _open: bool = True
    _clients: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def writes(self) -> list[Exchange]:
        """What the server was asked to change."""
        return [one for one in self.log if one.kind in WRITES and one.code is not None]

    # What a test can do

    def on(self, strike: Strike, *kinds: str, nth: int = 1, for_good: bool = False) -> None:
        self._faults.append(_Fault(frozenset(kinds or _ANSWERS), nth, strike, for_good))

    def lose(self, *kinds: str, nth: int = 1) -> None:
        """The server acts, and its answer is lost."""

        async def strike(_: Exchange, ask: Ask) -> list[bytes]:
            await ask()
            raise Gone

        self.on(strike, *kinds, nth=nth)

    def cut_at(self, *kinds: str, nth: int = 1) -> None:
        """Nobody gets through from that request on, until `reset`."""

        async def strike(_: Exchange, __: Ask) -> list[bytes]:
            await self.cut()
            raise Gone

        self.on(strike, *kinds, nth=nth)

    def hang(self, *kinds: str, nth: int = 1) -> None:
        """No answer comes, and the connection stays."""

        async def strike(_: Exchange, __: Ask) -> list[bytes]:
            await asyncio.sleep(3600)
            raise Gone

        self.on(strike, *kinds, nth=nth)

    def answer(self, code: int, *kinds: str, nth: int = 1, for_good: bool = False) -> None:
        """This result instead of what the server would say; it is not asked."""

        async def strike(exchange: Exchange, __: Ask) -> list[bytes]:
            return [result(exchange, code)]

        self.on(strike, *kinds, nth=nth, for_good=for_good)

    def call(self, act: Callable[[], object], *kinds: str, nth: int = 1) -> None:
        """Do something before that request reaches the server."""

        async def strike(_: Exchange, ask: Ask) -> list[bytes]:
            await asyncio.get_running_loop().run_in_executor(None, act)
            return await ask()

        self.on(strike, *kinds, nth=nth)

    async def cut(self) -> None:
        self._open = False
        for client in self._clients:
            _reset(client)

    def drop(self) -> None:
        """End all connections; new ones get through."""
        self._run(self._drop())

    async def _drop(self) -> None:
        for client in self._clients:
            client.close()
        await asyncio.sleep(0.05)

    def reset(self) -> None:
        """Transparent, with an empty log: as for the first test."""
        self.restore()
        self.log.clear()

    def restore(self) -> None:
        """As it was before anything was spoiled."""
        self._faults.clear()
        self._open = True

    # How it is done

    def start(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._work, name="ldap-proxy", daemon=True)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _work(self) -> None:
        # The tripwire watches all threads; this one is no part of svcctl.
        with allowed():
            asyncio.set_event_loop(self._loop)
            self._loop.run_forever()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _end(self) -> None:
        self._server.close()
        await self.cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.01)  # closing takes a turn of the loop
        await self._loop.shutdown_default_executor()

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self._clients.add(client)
        server: asyncio.StreamWriter | None = None
        try:
            answers, server = await self._reach()
            while (message := await _message(reader)) is not None:
                for piece in await self._answered(message, answers, server):
                    client.write(piece)
                await client.drain()
        except Gone as gone:
            if gone.last:
                client.write(gone.last)
            else:
                _reset(client)
        except (OSError, asyncio.CancelledError):
            _reset(client)
        finally:
            self._clients.discard(client)
            for writer in filter(None, (client, server)):
                with suppress(OSError):
                    writer.close()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if not self._open:
            raise Gone
        return await asyncio.open_connection(*self.upstream)

    async def _answered(
        self, message: bytes, answers: asyncio.StreamReader, server: asyncio.StreamWriter
    ) -> list[bytes]:
        exchange = Exchange(REQUESTS.get(_tag(message), "other"), message)

        async def ask() -> list[bytes]:
            server.write(message)
            await server.drain()
            pieces: list[bytes] = []
            while not pieces or _tag(pieces[-1]) in _MORE:
                piece = await _message(answers)
                if piece is None:
                    raise Gone
                pieces.append(piece)
            exchange.code = _code(pieces[-1])
            return pieces

        if exchange.kind in ("unbind", "other"):
            server.write(message)
            return []
        self.log.append(exchange)
        due = [fault for fault in self._faults if fault.due(exchange)]
        if not due:
            return await ask()
        if not due[0].for_good:
            self._faults.remove(due[0])
        return await due[0].strike(exchange, ask)


def result(exchange: Exchange, code: int, said: str = "because a test wants it") -> bytes:
    """The end of an answer, with a result code."""
    text = said.encode()
    body = struct.pack("BBB", 0x0A, 1, code) + b"\x04\x00" + struct.pack("BB", 4, len(text)) + text
    op = struct.pack("BB", _ANSWERS[exchange.kind], len(body)) + body
    id_ = _field(exchange.message, _start(exchange.message))[0]
    return struct.pack("BB", 0x30, len(id_) + len(op)) + id_ + op


def _reset(client: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        raw = client.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.transport.abort()


async def _message(reader: asyncio.StreamReader) -> bytes | None:
    """One message; None at the end."""
    try:
        head = await reader.readexactly(2)
        length = head[1]
        if length & 0x80:
            more = await reader.readexactly(length & 0x7F)
            head, length = head + more, int.from_bytes(more, "big")
        return head + await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        return None


def _start(message: bytes) -> int:
    """Where the content of a BER element begins."""
    return 2 + (message[1] & 0x7F if message[1] & 0x80 else 0)


def _field(message: bytes, at: int) -> tuple[bytes, int]:
    """The element that begins there, and where the next one does."""
    rest = message[at:]
    length, start = rest[1], _start(rest)
    if length & 0x80:
        length = int.from_bytes(rest[2:start], "big")
    return rest[: start + length], at + start + length


def _operation(message: bytes) -> bytes:
    _, after = _field(message, _start(message))
    return _field(message, after)[0]


def _tag(message: bytes) -> int:
    return _operation(message)[0]


def _code(message: bytes) -> int:
    operation = _operation(message)
    return _field(operation, _start(operation))[0][-1]


@contextmanager
def ldap_proxied(host: str, port: int) -> Iterator[LdapProxy]:
    """A proxy before the server there."""
    proxy = LdapProxy((host, port))
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
