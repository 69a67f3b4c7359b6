"""What the steps of a pipeline give to each other, as far as can be told without running them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from svcctl.pipeline.definition import DEFAULT_STEPS, SHIPPED, resolve
from svcctl.pipeline.step import SURROUNDINGS, Declaration, Step

Kind = Literal["auth", "disconnect"]

ORDER: Mapping[Kind, tuple[str, ...]] = {
    "auth": (
        "social_details",
        "social_names",
        "social_uid",
        "auth_allowed",
        "social_user",
        "get_username",
        "mail_validation",
        "associate_by_email",
        "create_user",
        "associate_user",
        "load_extra_data",
        "user_details",
    ),
    "disconnect": ("allowed_to_disconnect", "get_entries", "revoke_tokens", "disconnect"),
}
"""social-core's steps in the order in which its default pipelines have them, or would have."""

OPTIONAL = frozenset(ORDER["auth"]) - set(DEFAULT_STEPS["auth"])
"""Those of them that no default pipeline has."""

EMPTY = frozenset({"details", "user", "is_new"})
"""What is there before the first step, and says nothing until a step fills it."""

_OPEN = frozenset({"run_command"})
"""Those that give what somebody else's program says."""

_OURS = "svcctl.pipeline.steps."
_SOCIAL_CORE = "social_core.pipeline."

# `details` is one key with many parts: who reads which of them, and who gives which. Whoever is not
# listed has to do with all of it. A test compares this with what the steps do.
_READS_OF_DETAILS: Mapping[str, tuple[str, ...]] = {
    "social_names": ("fullname", "first_name", "last_name"),
    "social_uid": (),
    "auth_allowed": ("email",),
    "get_username": ("username", "email"),
    "mail_validation": ("email",),
    "associate_by_email": ("email",),
}
_GIVES: Mapping[str, frozenset[str]] = {
    "social_names": frozenset({"details.fullname", "details.first_name", "details.last_name"}),
    # It returns `user` as well, as it got it.
    "associate_user": frozenset({"social", "new_association"}),
}


@dataclass(frozen=True)
class Part:
    """A step at its place in a pipeline: what it takes from the context, and what it gives.

    shipped: its name in ORDER, if it is one of these, also in social-core's own version. reads,
    gives: keys, or parts of them like `details.email`. declared: whether it says what it gives; of
    one that does not, everything is believed.
    """

    step: Step
    shipped: str | None
    declared: bool
    declaration: Declaration
    reads: frozenset[str]
    gives: frozenset[str]

    @property
    def name(self) -> str:
        """As the configuration names it."""
        return self.step.name

    @property
    def keys(self) -> frozenset[str]:
        """What it gives, without parts."""
        return frozenset(key.partition(".")[0] for key in self.gives)

    @property
    def pauses(self) -> bool:
        """Whether it may end the run to be run again later."""
        return self.declaration.pauses or self.step.under_partial

    def takes_from(self, giver: "Part") -> tuple[str, ...]:
        """The keys that this one reads and the other gives, in order, without their parts."""
        return tuple(
            sorted(
                {
                    read.partition(".")[0]
                    for read in self.reads
                    for given in giver.gives
                    if f"{read}.".startswith(f"{given}.") or f"{given}.".startswith(f"{read}.")
                }
            )
        )


Chosen = Mapping[str, Sequence[Any]]
"""Settings by name without prefix, each with its values: for all backends, and for single ones."""


def part_of(step: Step, settings: Chosen) -> Part:
    """The step as a part of a pipeline with these settings.

    Raises ValueError for a function whose parameters nobody can tell, such as some in C.
    """
    return _part(step, _namesake(step), settings)


def shipped(name: str, settings: Chosen) -> Part:
    """One of the steps in ORDER, as it would be in a pipeline."""
    return _part(steps_that_ship()[name], name, settings)


@cache
def steps_that_ship() -> Mapping[str, Step]:
    """All of them, by name, also those that are svcctl's own idea."""
    return {name: resolve(name) for name in SHIPPED}


def _namesake(step: Step) -> str | None:
    module = getattr(step.function, "__module__", None) or ""
    name = getattr(step.function, "__name__", "")
    known = any(name in names for names in ORDER.values())
    return name if known and module.startswith((_OURS, _SOCIAL_CORE)) else None


def _part(step: Step, known: str | None, settings: Chosen) -> Part:
    declared = step.declaration
    if declared is None and known is not None:
        declared = steps_that_ship()[known].declaration
    declaration = declared or Declaration()
    reads = (step.named - SURROUNDINGS) | declaration.consumes
    gives = declaration.produces
    if known is not None:
        gives = _GIVES.get(known, gives)
        details = _details_read(known, settings)
        if details is not None:
            reads = (reads - {"details"}) | {f"details.{name}" for name in details}
    name = getattr(step.function, "__name__", "")
    opens = name in _OPEN and step.function.__module__ == SHIPPED[name]
    return Part(step, known, declared is not None and not opens, declaration, reads, gives)


def _details_read(known: str, settings: Chosen) -> Iterable[str] | None:
    """Which parts of `details` a shipped step reads; None for all of them."""
    match known:
        case "create_user":
            chosen = settings.get("USER_FIELDS", (("username", "email"),))
            return {str(name) for names in chosen for name in _listed(names)}
        case "load_extra_data":
            chosen = settings.get("EXTRA_DATA", ())
            entries = [entry for entries in chosen for entry in _listed(entries)]
            return {str(name) for entry in entries for name in (_listed(entry) or [entry])[:2]}
    return _READS_OF_DETAILS.get(known)


def _listed(value: object) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()
