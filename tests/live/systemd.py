"""A systemd of our own: the first process of new namespaces, with our units and a journal."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from svcctl.hooks.testing.server import absent

UNITS = Path("/run/units")
SITE = Path("/srv")
"""Where root's files may lie that a unit shall see; empty at first, as is /var/lib."""
_CGROUPS = Path("/sys/fs/cgroup")
_SECONDS = 20.0
# What every unit depends on by itself, without what it starts on a real machine.
_EMPTY = [
    "sysinit",
    "basic",
    "network-online",
    "timers",
    "shutdown",
    "sockets",
    "paths",
    "slices",
    "final",
    "umount",
]
_BOOT = """\
[Unit]
DefaultDependencies=no
Wants=systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket
"""


@dataclass(frozen=True)
class Systemd:
    """It runs until the test ends. What is written outside of /tmp is gone then."""

    pid: int

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """A program of root's, where this systemd is the first process."""
        return subprocess.run(
            ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--", *words],
            capture_output=True,
            encoding="utf-8",
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            timeout=60,
            check=False,
        )

    def write(self, path: Path, content: str, mode: int = 0o644) -> None:
        """A file of root's that it sees."""
        script = f"cat >{shlex.quote(str(path))}; chmod {mode:o} {shlex.quote(str(path))}"
        subprocess.run(
            ["nsenter", f"--target={self.pid}", "--mount", "sh", "-c", script],
            input=content.encode(),
            check=True,
        )

    def journal(self, *words: str) -> str:
        self.run("journalctl", "--sync")
        return self.run("journalctl", "--no-pager", *words).stdout


@contextmanager
def systemd() -> Iterator[Systemd]:
    """Start it, or skip the test where it cannot run."""
    for program, package in (("unshare", "util-linux"), ("journalctl", "systemd")):
        if shutil.which(program) is None:
            absent(f"{program} is missing: apt-get install {package}")
    if os.geteuid() != 0:
        absent("a systemd of our own needs root")
    if Path("/proc/1/comm").read_text().strip() == "systemd":
        absent(
            "a systemd of our own and that of the machine would share its cgroups: "
            "run the tests in a container"
        )
    before = _cgroups()
    process = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child=KILL", "--mount", "--mount-proc", "--uts",
         "--ipc", "sh", "-e", "-c", _script()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield _ready(process)
    finally:
        process.kill()
        process.communicate()
        _remove(_cgroups() - before)


def _script() -> str:
    """What becomes systemd: with folders of its own, and this Python where everybody can see it."""
    lines = ["mount --make-rprivate /", "mount -t tmpfs -o mode=755 tmpfs /run"]
    repository = Path(__file__).parents[2]
    seen = {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), repository}
    hidden = {wall for path in seen if (wall := _wall(path))}
    for number, path in enumerate(sorted(seen)):
        lines += [f"mkdir -p /run/{number}", f"mount --bind {_q(path)} /run/{number}"]
    lines += [f"mount -t tmpfs -o mode=755 tmpfs {_q(wall)}" for wall in sorted(hidden)]
    for number, path in enumerate(sorted(seen)):
        lines.append(f"mkdir -p {_q(path)}; mount --move /run/{number} {_q(path)}")
    for folder in ("/var/lib", SITE):
        lines.append(f"mount -t tmpfs -o mode=755 tmpfs {_q(folder)}")
    lines += [f"mkdir -p {UNITS}", f"cp /lib/systemd/system/systemd-journald* {UNITS}"]
    for name in _EMPTY:
        lines.append(f"printf '[Unit]\\nDefaultDependencies=no\\n' >{UNITS}/{name}.target")
    lines.append(f"printf {shlex.quote(_BOOT)} >{UNITS}/boot.target")
    # Units get their credentials by what is mounted before their namespace is made.
    lines.append("mount --make-rshared /")
    lines.append(
        f'exec env -i container=other PATH="$PATH" SYSTEMD_UNIT_PATH={UNITS} '
        "/lib/systemd/systemd --system --unit=boot.target --log-target=null --show-status=no"
    )
    return "\n".join(lines)


def _wall(path: Path) -> Path | None:
    """The first folder on the way that only its owner may pass."""
    return next((one for one in reversed(path.parents) if not one.stat().st_mode & 0o001), None)


def _q(path: str | Path) -> str:
    return shlex.quote(str(path))


def _ready(process: subprocess.Popen[bytes]) -> Systemd:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if children:
            it = Systemd(int(children[0]))
            if it.run("systemctl", "is-active", "systemd-journald").stdout == "active\n":
                return it
        time.sleep(0.1)
    process.kill()
    _, said = process.communicate()
    reason = said.decode().strip() or "it does not answer"
    return absent(f"systemd does not run here: {reason}")


def _cgroups() -> set[Path]:
    return {Path(folder) for folder, _, _ in os.walk(_CGROUPS)}


def _remove(folders: set[Path]) -> None:
    """They can be removed when the last process in them is gone."""
    deadline = time.monotonic() + _SECONDS
    while folders and time.monotonic() < deadline:
        for folder in sorted(folders, reverse=True):
            with suppress(OSError):
                folder.rmdir()
        folders = {folder for folder in folders if folder.exists()}
        time.sleep(0.05)
