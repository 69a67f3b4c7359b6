"""One command line, killed at every moment that matters, each time in a copy of the same folder.

`python killed.py FOLDER COPIES ARGUMENT…` prints one JSON line per kill: the copy and the moment.
Moments are: before and after each commit, and after each step of a pipeline.
"""

import itertools
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from svcctl.cli import main
from svcctl.pipeline import engine


class Moments:
    """Counts, and ends the process at the one that was chosen."""

    def __init__(self, last: int, pipe: int) -> None:
        self._last = last
        self._pipe = pipe
        self._number = 0

    def pass_by(self, what: str) -> None:
        self._number += 1
        if self._number == self._last:
            os.write(self._pipe, what.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        committed = []

        def before(_connection: Any) -> None:
            self.pass_by("before a commit")
            committed.append(True)

        def after(_dbapi: Any, _record: Any) -> None:
            if committed:
                committed.clear()
                self.pass_by("after a commit")

        event.listen(Engine, "commit", before)
        event.listen(Engine, "checkin", after)
        asked = itertools.count()

        def clock() -> float:
            if next(asked) % 2:  # the engine looks at it before and after each step
                self.pass_by("after a step")
            return time.perf_counter()

        vars(engine)["perf_counter"] = clock


def killed_at(number: int, folder: Path, copy: Path, arguments: list[str]) -> str | None:
    """The moment, None when the command ended before it came."""
    shutil.copytree(folder, copy)
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        os.chdir(copy)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        Moments(number, theirs).watch()
        os._exit(main(["--config", "svcctl.toml", *arguments]))
    os.close(theirs)
    _, status = os.waitpid(child, 0)
    with os.fdopen(ours) as pipe:
        moment = pipe.read()
    return moment if os.WIFSIGNALED(status) else None


def run(folder: Path, copies: Path, arguments: list[str]) -> None:
    for number in range(1, 1000):
        copy = copies / str(number)
        moment = killed_at(number, folder, copy, arguments)
        print(json.dumps({"copy": str(copy), "moment": moment}), flush=True)  # noqa: T201
        if moment is None:
            return


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
