"""The wire between a manager and a server that does not speak HTTP."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from svcctl.hooks.testing import Wire, WireFaults, wired


class Lines(socketserver.StreamRequestHandler):
    """Answers each line in capitals, and keeps it."""

    kept: list[bytes]

    def handle(self) -> None:
        for line in self.rfile:
            self.kept.append(line)
            self.wfile.write(line.upper())


@pytest.fixture
def kept() -> list[bytes]:
    return []


@pytest.fixture
def wire(kept: list[bytes]) -> Iterator[Wire]:
    handler = type("Handler", (Lines,), {"kept": kept})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            with wired(server.server_address[1]) as wire:
                yield wire
        finally:
            server.shutdown()
            serving.join()


Ask = Callable[[bytes], bytes]


@contextmanager
def connected(wire: Wire) -> Iterator[Ask]:
    with socket.create_connection(("127.0.0.1", wire.port), 5) as connection:
        connection.settimeout(0.3)

        def ask(line: bytes) -> bytes:
            connection.sendall(line + b"\n")
            return connection.recv(1000)

        yield ask


@pytest.fixture
def ask(wire: Wire) -> Iterator[Ask]:
    with connected(wire) as ask:
        yield ask


def once(wire: Wire, line: bytes) -> bytes:
    """By a connection of its own."""
    with connected(wire) as ask:
        return ask(line)


def test_what_is_said_gets_through(ask: Ask, kept: list[bytes]) -> None:
    assert [ask(b"one"), ask(b"two")] == [b"ONE\n", b"TWO\n"]
    assert kept == [b"one\n", b"two\n"]


@pytest.mark.parametrize(
    ("kind", "error", "done"),
    [
        ("refused", ConnectionResetError, []),
        ("timeout", TimeoutError, []),
        ("lost", ConnectionResetError, [b"two\n"]),
    ],
)
def test_from_the_nth_exchange_on_it_is_broken(
    wire: Wire,
    ask: Ask,
    kept: list[bytes],
    kind: str,
    error: type[Exception],
    done: list[bytes],
) -> None:
    with WireFaults(wire).strike(kind, 2) as strike:
        assert ask(b"one") == b"ONE\n"
        assert not strike.happened
        with pytest.raises(error):
            ask(b"two")
        assert strike.happened
        with pytest.raises(OSError, match=r"refused|reset|timed out"):
            once(wire, b"three")
    assert kept[:2] == [b"one\n", *done]
    assert once(wire, b"four") == b"FOUR\n"


def test_an_answer_may_be_half_or_none(wire: Wire, ask: Ask, kept: list[bytes]) -> None:
    with WireFaults(wire).strike("cut"):
        assert ask(b"four") == b"FO"
    assert kept == [b"four\n"]
    with WireFaults(wire).strike("malformed"):
        assert b"nobody speaks like this" in once(wire, b"five")
    assert kept == [b"four\n"]


def test_a_fault_that_nobody_comes_to_has_not_happened(wire: Wire, ask: Ask) -> None:
    with WireFaults(wire).strike("lost", 2) as strike:
        assert ask(b"one") == b"ONE\n"
    assert not strike.happened
    assert ask(b"two") == b"TWO\n"
