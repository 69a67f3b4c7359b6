"""`world(tables…)`: a site of people and services."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from svcctl.runs import lane

# The tests import `engine_world`, the configurations name the hooks of `engine_hooks`.
sys.path.insert(0, str(Path(__file__).parent))

from engine_world import STATES, Forks, World  # type: ignore[import-not-found]


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    forks = Forks()
    yield forks
    forks.close()


@pytest.fixture
def world(site: Any, svcctl: Any, forks: Forks) -> Iterator[Callable[..., World]]:
    """`world(service tables…, top="")`: a site with these services and nobody in it."""
    made: list[World] = []

    def build(*tables: str, top: str = "", states: str = STATES) -> World:
        made.append(World(site(top + states + "".join(tables)), svcctl, forks))
        return made[-1]

    yield build
    for one in made:
        for manager in one._opened:
            manager.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries that do not wait."""
    monkeypatch.setattr(lane, "FIRST_PAUSE", 0.01)
