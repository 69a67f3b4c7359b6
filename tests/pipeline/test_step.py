"""A step as the engine calls it."""

from collections.abc import Callable
from typing import Any

import pytest
from social_core.backends.github import GithubOAuth2
from social_core.pipeline.partial import partial as their_partial

from svcctl.pipeline import engine
from svcctl.pipeline.partial import partial
from svcctl.pipeline.step import Step
from tests.support.social import Strategy


@pytest.mark.parametrize("decorator", [partial, their_partial], ids=["ours", "social_core"])
def test_a_step_under_partial_may_name_what_that_gives(decorator: Callable[..., Any]) -> None:
    def ask(current_partial: Any, details: Any, **kwargs: Any) -> dict[str, Any]:
        return {"token": current_partial.token}

    strategy = Strategy()
    context = {"strategy": strategy, "backend": GithubOAuth2(strategy), "details": {}}
    ended = engine.run([Step("ask", decorator(ask))], context)
    assert ended.context["token"]
