"""What stands between a manager and a server and passes on what they say, or does not."""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from svcctl.tripwire import allowed

LARGEST_HEAD = 65536


class Gone(Exception):
    """The client gets no answer."""


@dataclass
class Relay:
    """Listens on a port of this machine, in a thread of its own; `serve` says what happens then.

    upstream: the port of the server.
    """

    upstream: int
    port: int = field(default=0, kw_only=True)
    resets: bool = field(default=False, kw_only=True)
    _clients: set[asyncio.StreamWriter] = field(default_factory=set, kw_only=True)
    _tasks: set[Any] = field(default_factory=set, kw_only=True)
    _server: asyncio.Server | None = field(default=None, kw_only=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """One connection. Raises Gone where it is to end by a reset."""
        raise NotImplementedError

    def cut(self, *, resets: bool = False) -> None:
        """Nobody gets through until `restore`: connections are refused, or reset once made."""
        self.run(self._cut(resets=resets))

    async def close(self) -> None:
        """The same as `cut`, from inside `serve`."""
        await self._cut(resets=False)

    def restore(self) -> None:
        """As it was before."""
        self.run(self._open())

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it in the thread of the relay, and wait for it."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def __enter__(self) -> Self:
        self._held = _bound(0)
        self.port = self._held.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._work, name="relay", daemon=True)
        self._thread.start()
        self.run(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._held.close()

    def _work(self) -> None:
        # The tripwire watches all threads; this one is no part of svcctl.
        with allowed():
            asyncio.set_event_loop(self._loop)
            self._loop.run_forever()

    async def _open(self) -> None:
        self.resets = False
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accept, sock=_bound(self.port), limit=LARGEST_HEAD
            )

    def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        # Known before its task first runs: one that is cancelled earlier closes nothing.
        self._clients.add(client)
        # asyncio itself forgets the task of a connection that was reset.
        task = self._loop.create_task(self._served(reader, client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _cut(self, *, resets: bool) -> None:
        self.resets = resets
        if not resets and self._server is not None:
            # asyncio leaks a connection that it accepted just before its server was closed: let it
            # take no more, and finish with those that it has.
            for listening in self._server.sockets:
                self._loop.remove_reader(listening.fileno())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self._server.close()
            self._server = None
        for client in self._clients:
            _reset(client)

    async def _end(self) -> None:
        await self._cut(resets=False)
        # One that is accepted meanwhile makes a new task.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
        for client in self._clients:
            _reset(client)
        await asyncio.sleep(0)

    async def _served(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            await self.serve(reader, client)
            if self.resets:
                _reset(client)
        except (Gone, OSError, asyncio.CancelledError, asyncio.LimitOverrunError):
            _reset(client)
        finally:
            self._clients.discard(client)
            client.close()


def _bound(port: int) -> socket.socket:
    """Two may share the port: one keeps it from other programs while the other is closed."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def _reset(client: asyncio.StreamWriter) -> None:
    """End it by a reset, as a machine does that has lost its memory of the connection."""
    with suppress(OSError):
        raw = client.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.transport.abort()
