"""Runs in processes of their own that begin at once: forks of one that has imported everything."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import svcctl

_SERVER = """
import importlib, json, os, pkgutil, signal, sys, time
import _strptime, encodings.utf_8_sig
import svcctl.cli, svcctl.commands, svcctl.directory, svcctl.hooks, svcctl.runs
for package in (svcctl.commands, svcctl.directory, svcctl.hooks, svcctl.runs):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
ended = {}

def reap(*_):
    try:
        while (found := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            ended[found[0]] = os.waitstatus_to_exitcode(found[1])
    except ChildProcessError:
        pass

signal.signal(signal.SIGCHLD, reap)
for line in sys.stdin:
    order = json.loads(line)
    if isinstance(order, int):
        while order not in ended:
            time.sleep(0.002)
        print(ended[order], flush=True)
        continue
    folder, words, code, environment, user, streams = order
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        for stream, name in enumerate((os.devnull, *streams)):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), stream)
        os.environ.clear()
        os.environ.update(environment)
        if user is not None:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
        os.chdir(folder)
        exec(code)
        status = svcctl.cli.main(["--config", "svcctl.toml", *words])
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    print(pid, flush=True)
"""


@dataclass
class Fork:
    """A process that is, or was, at work; what it says is in two files."""

    server: "Forks"
    pid: int
    streams: tuple[Path, Path]
    _ended: int | None = None

    @property
    def working(self) -> bool:
        return Path(f"/proc/{self.pid}").exists()

    def send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self) -> int:
        """Its exit code, or minus the signal that it died of."""
        if self._ended is None:
            self._ended = int(self.server.ask(self.pid))
        return self._ended

    @property
    def exit_code(self) -> int:
        return self.wait()

    @property
    def stdout(self) -> str:
        return self.streams[0].read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        return self.streams[1].read_text(encoding="utf-8")


@dataclass
class Forks:
    """Begins them. What interprets the command line, and all it imports, is there already."""

    paths: Sequence[Path] = ()
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _server: "subprocess.Popen[str] | None" = None
    _folder: Path | None = None
    _begun: int = 0

    def begin(
        self,
        folder: Path,
        *words: str,
        code: str = "",
        environment: Mapping[str, str] | None = None,
        user: int | None = None,
    ) -> Fork:
        """svcctl with these words in the folder; `code` is executed first.

        `user` needs root, and may import what svcctl imports only when it is used.
        """
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="svcctl-forks-"))
        self._begun += 1
        streams = (self._folder / f"{self._begun}.out", self._folder / f"{self._begun}.err")
        inherited = {name: text for name, text in os.environ.items() if "SVCCTL_" not in name}
        names = [str(stream) for stream in streams]
        pid = self.ask(
            [str(folder), words, code, {**inherited, **(environment or {})}, user, names]
        )
        return Fork(self, int(pid), streams)

    def ask(self, order: object) -> str:
        with self._lock:
            if self._server is None:
                roots = [str(Path(svcctl.__file__).parent.parent), *map(str, self.paths)]
                self._server = subprocess.Popen(
                    [sys.executable, "-c", _SERVER],
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(roots)},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    encoding="utf-8",
                )
            assert self._server.stdin is not None
            assert self._server.stdout is not None
            self._server.stdin.write(json.dumps(order) + "\n")
            self._server.stdin.flush()
            return self._server.stdout.readline()

    def close(self) -> None:
        if self._server is not None:
            self._server.communicate(timeout=60)
        if self._folder is not None:
            shutil.rmtree(self._folder)
