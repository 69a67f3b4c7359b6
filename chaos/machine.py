"""What can be wrong with the machine: a full disk, one that takes no writes, a lock, the clock."""

import os
import select
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from chaos.moments import die
from chaos.processes import in_turn, run
from chaos.verdict import Line
from svcctl import clock
from svcctl.errors import ExitCode
from svcctl.store.database import Database

FILLER = "filler"
FAILED, USAGE = int(ExitCode.FAILED), int(ExitCode.USAGE)
DATABASE, LATER = int(ExitCode.DATABASE), int(ExitCode.TRY_LATER)


def can_mount() -> bool:
    return os.geteuid() == 0 and _ran("mount", "--version")


def _ran(*words: str) -> bool:
    done = subprocess.run(words, capture_output=True, check=False)
    return done.returncode == 0


class Trouble:
    """One kind of it, from the chosen moment to the end of the command; over when that has ended.

    `codes`: the exit codes with which a command may end because of it.
    """

    name = ""
    codes = frozenset({DATABASE, LATER})
    needs_mounts = False

    @contextmanager
    def ground(self, folder: Path) -> Iterator[Path]:
        """The place where the site is to lie."""
        folder.mkdir(parents=True)
        yield folder

    def prepare(self, folder: Path) -> Callable[[], None]:
        """Called before the command begins; what comes back is called in it, at the moment."""
        raise NotImplementedError

    def first(self) -> None:
        """Called in the command's process when it begins."""

    def afterwards(self, folder: Path, line: Line) -> list[str]:
        """Called when the command has ended: what is wrong then, in words."""
        return []

    def over(self, folder: Path) -> None:
        """The machine is in order again."""


class Full(Trouble):
    """A small file system of its own, in which somebody else takes every byte that is free."""

    name = "disk full"
    needs_mounts = True
    # The services' files are on it, too: then an operation fails.
    codes = frozenset({DATABASE, LATER, FAILED})

    @contextmanager
    def ground(self, folder: Path) -> Iterator[Path]:
        folder.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "chaos", folder], check=True)
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", folder], check=True)

    def prepare(self, folder: Path) -> Callable[[], None]:
        def fill() -> None:
            with open(folder / FILLER, "wb", buffering=0) as file:  # noqa: PTH123
                for size in (65536, 4096):
                    try:
                        while file.write(bytes(size)) == size:
                            pass
                    except OSError:
                        continue

        return fill

    def over(self, folder: Path) -> None:
        (folder / FILLER).unlink(missing_ok=True)


class ReadOnly(Trouble):
    """Killed at the moment; then the disk takes no writes, and somebody runs it again and looks."""

    name = "disk read-only"
    needs_mounts = True
    codes = frozenset({-signal.SIGKILL})
    looks = (
        ("history",),
        ("users", "list"),
        ("accounts", "list"),
        ("db", "check"),
        ("why", "user1"),
    )

    def prepare(self, folder: Path) -> Callable[[], None]:
        return die

    def afterwards(self, folder: Path, line: Line) -> list[str]:
        subprocess.run(["mount", "--bind", folder, folder], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
            again = run(folder, *line)
            looked = in_turn(folder, self.looks)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)
        wrong = [f"{one}: {one.wrong}" for one in (again, *looked) if one.wrong]
        if again.code not in (0, FAILED, DATABASE, USAGE):
            wrong.append(str(again))
        return wrong


class Locked(Trouble):
    """Another program begins to write to the database, and takes longer than svcctl waits."""

    name = "database locked"

    def __init__(self) -> None:
        self._holder = 0

    def first(self) -> None:
        defaults = Database.__init__.__kwdefaults__
        assert defaults is not None
        defaults["busy"] = 0.2

    def prepare(self, folder: Path) -> Callable[[], None]:
        wake, waker = os.pipe()
        held, holding = os.pipe()
        self._holder = os.fork()
        if not self._holder:
            try:
                os.close(waker)
                if os.read(wake, 1):
                    other = sqlite3.connect(folder / "svcctl.db", timeout=60, isolation_level=None)
                    other.execute("BEGIN IMMEDIATE")
                    os.write(holding, b"x")
                    while True:
                        time.sleep(60)
            finally:
                os._exit(0)
        self._pipes = (wake, waker, held, holding)

        def lock() -> None:
            os.write(waker, b"x")
            # Where svcctl has the lock itself at this moment, the other one has it next.
            select.select([held], [], [], 0.3)

        return lock

    def over(self, folder: Path) -> None:
        os.kill(self._holder, signal.SIGKILL)
        os.waitpid(self._holder, 0)
        for pipe in self._pipes:
            os.close(pipe)


@dataclass
class Clock(Trouble):
    """From the moment on the clock is wrong by so much; the next command has the right time."""

    by: timedelta
    name: str
    codes = frozenset({0})

    def prepare(self, folder: Path) -> Callable[[], None]:
        def shift() -> None:
            by = self.by

            class Wrong(datetime):
                @classmethod
                def now(cls, tz: Any = None) -> "Wrong":
                    return super().now(UTC) + by

            vars(clock)["datetime"] = Wrong

        return shift


TROUBLES: list[Callable[[], Trouble]] = [
    Full,
    ReadOnly,
    Locked,
    lambda: Clock(timedelta(days=-2), "clock two days back"),
    lambda: Clock(timedelta(days=366), "clock a year ahead"),
]
