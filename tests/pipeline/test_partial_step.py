"""@partial and its kin, on social-core's engine and on svcctl's."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from svcctl.pipeline.partial import Pause, partial, partial_step, save_status_to_session

if TYPE_CHECKING:
    from tests.pipeline.grounds import Ground

TOKEN = "partial_pipeline_token"


@dataclass(frozen=True)
class Form:
    """A response that is no redirect."""

    text: str


def call(ground: "Ground", step: Any, **context: Any) -> Any:
    return step(ground.strategy, ground.backend(), 3, **context)


def stored(ground: "Ground") -> Any:
    """The partial that the step left, None if it left none."""
    storage = ground.strategy.storage.partial
    if hasattr(storage, "kept"):
        return next(iter(storage.kept.values()), None)
    return storage.stored


@pytest.mark.parametrize(
    ("decorator", "in_session", "external"),
    [
        (partial, True, False),
        (partial_step(save_to_session=True), True, False),
        (partial_step(save_to_session=False), False, False),
        (partial_step(save_to_session=True, allow_external_resume=True), True, True),
    ],
)
@pytest.mark.parametrize("response", [Form("<form>"), Pause("waits"), "text", True, [1]])
def test_a_response_leaves_a_partial(
    ground: "Ground",
    decorator: Any,
    in_session: bool,  # noqa: FBT001
    external: bool,  # noqa: FBT001
    response: Any,
) -> None:
    step = decorator(lambda *arguments, **context: response)
    assert call(ground, step) is response
    left = stored(ground)
    assert left.next_step == 3
    assert left.backend == "github"
    assert left.data["allow_external_resume"] is external
    assert ground.strategy.session_get(TOKEN) == (left.token if in_session else None)


@pytest.mark.parametrize("result", [{"slug": "ada"}, {}, None, False, 0, ""])
def test_a_dict_or_nothing_leaves_none(ground: "Ground", result: Any) -> None:
    step = partial(lambda *arguments, **context: result)
    assert call(ground, step) == (result or {})
    assert stored(ground) is None
    assert ground.strategy.session_get(TOKEN) is None


def test_the_step_knows_its_partial_and_gets_everything_else(ground: "Ground") -> None:
    seen: dict[str, Any] = {}

    @partial
    def step(strategy: Any, backend: Any, pipeline_index: int, **context: Any) -> Form:
        """Note what there is."""
        seen.update(context, index=pipeline_index, backend=backend.name)
        return Form(context["current_partial"].token)

    assert step.__name__ == "step"
    assert step.__doc__ == "Note what there is."
    response = call(ground, step, details={"email": "a@x.org"}, current_partial="an old one")
    assert response.text == stored(ground).token
    assert (seen["index"], seen["backend"], seen["details"]) == (3, "github", {"email": "a@x.org"})


def test_every_call_has_a_token_of_its_own(ground: "Ground") -> None:
    step = partial(lambda *arguments, current_partial, **context: Form(current_partial.token))
    assert call(ground, step).text != call(ground, step).text


def test_social_cores_engine_is_given_the_context_to_save(memory: "Ground") -> None:
    ada = memory.user("ada")
    step = partial(lambda *arguments, **context: Form(""))
    call(memory, step, response={"id": 1}, details={"a": 1}, user=ada, uid="1", is_new=True)
    kept = stored(memory).kwargs
    assert (kept["user"], kept["uid"], kept["details"]) == (ada.id, "1", {"a": 1})
    assert (kept["response"], kept["is_new"]) == ({"id": 1}, True)


def test_the_deprecated_way_goes_on_with_the_step_after_it(ground: "Ground") -> None:
    with pytest.warns(DeprecationWarning, match="use @partial"):
        assert call(ground, save_status_to_session, uid="1") is None
    left = stored(ground)
    assert left.next_step == 4
    assert ground.strategy.session_get(TOKEN) == left.token
