"""Virtual environments of servers that cannot be installed beside svcctl: made once, kept."""

import hashlib
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

SERVERS = Path(__file__).parent / "servers"
PIP = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
INSTALL_SECONDS = 600


class NotInstalled(Exception):
    """The environment cannot be made here; says why."""


@cache
def python_for(name: str) -> Path:
    """The Python of `servers/<name>/requirements.txt`. Raises NotInstalled.

    It is made anew when the requirements or the version of Python change.
    """
    requirements = SERVERS / name / "requirements.txt"
    key = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = _home() / f"{name}-{key}"
    python = folder / "bin" / "python"
    complete = folder / "complete"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run([sys.executable, "-m", "venv", folder], name)
            _run([python, *PIP, "--retries", "1", "--requirement", requirements], name)
            complete.touch()
    return python


def _home() -> Path:
    """In the virtual environment of the tests, else in the user's cache."""
    if sys.prefix != sys.base_prefix and os.access(sys.prefix, os.W_OK):
        return Path(sys.prefix) / "servers"
    return user_cache_path("svcctl") / "servers"


def _run(command: list[str | Path], name: str) -> None:
    try:
        subprocess.run(
            command, check=True, capture_output=True, encoding="utf-8", timeout=INSTALL_SECONDS
        )
    except subprocess.CalledProcessError as error:
        errors = [line for line in error.stderr.splitlines() if "error" in line.lower()]
        last = (errors or error.stderr.splitlines() or ["no reason given"])[-1]
        raise NotInstalled(f"{name} cannot be installed: {last.strip()}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"{name} cannot be installed: {error}") from None
