"""Faults of any protocol on TCP: bytes are passed on, until something happens to them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from svcctl.hooks.testing.faults import Faults, Strike
from svcctl.hooks.testing.relay import Gone, Relay

ANSWER_SECONDS = 2.0
"""How long a server that acts may take until it begins to answer."""
NOISE = b"\x7f\x00\xffnobody speaks like this\r\n\r\n" * 8


@dataclass
class Wire(Relay):
    """Passes on what a client and the server on a port of this machine say to each other."""

    kind: str = ""
    nth: int = 0
    struck: Strike | None = None

    async def serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        answers, server = await asyncio.open_connection("127.0.0.1", self.upstream)
        back = asyncio.ensure_future(_copied(answers, client))
        try:
            while said := await reader.read(65536):
                if self._due():
                    back.cancel()
                    with suppress(asyncio.CancelledError):
                        await back
                    await self._strike(said, client, answers, server)
                server.write(said)
                await server.drain()
        finally:
            back.cancel()
            server.close()

    def _due(self) -> bool:
        if self.struck is None:
            return False
        self.nth -= 1
        if self.nth > 0:
            return False
        self.struck.happened = True
        return True

    async def _strike(
        self,
        said: bytes,
        client: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> None:
        match self.kind:
            case "refused":
                await self.close()
            case "timeout":
                await asyncio.sleep(3600)
            case "malformed":
                client.write(NOISE)
                await client.drain()
                await asyncio.sleep(0.05)
            case _:
                server.write(said)
                await server.drain()
                with suppress(TimeoutError):
                    answer = await asyncio.wait_for(answers.read(65536), ANSWER_SECONDS)
                    if self.kind == "cut":
                        client.write(answer[: len(answer) // 2])
                        await client.drain()
                        await asyncio.sleep(0.05)
        raise Gone


async def _copied(answers: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while answer := await answers.read(65536):
            client.write(answer)
            await client.drain()
        client.close()


class WireFaults(Faults):
    """Faults of a TCP connection to a server on this machine, whatever is spoken there.

    The manager must be given `port`. An exchange is what the client sends at once.
    """

    kinds = frozenset({"refused", "timeout", "malformed", "cut", "lost"})

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    @contextmanager
    def strike(self, kind: str, nth: int = 1) -> Iterator[Strike]:
        wire, strike = self._wire, Strike()
        wire.kind, wire.nth, wire.struck = kind, nth, strike
        try:
            yield strike
        finally:
            wire.struck = None
            wire.restore()


@contextmanager
def wired(upstream: int) -> Iterator[Wire]:
    """A wire to the server on this port; its own is `port`."""
    with Wire(upstream) as wire:
        yield wire
