"""Steps that pause a run: `@partial`, `partial_step`, `Pause`.

After social_core.pipeline.partial of social-core 7, whose own decorators work as well. What is
saved is the engine's business.
"""

import functools
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

TOKEN_IN_SESSION = "partial_pipeline_token"  # noqa: S105 - the name of one
EXTERNAL = "allow_external_resume"


@dataclass(frozen=True, slots=True)
class Pause:
    """What a step returns to pause the run without a response of its own.

    why: a sentence for whoever goes on. needs: the names of what to give then, with `--set`.
    external: somebody who was given the token may go on, too.
    """

    why: str
    needs: tuple[str, ...] = ()
    external: bool = False

    def __init__(self, why: str, needs: Iterable[str] = (), *, external: bool = False) -> None:
        object.__setattr__(self, "why", why)
        object.__setattr__(self, "needs", (needs,) if isinstance(needs, str) else tuple(needs))
        object.__setattr__(self, "external", external)


@dataclass(slots=True)
class Partial:
    """A paused run as steps see it: the token, for links, and where it goes on."""

    token: str
    backend: str
    next_step: int
    data: dict[str, Any] = field(default_factory=dict, repr=False)
    pipeline_type: str = "authentication"
    request_data: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def args(self) -> list[Any]:
        """Positional arguments: svcctl has none."""
        return list(self.data.get("args", ()))

    @property
    def kwargs(self) -> dict[str, Any]:
        """The context, as far as the step was told."""
        found: dict[str, Any] = self.data.setdefault("kwargs", {})
        return found

    def extend_kwargs(self, values: dict[str, Any]) -> None:
        """Add to it."""
        self.kwargs.update(values)


def partial_step(
    save_to_session: bool,  # noqa: FBT001 - social-core's signature
    allow_external_resume: bool = False,  # noqa: FBT001, FBT002
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a step one that pauses the run when it returns a response.

    The step gets `current_partial`, whose token goes into links. save_to_session: the session,
    which is saved with the run, has the token too. allow_external_resume: who has the token may go
    on; else only who has the partial's id, in the shell.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(
            strategy: Any, backend: Any, pipeline_index: int, *args: Any, **context: Any
        ) -> Any:
            current = _prepared(strategy, backend, pipeline_index, args, context)
            result = function(
                *args,
                strategy=strategy,
                backend=backend,
                pipeline_index=pipeline_index,
                **{**context, "current_partial": current},
            )
            if result and not isinstance(result, dict):
                current.data[EXTERNAL] = allow_external_resume
                strategy.storage.partial.store(current)
                if save_to_session:
                    strategy.session_set(TOKEN_IN_SESSION, current.token)
            return result or {}

        return wrapper

    return decorate


def _prepared(
    strategy: Any, backend: Any, index: int, args: tuple[Any, ...], context: dict[str, Any]
) -> Any:
    """What the run goes on from: svcctl saves the context itself, social-core does not."""
    theirs = sys.modules.get("social_core.strategy")
    if theirs is not None and isinstance(strategy, theirs.BaseStrategy):
        from social_core.pipeline.utils import partial_prepare

        return partial_prepare(strategy, backend, index, *args, **context)
    return strategy.storage.partial.prepare(backend.name, index, {"args": list(args), "kwargs": {}})


partial = partial_step(save_to_session=True)
"""`partial_step` as most steps want it."""


def save_status_to_session(
    strategy: Any, backend: Any, pipeline_index: int, *args: Any, **context: Any
) -> None:
    """Have the run go on with the step after this one when a later step returns a response.

    Deprecated, as in python-social-auth: use `@partial`, which runs the same step again.
    """
    warnings.warn(
        "save_status_to_session is deprecated, use @partial", DeprecationWarning, stacklevel=2
    )
    current = _prepared(strategy, backend, pipeline_index + 1, args, context)
    strategy.storage.partial.store(current)
    strategy.session_set(TOKEN_IN_SESSION, current.token)
