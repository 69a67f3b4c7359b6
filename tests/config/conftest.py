"""A folder to stand in, and hooks written for one test."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from svcctl.config.load import load
from svcctl.config.settings import Settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty; nothing in the environment points elsewhere."""
    for name in [name for name in os.environ if name.startswith(("SVCCTL_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def configured(folder: Path) -> Callable[[str], Settings]:
    """`configured(text)`: the settings of a file with this text."""

    def write_and_load(text: str) -> Settings:
        (folder / "svcctl.toml").write_text(text, encoding="utf-8")
        return load(Path("svcctl.toml"))

    return write_and_load


@pytest.fixture
def module(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """`module(name, source)`: a module that can be imported during this test."""
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)

    def write(name: str, source: str) -> None:
        (folder / f"{name}.py").write_text(source, encoding="utf-8")

    yield write
    for name in set(sys.modules) - before:
        origin = getattr(sys.modules[name], "__file__", None) or ""
        if origin.startswith(str(folder)):
            del sys.modules[name]
