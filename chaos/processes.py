"""svcctl in processes of its own: forks of this one, which has imported everything."""

import importlib
import io
import json
import os
import pkgutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

import svcctl
from svcctl.cli import main

PATIENCE = 60.0
"""Seconds after which a command that has not ended hangs."""
_NOT_WANTED = ("svcctl.__main__", "svcctl.store.migrations", "svcctl.hooks.testing")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: exit code, minus the signal that killed it, or None when it hung."""

    words: Sequence[str]
    code: int | None
    stdout: str
    stderr: str

    @property
    def wrong(self) -> str | None:
        """What no command may do, whatever happens: hang, or end in something nobody foresaw."""
        if self.code is None:
            return f"hung for {PATIENCE:g} s"
        if "Traceback" in self.stderr or "this is a defect" in self.stderr:
            return self.stderr.strip().splitlines()[-2 if "hint: " in self.stderr else -1]
        return None

    def __str__(self) -> str:
        said = " / ".join((self.stderr.strip() or self.stdout[:600]).splitlines())
        return f"svcctl {' '.join(self.words)}: {self.code} {said}"


@dataclass
class Process:
    """A command that is at work, or was."""

    words: Sequence[str]
    pid: int
    streams: tuple[Path, Path]
    _status: int | None = None

    def kill(self) -> None:
        if self._status is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def wait(self, patience: float = PATIENCE) -> Ended:
        deadline = time.monotonic() + patience
        hung = False
        while self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline and not hung:
                hung = True
                self.kill()
            else:
                time.sleep(0.003)
        out, err = (stream.read_text("utf-8", "replace") for stream in self.streams)
        return Ended(self.words, None if hung else self._status, out, err)


def warm() -> None:
    """Import all of svcctl, once, so that forks begin at once."""
    for module in pkgutil.walk_packages(svcctl.__path__, "svcctl."):
        if not module.name.startswith(_NOT_WANTED):
            importlib.import_module(module.name)


def _child(folder: Path, streams: Sequence[Path], work: Callable[[], int]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        for number, name in enumerate((Path(os.devnull), *streams)):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), number)
        sys.stdin, sys.stdout, sys.stderr = (
            open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            for number, mode in enumerate("rww")
        )
        for setting in [name for name in os.environ if name.startswith("SVCCTL_")]:
            del os.environ[setting]
        os.chdir(folder)
        code = work()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 - nothing of the parent may go on in the child
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _streams(folder: Path) -> tuple[Path, Path]:
    """Beside the folder, which may be full or take no writes."""
    beside = folder.with_name(f"{folder.name}.said")
    beside.mkdir(exist_ok=True)
    number = time.monotonic_ns()
    return beside / f"{number}.out", beside / f"{number}.err"


def begin(folder: Path, *words: str, first: Callable[[], None] = lambda: None) -> Process:
    """A command line of svcctl in this folder; `first` is called in the new process before."""
    streams = _streams(folder)

    def work() -> int:
        first()
        return main(["--config", "svcctl.toml", *words])

    return Process(words, _child(folder, streams, work), streams)


def run(folder: Path, *words: str, first: Callable[[], None] = lambda: None) -> Ended:
    """The same, to its end."""
    return begin(folder, *words, first=first).wait()


def in_turn(
    folder: Path, lines: Sequence[Sequence[str]], first: Callable[[], None] = lambda: None
) -> list[Ended]:
    """Several commands, one after the other in one process: as good as several, and quicker."""
    out, err = _streams(folder)

    def work() -> int:
        first()
        for words in lines:
            stdout, stderr = io.StringIO(), io.StringIO()
            with redirect_stdout(stdout), redirect_stderr(stderr):
                code = main(["--config", "svcctl.toml", *words])
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps([code, stdout.getvalue(), stderr.getvalue()]) + "\n")
        return 0

    whole = Process((), _child(folder, (out, err), work), (out, err)).wait()
    found = [json.loads(line) for line in whole.stdout.splitlines()]
    ended = [Ended(words, *one) for words, one in zip(lines, found, strict=False)]
    if len(ended) < len(lines):
        ended.append(Ended(lines[len(ended)], whole.code, "", whole.stderr))
    return ended
