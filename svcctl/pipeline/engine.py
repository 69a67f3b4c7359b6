"""The calling convention: steps run in order, their dicts are merged, the rest ends the run.

After `BaseAuth.run_pipeline` of social-core 7. It knows no database and no configuration.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from svcctl.errors import ConfigError, PipelineError, Refused, SvcctlError
from svcctl.pipeline.step import Step

Guard = Callable[[Step], AbstractContextManager[list[str]]]
"""What a step runs in; the list is what it would have done outside, where that is not allowed."""


@dataclass(slots=True)
class Trace:
    """What one step did. Values are not here: the context has them.

    read: the parameters and declared keys that were there. settings: name and place of each that
    was consulted. would: what a dry run refused. error: why it failed.
    """

    step: str
    read: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    overwritten: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0
    would: tuple[str, ...] = ()
    error: str | None = None
    skipped: bool = False


@dataclass(slots=True)
class Ended:
    """How the steps ended: at the last one, or at `step` with a `response`."""

    context: dict[str, Any]
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


_NOTHING: list[str] = []


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
    ended = Ended(context)
    asked = consulted if consulted is not None else []
    last = len(steps) if until is None else until + 1
    for index in range(start, last):
        step = steps[index]
        context["pipeline_index"] = index
        if following is not None:
            following(step)
        given = context if step.takes_everything else _named(step, context)
        missing = [name for name in step.required if name not in given]
        trace = Trace(step.name)
        ended.trace.append(trace)
        if missing:
            if guard is not None and any(one.would for one in ended.trace):
                trace.skipped = True
                trace.error = f"{missing[0]} is not there: a step before it was refused"
                continue
            raise StepError(step, _missing(step, missing[0]), ended.trace)
        del asked[:]
        began = time.perf_counter()
        try:
            if guard is None:
                result, would = step.function(**given), _NOTHING
            else:
                with guard(step) as would:
                    result = step.function(**given)
        except Exception as error:
            trace.error = f"{type(error).__name__}: {error}"
            raise StepError(step, told(step, error), ended.trace) from error
        finally:
            trace.seconds = time.perf_counter() - began
            trace.read = _read(step, context)
            trace.settings = tuple(dict.fromkeys(asked))
        if would:
            trace.would = tuple(would)
            continue
        if not result:
            continue
        if not isinstance(result, dict):
            ended.step, ended.response = step, result
            return ended
        _merge(context, result, trace)
    return ended


def _named(step: Step, context: Mapping[str, Any]) -> dict[str, Any]:
    return {name: context[name] for name in step.named if name in context}


def _read(step: Step, context: Mapping[str, Any]) -> tuple[str, ...]:
    declared = step.declaration
    names = step.named if declared is None else step.named | declared.consumes
    return tuple(sorted(name for name in names if name in context))


def _merge(context: dict[str, Any], result: Mapping[str, Any], trace: Trace) -> None:
    added, changed, overwritten = [], [], []
    for key, value in result.items():
        if key not in context:
            added.append(key)
        elif context[key] is not value and not _same(context[key], value):
            changed.append(key)
            if context[key] not in (None, False, "", {}):
                overwritten.append(key)
    trace.added, trace.changed = tuple(added), tuple(changed)
    trace.overwritten = tuple(overwritten)
    context.update(result)


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
