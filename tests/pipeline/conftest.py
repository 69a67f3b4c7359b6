"""The grounds on which steps are tried: social-core's engine over tables in memory, and svcctl."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.pipeline.grounds import Ground, Memory, Svcctl
from tests.support.pipelines import ASSETS, BASE, ME, STEPS, pipeline

if TYPE_CHECKING:
    from tests.conftest import Site

CONFIG = """
[directory]
attributes = ["fullname", "first_name", "last_name", "nick"]

[pipelines.join]

[backends.github]
class = "social_core.backends.github.GithubOAuth2"
"""


@pytest.fixture
def memory() -> Memory:
    """Nobody and nothing there yet."""
    return Memory()


@pytest.fixture(params=["memory", "svcctl"])
def ground(request: pytest.FixtureRequest) -> Ground:
    """Either of them, nobody and nothing there yet."""
    if request.param == "memory":
        return Memory()
    site: Callable[[str], Any] = request.getfixturevalue("site")
    return Svcctl(site(CONFIG))


@pytest.fixture(autouse=True)
def _assets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ASSETS))


@pytest.fixture
def club(site: Callable[[str], "Site"]) -> "Callable[..., Site]":
    """`club(steps…, settings=…)`: a site with the pipeline join, and a response in me.json."""

    def build(*steps: str, settings: str = "", more: str = "") -> "Site":
        one = site(BASE + pipeline(*(steps or STEPS), settings=settings) + more)
        one.write("me.json", json.dumps(ME))
        return one

    return build
