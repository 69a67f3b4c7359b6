"""The calling convention: steps run in order, their dicts are merged, the rest ends the run.

After `BaseAuth.run_pipeline` of social-core 7. It knows no database and no configuration.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from svcctl.errors import ConfigError, PipelineError, Refused, SvcctlError
from svcctl.model import NOTHING
from svcctl.pipeline.step import Step

Guard = Callable[[Step], AbstractContextManager[list[str]]]
"""What a step runs in; the list is what it would have done outside, where that is not allowed."""


@dataclass(slots=True)
class Trace:
    """What one step did. What of it is for people only is worked out when a person asks.

    reads: what it may look at. given: the dict that it returned, replaced: what was there under
    the same names. settings: name and place of each that was consulted. would: what a dry run
    refused. error: why it failed.
    """

    step: str
    reads: tuple[str, ...] = ()
    given: Mapping[str, Any] = NOTHING
    replaced: Mapping[str, Any] = NOTHING
    settings: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0
    would: tuple[str, ...] = ()
    error: str | None = None
    skipped: bool = False

    @property
    def added(self) -> tuple[str, ...]:
        """The keys that were not there before."""
        return tuple(key for key in self.given if key not in self.replaced)

    @property
    def changed(self) -> tuple[str, ...]:
        """The keys that had another value."""
        return tuple(
            key
            for key, old in self.replaced.items()
            if old is not self.given[key] and not _same(old, self.given[key])
        )

    @property
    def overwritten(self) -> tuple[str, ...]:
        """Those of them that had one that said something."""
        return tuple(
            key for key in self.changed if not any(self.replaced[key] == no for no in _SAY_NOTHING)
        )


_SAY_NOTHING: tuple[Any, ...] = (None, False, "", {})


@dataclass(slots=True)
class Ended:
    """How the steps ended: at the last one, or at `step` with a `response`.

    initial: what was in the context before the first one.
    """

    context: dict[str, Any]
    initial: frozenset[str]
    trace: list[Trace] = field(default_factory=list)
    step: Step | None = None
    response: Any = None


class StepError(Exception):
    """What a step raised, with the trace so far; `svcctl_error` is what a person is told."""

    def __init__(self, step: Step, error: SvcctlError, trace: list[Trace]) -> None:
        super().__init__(error.message)
        self.step = step
        self.svcctl_error = error
        self.trace = trace


_NO_ACTS: list[str] = []


def run(
    steps: Sequence[Step],
    context: dict[str, Any],
    *,
    start: int = 0,
    until: int | None = None,
    consulted: list[tuple[str, str]] | None = None,
    guard: Guard | None = None,
    following: Callable[[Step], None] | None = None,
) -> Ended:
    """Run the steps from `start` on, up to and including `until`.

    A step without `**kwargs` gets only the parameters that it names. A dict that it returns is
    merged, a false value is nothing, anything else ends the run. `pipeline_index` is the step's
    place. With a guard, a step that it refused counts as failed, and the next one is tried where
    its inputs are there. Raises StepError.
    """
    ended = Ended(context, frozenset(context))
    asked = consulted if consulted is not None else []
    last = len(steps) if until is None else until + 1
    for index in range(start, last):
        step = steps[index]
        context["pipeline_index"] = index
        if following is not None:
            following(step)
        given = context if step.takes_everything else _named(step, context)
        trace = Trace(step.name, step.reads)
        ended.trace.append(trace)
        if not step.needs <= given.keys():
            missing = [name for name in step.required if name not in given]
            if guard is not None and any(one.would for one in ended.trace):
                trace.skipped = True
                trace.error = f"{missing[0]} is not there: a step before it was refused"
                continue
            raise StepError(step, _missing(step, missing[0]), ended.trace)
        asked.clear()
        began = perf_counter()
        try:
            if guard is None:
                result, would = step.function(**given), _NO_ACTS
            else:
                with guard(step) as would:
                    result = step.function(**given)
        except Exception as error:
            trace.error = f"{type(error).__name__}: {error}"
            raise StepError(step, told(step, error), ended.trace) from error
        finally:
            trace.seconds = perf_counter() - began
            if asked:
                trace.settings = tuple(dict.fromkeys(asked))
        if would:
            trace.would = tuple(would)
            continue
        if not result:
            continue
        if not isinstance(result, dict):
            ended.step, ended.response = step, result
            return ended
        trace.given = result
        trace.replaced = {key: context[key] for key in result if key in context}
        context.update(result)
    return ended


def read(initial: Iterable[str], trace: Sequence[Trace]) -> list[tuple[str, ...]]:
    """For each step, what it may have looked at of what was there."""
    known = set(initial)
    found = []
    for one in trace:
        found.append(tuple(name for name in one.reads if name in known))
        known.update(one.given)
    return found


def _named(step: Step, context: Mapping[str, Any]) -> dict[str, Any]:
    return {name: context[name] for name in step.named if name in context}


def _same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001 - somebody else's objects
        return False


def _missing(step: Step, name: str) -> PipelineError:
    return PipelineError(
        f"step {step.name} needs {name!r}, and no step before it returned that",
        hint=f"give it with --set {name}=…, or put a step before it that returns it",
    )


def told(step: Step, error: Exception) -> SvcctlError:
    """What a person is told of what a step raised: our errors as they are, with the step's name."""
    if isinstance(error, SvcctlError):
        prefix = f"step {step.name}: "
        if not error.message.startswith(prefix):
            error.message = prefix + error.message
        return error
    foreign = sys.modules.get("social_core.exceptions")
    text = f"step {step.name}: {_one_line(error)}"
    if foreign is not None and isinstance(error, foreign.SocialAuthBaseException):
        code = str(getattr(error, "code", "") or "refused")
        if isinstance(error, foreign.AuthConfigurationError):
            parameter = getattr(error, "parameter", None)
            return ConfigError(text, hint=f"it is about {parameter}" if parameter else None)
        failed = (foreign.AuthProviderError, foreign.AuthUnknownError)
        if not isinstance(error, failed) and isinstance(error, foreign.AuthException):
            return Refused(text, code=code)
    return PipelineError(text, hint="-vv shows where in the step")


def _one_line(error: Exception) -> str:
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
