"""Whether social-core's steps do their work in this order, and whether one of them is not there.

Where a list differs from the usual one, it is told what of the outcome differs: a test runs every
such list and compares.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

from svcctl.pipeline.check.finding import Finding, listed, warning
from svcctl.pipeline.dataflow import OPTIONAL, ORDER, Chosen, Kind, Part, shipped
from svcctl.pipeline.definition import INITIAL

WITHOUT: Mapping[str, str] = {
    "social_details": "nothing is read from the provider's response, not even a name",
    "social_names": "the full name does not become first and last name, nor these the full name",
    "social_uid": "nobody knows who it is at the provider",
    "auth_allowed": "everybody who has an account at the provider is let in",
    "social_user": "people who come back are not recognised, and get a second account",
    "get_username": "a new user gets the provider's name, even one that somebody has already",
    "create_user": "who is not known yet gets no user",
    "associate_user": "nobody who is new is recognised the next time",
    "load_extra_data": "tokens, and what else the provider says, are not kept",
    "user_details": "the user does not get the names that the provider says",
    "allowed_to_disconnect": "the last way in can be removed",
    "get_entries": "nothing is found that could be disconnected",
    "revoke_tokens": "the provider goes on accepting the tokens",
    "disconnect": "the associations stay",
}
"""What a pipeline lacks without one of its usual steps."""

GUARDS = frozenset({"auth_allowed", "allowed_to_disconnect"})
"""The steps that only say no."""

_RECORDS = frozenset({"user", "social", "entries"})
"""What steps work on that give nothing."""

_Pair = tuple[Part, list[str]]
_IDLE_UNLESS = {"revoke_tokens": "REVOKE_TOKENS_ON_DISCONNECT"}


def order(parts: Sequence[Part], kind: Kind, settings: Chosen) -> Iterator[Finding]:
    """Steps that come too late or too early for others, and steps that are not there."""
    yield from _late(parts, kind)
    yield from _after_effects(parts, kind)
    yield from _before_guard(parts)
    yield from _absent(parts, kind, settings)


def _late(parts: Sequence[Part], kind: Kind) -> Iterator[Finding]:
    """Steps that read a key before the step which usually gives it to them."""
    known = _ranked(parts, kind)
    moved = _moved([rank for _, rank in known])
    before: dict[int, list[_Pair]] = {}
    behind: dict[int, list[_Pair]] = {}
    for early, (reader, reader_rank) in enumerate(known):
        for late, (giver, giver_rank) in enumerate(known[early + 1 :], early + 1):
            keys = [key for key in reader.takes_from(giver) if _may_lack(reader, key, kind)]
            if giver_rank >= reader_rank or not keys:
                continue
            if late in moved or early not in moved:
                behind.setdefault(late, []).append((reader, keys))
            else:
                before.setdefault(early, []).append((giver, keys))
    for place, readers in sorted(behind.items()):
        yield warning(
            known[place][0].name,
            f"comes too late to give {_keys(readers)} to {_names(readers)}",
            f"move it before {readers[0][0].name}",
        )
    for place, givers in sorted(before.items()):
        yield warning(
            known[place][0].name,
            f"comes too early to get {_keys(givers)} from {_names(givers)}",
            f"move it behind {givers[-1][0].name}",
        )


def _names(pairs: Sequence[_Pair]) -> str:
    return listed(part.name for part, _ in pairs)


def _keys(pairs: Sequence[_Pair]) -> str:
    return listed(key for _, keys in pairs for key in keys)


def _may_lack(reader: Part, key: str, kind: Kind) -> bool:
    """Whether it can be called without a step that gives the key. Else `calling` says so."""
    return key not in reader.step.required or key in INITIAL[kind]


def _needs(reader: Part, giver: Part, kind: Kind) -> bool:
    return not all(_may_lack(reader, key, kind) for key in giver.keys)


def _after_effects(parts: Sequence[Part], kind: Kind) -> Iterator[Finding]:
    """Steps that pause behind steps which usually come after: what these did is kept."""
    known = _ranked(parts, kind)
    for place, (part, rank) in enumerate(known):
        done = [
            other
            for other, other_rank in known[:place]
            if other_rank > rank and other.declaration.effects
        ]
        if part.pauses and done:
            effects = listed(f"{other.name} ({other.declaration.effects})" for other in done)
            yield warning(
                part.name,
                f"pauses after {effects}, and what is done stays",
                f"move it before {done[0].name}",
            )


def _before_guard(parts: Sequence[Part]) -> Iterator[Finding]:
    """Steps that wait for people of whom only a later step says whether they are let in."""
    for place, part in enumerate(parts):
        waiting = [other.name for other in parts[:place] if other.pauses]
        if part.shipped in GUARDS and waiting:
            yield warning(
                part.name,
                f"comes after {listed(waiting)}, which asks also those who are not let in",
                f"move it before {waiting[0]}",
            )


def _absent(parts: Sequence[Part], kind: Kind, settings: Chosen) -> Iterator[Finding]:
    present = {part.shipped for part in parts}
    for rank, name in enumerate(ORDER[kind]):
        idle = name in _IDLE_UNLESS and not any(settings.get(_IDLE_UNLESS[name], ()))
        if name in present or name in OPTIONAL or idle:
            continue
        if _missed(shipped(name, settings), rank, parts, kind):
            yield warning(
                name, f"is not there: {WITHOUT[name]}", "put it back, if that is not meant"
            )


def acts_behind(rank: int, parts: Sequence[Part], kind: Kind) -> bool:
    """Whether one of the usual steps behind this place in the order is there and has effects."""
    return any(part.declaration.effects for part, other in _ranked(parts, kind) if other > rank)


def _missed(absent: Part, rank: int, parts: Sequence[Part], kind: Kind) -> bool:
    """Whether the steps that are there would work with it, and nothing stands in for it."""
    known = _ranked(parts, kind)
    if absent.shipped in GUARDS:
        return acts_behind(rank, parts, kind)
    if any(_needs(part, absent, kind) for part, _ in known):
        return False  # `calling` says so
    takers = [part for part, other in known if other > rank and _takes(part, absent, kind)]
    if not takers:
        acted_on = {key for part, other in known if other < rank for key in absent.takes_from(part)}
        return bool(absent.declaration.effects and acted_on & _RECORDS)
    needed = {key for taker in takers for key in taker.takes_from(absent)}
    for part in parts[: parts.index(takers[0])]:
        if part.shipped is None and (not part.declared or needed <= part.keys):
            return False
    return True


def _takes(part: Part, giver: Part, kind: Kind) -> bool:
    return any(_may_lack(part, key, kind) for key in part.takes_from(giver))


def _ranked(parts: Sequence[Part], kind: Kind) -> list[tuple[Part, int]]:
    """The steps that have a place in the usual order, with that place; each once."""
    first: dict[str, Part] = {}
    for part in parts:
        if part.shipped in ORDER[kind]:
            first.setdefault(part.shipped, part)
    return [(part, ORDER[kind].index(name)) for name, part in first.items()]


def _moved(ranks: Sequence[int]) -> set[int]:
    """The fewest places whose steps would have to move for all to be in order."""
    tails: list[int] = []
    ends: list[int] = []
    previous: list[int | None] = []
    for place, rank in enumerate(ranks):
        length = bisect_left(tails, rank)
        tails[length : length + 1] = [rank]
        ends[length : length + 1] = [place]
        previous.append(ends[length - 1] if length else None)
    kept: set[int] = set()
    last = ends[-1] if ends else None
    while last is not None:
        kept.add(last)
        last = previous[last]
    return set(range(len(ranks))) - kept
