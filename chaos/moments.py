"""The moments at which something can happen to svcctl, and what happens at one of them.

Before and after each commit; before and after each call of a service; before and after a file is
put in the place of another.
"""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

from svcctl.hooks.htpasswd import HtpasswdManager
from svcctl.hooks.manager import READS, VERBS, Manager
from svcctl.hooks.sandbox import SandboxManager

MANAGERS = (SandboxManager, HtpasswdManager)


class Moments:
    """Counts them into a file, one line each, and does `act` at the one of this number."""

    def __init__(
        self, log: Path, number: int | None = None, act: Callable[[], None] | None = None
    ) -> None:
        self._log = log
        self._number = number
        self._act = act or die
        self._passed = 0
        self._lock = threading.Lock()

    def watch(self) -> None:
        """From here on, in this process."""
        self._file = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._wrap(DefaultDialect, "do_commit", "a commit")
        self._wrap(os, "replace", "a file is replaced")
        for manager in MANAGERS:
            for name in READS | VERBS:
                if getattr(manager, name) is not getattr(Manager, name):
                    self._wrap(manager, name, name)

    def pass_by(self, what: str) -> None:
        with self._lock:
            self._passed += 1
            os.write(self._file, f"{what}\n".encode())
            if self._passed == self._number:
                self._act()

    def _wrap(self, owner: Any, name: str, what: str) -> None:
        call = getattr(owner, name)

        @wraps(call)
        def wrapped(*arguments: Any, **named: Any) -> Any:
            self.pass_by(f"before {what}")
            answer = call(*arguments, **named)
            if isinstance(answer, Iterator):
                return self._listed(answer, what)
            self.pass_by(f"after {what}")
            return answer

        setattr(owner, name, wrapped)

    def _listed(self, answer: Iterator[Any], what: str) -> Iterator[Any]:
        yield from answer
        self.pass_by(f"after {what}")


class Jitter(Moments):
    """Held up at random, at first for `pause` seconds; the same seed, the same chance."""

    def __init__(
        self,
        log: Path,
        number: int | None,
        act: Callable[[], None],
        *,
        seed: int,
        pause: float,
    ) -> None:
        super().__init__(log, number, act)
        self._chance = random.Random(seed)
        self._pause = pause

    def watch(self) -> None:
        super().watch()
        time.sleep(self._pause)

    def pass_by(self, what: str) -> None:
        super().pass_by(what)
        with self._lock:
            pause = self._chance.random() * 0.03 if self._chance.random() < 0.15 else 0
        time.sleep(pause)


def die() -> None:
    """As by `kill -9`, or because the power is gone."""
    os.kill(os.getpid(), signal.SIGKILL)
    while True:
        time.sleep(1)


def counted(log: Path) -> list[str]:
    """The moments that a process passed by."""
    return log.read_text().splitlines() if log.exists() else []
