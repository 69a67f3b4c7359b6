"""What a step declares, and a step as a pipeline calls it."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])
_MARK = "svcctl_step"
_PARTIALS = ("svcctl.pipeline.partial", "social_core.pipeline.partial")
_FOR_PARTIALS = frozenset({"strategy", "backend", "pipeline_index"})

PARTIAL = "current_partial"
"""What a step under `@partial` is given by that."""

SURROUNDINGS = frozenset({"strategy", "backend", "storage", "pipeline_index", "request"})
"""What the engine hands to every step that names it."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a step says of itself, for `pipeline check`, `show` and `graph`.

    produces: the keys of the dict that it may return. consumes: keys that it looks up in its
    `**kwargs`, besides its parameters. settings: names without prefix that it consults.
    pauses: it may end the run and be run again when the run is resumed. needs: the names of what it
    waits for then, given with `--set`. effects: what it does
    besides returning something, as a sentence without a full stop.
    """

    produces: frozenset[str] = frozenset()
    consumes: frozenset[str] = frozenset()
    settings: tuple[str, ...] = ()
    pauses: bool = False
    needs: tuple[str, ...] = ()
    effects: str = ""


def step(
    *,
    produces: Iterable[str] = (),
    consumes: Iterable[str] = (),
    settings: Iterable[str] = (),
    pauses: bool = False,
    needs: Iterable[str] = (),
    effects: str = "",
) -> Callable[[_Function], _Function]:
    """Declare what a step takes and gives; the function itself stays as it is.

    Steps of other people need not: of one that declares nothing, everything is believed.
    """
    declared = Declaration(
        frozenset(produces), frozenset(consumes), tuple(settings), pauses, tuple(needs), effects
    )

    def mark(function: _Function) -> _Function:
        setattr(function, _MARK, declared)
        return function

    return mark


@dataclass(frozen=True)
class Step:
    """One place of a pipeline: the name that the configuration gives, and the function it means."""

    name: str
    function: Callable[..., Any] = field(repr=False)

    @property
    def declaration(self) -> Declaration | None:
        """What it declares; None for a step of somebody else who declared nothing."""
        return getattr(self.function, _MARK, None)

    @cached_property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.function).parameters

    @cached_property
    def under_partial(self) -> bool:
        """Whether it is under `@partial`, svcctl's or social-core's."""
        function: Any = self.function
        while (inner := getattr(function, "__wrapped__", None)) is not None:
            # A wrapper has the name of what it wraps, but its own globals.
            if getattr(function, "__globals__", {}).get("__name__") in _PARTIALS:
                return True
            function = inner
        return False

    @cached_property
    def named(self) -> frozenset[str]:
        """The parameters that can be given by name, those of `@partial` among them."""
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        names = {name for name, item in self._parameters.items() if item.kind in kinds}
        return frozenset(names | _FOR_PARTIALS if self.under_partial else names)

    @cached_property
    def required(self) -> tuple[str, ...]:
        """The named parameters without a default that it must be given, in order."""
        return tuple(
            name
            for name, item in self._parameters.items()
            if name in self.named
            and item.default is inspect.Parameter.empty
            and not (name == PARTIAL and self.under_partial)
        )

    @cached_property
    def needs(self) -> frozenset[str]:
        """The same, as a set."""
        return frozenset(self.required)

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """What it may look at of the context, by name: its parameters, and what it declares."""
        declared = self.declaration
        return tuple(sorted(self.named if declared is None else self.named | declared.consumes))

    @cached_property
    def takes_everything(self) -> bool:
        """Whether it has `**kwargs`."""
        return any(item.kind is inspect.Parameter.VAR_KEYWORD for item in self._parameters.values())
