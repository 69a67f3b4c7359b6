"""The grounds on which steps are tried: social-core's engine over tables in memory, and svcctl."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.pipeline.grounds import Ground, Memory, Svcctl

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
