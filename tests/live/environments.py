"""What tests need of others and cannot be installed beside svcctl: made once, kept."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from functools import cache
from importlib import metadata
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


@cache
def source_of(project: str, *packages: str) -> tuple[Path, Path]:
    """The source of the version that is installed here, and a folder with packages for its tests.

    Wheels often come without their tests. Raises NotInstalled.
    """
    version = metadata.version(project)
    key = hashlib.sha256(repr(packages).encode() + sys.version.encode()).hexdigest()[:12]
    folder = _home() / f"{project}-{version}-{key}"
    source, more = folder / "source", folder / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "complete").exists():
            download = ["-m", "pip", "download", *PIP[3:], "--no-deps", "--no-binary", project]
            _run([sys.executable, *download, "--dest", folder, f"{project}=={version}"], project)
            (archive,) = folder.glob("*.tar.gz")
            with tarfile.open(archive) as packed:
                packed.extractall(source, filter="data")
            _run([sys.executable, *PIP, "--target", more, *packages], project)
            (folder / "complete").touch()
    (root,) = source.iterdir()
    return root, more


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
