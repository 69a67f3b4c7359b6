"""Running a program: a request in, an answer out, bounded in time and size, nothing left behind."""

import os
import selectors
import signal
import stat
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from svcctl.errors import Denied, Invalid, Transient

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL; also what a closed program's children may still write."""
_PIECE = 65536
_NOISE = 65536
_TICK = 0.2


@dataclass(frozen=True, slots=True)
class Done:
    """How a program ended: exit code, negative for a signal, and what it wrote."""

    code: int
    stdout: bytes
    stderr: bytes
    """The end of it, at most 64 KiB."""


def run(
    program: Path,
    arguments: Sequence[str],
    request: bytes,
    *,
    environment: Mapping[str, str],
    seconds: float,
    largest: int,
) -> Done:
    """Run it in a process group of its own, which has ended when this returns or raises.

    seconds: how long it may take. largest: bytes that it may write to stdout. No thread is started.
    Raises Invalid and Denied where it cannot be run, Transient where it took too long or wrote too
    much: nobody knows then what it did.
    """
    process = _started(program, arguments, environment)
    try:
        return _attended(process, program, request, seconds, largest)
    finally:
        _end(process)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


def _started(
    program: Path, arguments: Sequence[str], environment: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    try:
        if program.stat().st_mode & stat.S_IWOTH:
            raise Denied(f"{program}: can be changed by everybody", hint=f"chmod o-w {program}")
        return subprocess.Popen(
            [str(program), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=program.parent,
            env=dict(environment),
            start_new_session=True,
            bufsize=0,
        )
    except OSError as error:
        raise Invalid(
            f"{program}: cannot be run: {(error.strerror or str(error)).lower()}",
            hint="it must be there, executable, and begin with #! and its interpreter",
        ) from None


def _attended(
    process: "subprocess.Popen[bytes]", program: Path, request: bytes, seconds: float, largest: int
) -> Done:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    deadline = time.monotonic() + seconds
    written: dict[IO[bytes], bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
    waiting = memoryview(request)
    ended: float | None = None
    with selectors.DefaultSelector() as selector:
        for pipe in (process.stdin, *written):
            os.set_blocking(pipe.fileno(), False)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        for pipe in written:
            selector.register(pipe, selectors.EVENT_READ)
        while any(pipe in selector.get_map() for pipe in written):
            left = deadline - time.monotonic()
            if left <= 0:
                raise Transient(
                    f"{program}: no answer within {seconds:g} s, ended",
                    hint="timeout allows more",
                )
            for key, _ in selector.select(min(left, _TICK)):
                if key.fileobj is process.stdin:
                    waiting = _written(process.stdin, waiting)
                    if not waiting:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                    continue
                pipe = process.stdout if key.fileobj is process.stdout else process.stderr
                piece = os.read(pipe.fileno(), _PIECE)
                written[pipe] += piece
                if not piece:
                    selector.unregister(pipe)
            del written[process.stderr][:-_NOISE]
            if len(written[process.stdout]) > largest:
                raise Transient(
                    f"{program}: wrote more than {largest:,} bytes, ended",
                    hint="largest_answer allows more",
                )
            # Its own children may keep the pipes open for ever.
            if ended is None and _has_ended(process):
                ended = time.monotonic()
            if ended is not None and time.monotonic() > ended + GRACE:
                break
    while not _has_ended(process):
        if time.monotonic() > deadline:
            raise Transient(f"{program}: did not end within {seconds:g} s, ended")
        time.sleep(0.01)
    _end(process)
    return Done(process.returncode, bytes(written[process.stdout]), bytes(written[process.stderr]))


def _written(stdin: IO[bytes], waiting: memoryview) -> memoryview:
    """What is still to be written; nothing for a program that reads no further."""
    try:
        return waiting[os.write(stdin.fileno(), waiting[:_PIECE]) :]
    except BrokenPipeError:
        return waiting[:0]


def _has_ended(process: "subprocess.Popen[bytes]") -> bool:
    """It stays a zombie, so that its group's number cannot become another's."""
    if process.returncode is not None:
        return True
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the whole group, the program first politely, and take its exit code."""
    if process.returncode is not None:
        return
    if not _has_ended(process):
        _signal(process, signal.SIGTERM)
        patience = time.monotonic() + GRACE
        while not _has_ended(process) and time.monotonic() < patience:
            time.sleep(0.01)
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
