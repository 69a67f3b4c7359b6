"""What a matrix is given, what it says in the end, and the table of that."""

import multiprocessing
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

WORKERS = int(os.environ.get("CHAOS_WORKERS", "2"))


@dataclass(frozen=True, slots=True)
class Task:
    """An empty folder of its own, a seed, and how many runs there are to be (None: all)."""

    folder: Path
    seed: int
    runs: int | None = None

    def sample(self, items: Sequence[T], of: int = 1) -> list[T]:
        """As many of the items as this task has runs for `of` such lists, in their order."""
        count = len(items) if self.runs is None else max(1, self.runs // of)
        if count >= len(items):
            return list(items)
        chosen = random.Random(self.seed).sample(range(len(items)), count)
        return [items[number] for number in sorted(chosen)]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what was tried, how often, and what did not come out as promised.

    `lost` says of each what, and the command that repeats it. `undecided` is how many creates were
    left to the operator because nothing tells them apart.
    """

    what: str
    tried: int
    unit: str
    seconds: float
    lost: Sequence[str] = ()
    undecided: int = 0


@dataclass(frozen=True, slots=True)
class Matrix:
    """What `python -m chaos NAME` does; `short` is how many runs it has in `make chaos`."""

    run: Callable[[Task], list[Row]]
    short: int


@dataclass
class Watch:
    """Seconds since it was made."""

    begun: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun


def spread(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """The work on each item, in as many processes as there are workers; forks of this one.

    Neither threads nor open databases may be there when it is called.
    """
    context = multiprocessing.get_context("fork")
    with context.Pool(WORKERS, initializer=_begin, initargs=(work,)) as pool:
        yield from pool.imap_unordered(_do, items)


_work: list[Callable[[Any], Any]] = []


def _begin(work: Callable[[Any], Any]) -> None:
    """The work is inherited: it need not be anything that can be sent to another process."""
    _work[:] = [work]


def _do(item: Any) -> Any:
    return _work[0](item)


def table(rows: Sequence[Row]) -> str:
    lines = [f"{'what':<58} {'tried':>7} {'':<16} {'lost':>5} {'undecided':>9} {'seconds':>8}"]
    lines += [
        f"{row.what:<58} {row.tried:>7,} {row.unit:<16} {len(row.lost):>5} {row.undecided:>9}"
        f" {row.seconds:>8.1f}"
        for row in rows
    ]
    return "\n".join(lines)
