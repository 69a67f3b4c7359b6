"""`world(tables…)`: a site of people and services."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from svcctl.runs import lane

# The tests import `engine_world`, the configurations name the hooks of `engine_hooks`.
sys.path.insert(0, str(Path(__file__).parent))

from engine_world import STATES, World  # type: ignore[import-not-found]

from tests.support.forks import Forks


@pytest.fixture
def world(site: Any, prepared: Any, svcctl: Any, forks: Forks) -> Iterator[Callable[..., World]]:
    """`world(service tables…, top="")`: a site with these services and nobody in it.

    With `people`, as that function left it; `variant` is what else it depends on.
    """
    made: list[World] = []

    def build(
        *tables: str,
        top: str = "",
        states: str = STATES,
        people: Callable[[World], None] | None = None,
        variant: object = None,
    ) -> World:
        config = top + states + "".join(tables)

        def populate(one: Any) -> None:
            if people is not None:
                people(World(one, svcctl, forks))

        if people is None:
            one = site(config)
        else:
            one = prepared(config, populate, people.__module__, people.__qualname__, variant)
        made.append(World(one, svcctl, forks))
        return made[-1]

    yield build
    for one in made:
        for manager in one._opened:
            manager.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries that do not wait."""
    monkeypatch.setattr(lane, "FIRST_PAUSE", 0.01)
