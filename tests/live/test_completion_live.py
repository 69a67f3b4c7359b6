"""Completion as the documentation installs it, in real shells on a real terminal."""

import os
import pty
import re
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Site, Svcctl
from tests.live.conftest import Require

pytestmark = pytest.mark.live

SHELLS = {"bash": ("bash", "-i"), "zsh": ("zsh", "-i"), "fish": ("fish", "-i")}
# The first one of a session only loads it: what Typer writes for zsh is a file to be autoloaded.
TABS = {"bash": "\t", "zsh": "\t\t", "fish": "\t"}
WRITES = {
    "bash": "_SVCCTL_COMPLETE=source_bash svcctl >",
    "zsh": "_SVCCTL_COMPLETE=source_zsh svcctl | sed 1d >",
    "fish": "_SVCCTL_COMPLETE=source_fish svcctl >",
}
READS = {
    "bash": "source _svcctl",
    "zsh": "fpath+=$PWD; autoload -Uz compinit; compinit -u",
    "fish": "source _svcctl",
}
"""As the shell does with the files in its folders."""


class Terminal:
    """A shell with a person at it."""

    def __init__(self, folder: Path, words: tuple[str, ...]) -> None:
        environment = {
            "HOME": str(folder / "home"),
            "PATH": f"{folder}/bin:/usr/bin:/bin",
            "TERM": "xterm",
            "LC_ALL": "C.UTF-8",
            "SVCCTL_CONFIG": str(folder / "svcctl.toml"),
            "PS1": "$ ",
        }
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.chdir(folder)
            os.execve(f"/usr/bin/{words[0]}", list(words), environment)
        self._said = ""

    def type(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def until(self, pattern: str, seconds: float = 30) -> str:
        """What the screen shows from the last look on, up to this."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self._said)):
            assert time.monotonic() < deadline, repr(self._said)
            if select.select([self._terminal], [], [], 0.1)[0]:
                part = os.read(self._terminal, 65536).decode(errors="replace")
                self._said += re.sub(r"\x1b(\[[0-9;?>=]*[a-zA-Z]|[=>]|\][^\x07]*\x07)", "", part)
                # What fish asks its terminal: which one it is.
                if "\x1b[c" in part or "\x1b[0c" in part:
                    self.type("\x1b[?62;c")
        told, self._said = self._said[: found.end()], self._said[found.end() :]
        return told

    def close(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._terminal)


@pytest.fixture
def folder(site: Callable[[str], Site], svcctl: Svcctl) -> Path:
    """A home, an svcctl on the PATH, and a directory with somebody in it."""
    made = site("")
    assert svcctl("users", "add", "adalovelace").exit_code == 0
    program = made.folder / "bin" / "svcctl"
    program.parent.mkdir()
    (made.folder / "home").mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m svcctl "$@"\n')
    program.chmod(0o755)
    return made.folder


@pytest.mark.parametrize("shell", SHELLS)
def test_the_line_that_installs_it_does(folder: Path, require: Require, shell: str) -> None:
    require(shell, shell)
    (folder / "home/.zshrc").write_text("unsetopt zle_bracketed_paste\n")
    for line in ("svcctl --install-completion", None):
        terminal = Terminal(folder, SHELLS[shell])
        try:
            if line is not None:
                terminal.type(f"{line}\r")
                terminal.until(f"{shell} completion installed in ")
                terminal.until("once you restart the terminal")
                continue
            terminal.type("echo ready | tr a-z A-Z\r")
            terminal.until("READY")
            terminal.type("svcctl users show adal" + TABS[shell])
            terminal.until("adal(ovelace)?.*ovelace")
        finally:
            terminal.close()


@pytest.mark.parametrize("shell", SHELLS)
def test_the_line_for_everybody_gives_the_same(folder: Path, require: Require, shell: str) -> None:
    require(shell, shell)
    (folder / "home/.zshrc").write_text("unsetopt zle_bracketed_paste\n")
    guide = Path(__file__).parents[2] / "docs" / "how-to.md"
    assert f"# {WRITES[shell]}/usr/share/" in guide.read_text(encoding="utf-8")
    terminal = Terminal(folder, SHELLS[shell])
    try:
        terminal.type(f"{WRITES[shell]}_svcctl; {READS[shell]}\r")
        terminal.type("echo ready | tr a-z A-Z\r")
        terminal.until("READY")
        terminal.type("svcctl holds appr" + TABS[shell])
        terminal.until("appr(ove)?.*ove")
    finally:
        terminal.close()
