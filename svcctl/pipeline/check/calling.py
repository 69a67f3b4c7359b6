"""Whether every step can be called where it stands, and go on there after a pause."""

import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from svcctl.pipeline.check.finding import Finding, error, listed, warning
from svcctl.pipeline.dataflow import EMPTY, OPTIONAL, ORDER, Kind, Part, shipped
from svcctl.pipeline.definition import INITIAL
from svcctl.pipeline.step import PARTIAL, SURROUNDINGS

_GIVEN_BY_PARTIAL = frozenset({"strategy", "backend", "pipeline_index", PARTIAL})
_NO_STEPS: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (inspect.isclass, "a class"),
    (inspect.iscoroutinefunction, "a coroutine function"),
    (inspect.isasyncgenfunction, "an asynchronous generator"),
    (inspect.isgeneratorfunction, "a generator"),
)


def calling(parts: Sequence[Part], kind: Kind, given: Collection[str]) -> Iterator[Finding]:
    """What is wrong with the functions, with what they are given, and with what they return."""
    for index, part in enumerate(parts):
        before, after = parts[:index], parts[index + 1 :]
        yield from _function(part)
        yield from _missing(part, before, after, kind, given)
        yield from _empty(part, before, after)
        yield from _reserved(part)
        yield from _repeated(part, before)
        yield from _deaf(part, parts, kind)


def _function(part: Part) -> Iterator[Finding]:
    function = part.step.function
    for is_one, what in _NO_STEPS:
        if is_one(function):
            remedy = "a step is a function, written with def, that returns a dict or nothing"
            yield error(part.name, f"is {what}, and what it returns would end the run", remedy)
    for name, parameter in inspect.signature(function).parameters.items():
        if (
            parameter.kind is inspect.Parameter.POSITIONAL_ONLY
            and parameter.default is inspect.Parameter.empty
        ):
            message = "can only be given by its place, and steps are given everything by name"
            yield error(part.name, message, "remove the / behind it", about=name)
    if part.step.under_partial and not part.step.takes_everything:
        extra = sorted(_GIVEN_BY_PARTIAL - inspect.signature(function).parameters.keys())
        if extra:
            message = f"is under @partial, which also gives it {listed(extra)}"
            yield error(part.name, message, "add **kwargs to its parameters")


def _missing(
    part: Part, before: Sequence[Part], after: Sequence[Part], kind: Kind, given: Collection[str]
) -> Iterator[Finding]:
    """Parameters without a default that nobody gives."""
    if any(not other.declared for other in before):
        return
    known = SURROUNDINGS | INITIAL[kind] | set(given)
    for name in part.step.required:
        if name in known or _givers(name, before):
            continue
        if later := _givers(name, after):
            remedy = f"move {later[0].name} before it"
        elif maker := _usual_giver(name, kind):
            remedy = f"put {maker} before it"
        elif name == PARTIAL:
            remedy = "only a step under @partial gets it"
        elif others := [other for other in INITIAL if name in INITIAL[other]]:
            remedy = f'only a pipeline with kind = "{others[0]}" has it'
        else:
            remedy = "a step before it has to return it, or the parameter needs a default"
        yield error(part.name, "no step before it gives this", remedy, about=name)


def _usual_giver(name: str, kind: Kind) -> str | None:
    usual = (step for step in ORDER[kind] if step not in OPTIONAL)
    return next((step for step in usual if name in shipped(step, {}).keys), None)


def _empty(part: Part, before: Sequence[Part], after: Sequence[Part]) -> Iterator[Finding]:
    """What somebody else's step wants to know, and nobody can know yet where it stands."""
    if part.shipped is not None:
        return
    wanted = part.reads if part.declared else frozenset(part.step.required)
    for name in sorted(wanted & EMPTY - part.keys):
        later = [other for other in _givers(name, after) if other.shipped is not None]
        creating = [other for other in later if other.shipped == "create_user"]
        if name == "user" and creating:
            message = "is None for somebody who is new"
            yield warning(part.name, message, f"move it behind {creating[0].name}", about=name)
        elif later and not _givers(name, before) and all(other.declared for other in before):
            message = "says nothing yet"
            yield warning(part.name, message, f"move it behind {later[0].name}", about=name)


def _reserved(part: Part) -> Iterator[Finding]:
    for name in sorted(part.keys & (SURROUNDINGS | {PARTIAL})):
        message = "is returned by it, and belongs to the engine"
        yield error(part.name, message, "return it under another name", about=name)


def _repeated(part: Part, before: Sequence[Part]) -> Iterator[Finding]:
    function = part.step.function
    if getattr(function, "__name__", "") == "debug":
        return
    for other in before:
        if part.pauses and part.name == other.name:
            message = "is there twice, and a paused run goes on with a step by its name"
            yield error(part.name, message, "leave one of them out")
            return
        if other.step.function is function or (part.shipped and part.shipped == other.shipped):
            also = "" if other.name == part.name else f", also as {other.name}"
            yield warning(part.name, f"is there twice{also}", "leave one of them out")
            return


def _deaf(part: Part, parts: Sequence[Part], kind: Kind) -> Iterator[Finding]:
    """A pausing step that is run again with what it had before, and so pauses again, for ever."""
    answered = frozenset({"strategy", "backend", "request"})
    known = SURROUNDINGS | INITIAL[kind] | {PARTIAL}
    for other in parts:
        known |= other.keys
    everything = part.step.takes_everything or not all(other.declared for other in parts)
    if (
        part.pauses
        and not everything
        and not part.step.named & answered
        and part.step.named <= known
    ):
        yield error(
            part.name,
            "pauses, and is given nothing that could hold an answer",
            "let it take strategy, whose request_data() has what `--set` says, or **kwargs",
        )


def _givers(name: str, among: Sequence[Part]) -> list[Part]:
    return [part for part in among if name in part.keys]
