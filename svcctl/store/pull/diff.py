"""What a pull changed: exact counts, and as many examples as a person reads."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
SHOWN = 100


@dataclass(slots=True)
class Tally(Generic[T]):
    """How many there were, and the first of them."""

    count: int = 0
    shown: list[T] = field(default_factory=list)

    def add(self, item: T) -> None:
        self.count += 1
        if len(self.shown) < SHOWN:
            self.shown.append(item)

    def __bool__(self) -> bool:
        return self.count > 0


@dataclass(frozen=True, slots=True)
class Changed:
    """A user whose fields differ, each as (before, after)."""

    username: str
    fields: dict[str, tuple[object, object]]


@dataclass(slots=True)
class PullDiff:
    """What one source changed.

    `missing` vanished for the first time and keep what they have; `lost` are missing for good and
    not active any more. `removed` are in the source although an operator removed them: they stay
    removed. `joined` and `left` are pairs of user and group, `states` of user, before and after.
    """

    source: str
    read: int = 0
    added: Tally[str] = field(default_factory=Tally[str])
    changed: Tally[Changed] = field(default_factory=Tally[Changed])
    renamed: Tally[tuple[str, str]] = field(default_factory=Tally[tuple[str, str]])
    missing: Tally[str] = field(default_factory=Tally[str])
    lost: Tally[str] = field(default_factory=Tally[str])
    returned: Tally[str] = field(default_factory=Tally[str])
    removed: Tally[str] = field(default_factory=Tally[str])
    joined: Tally[tuple[str, str]] = field(default_factory=Tally[tuple[str, str]])
    left: Tally[tuple[str, str]] = field(default_factory=Tally[tuple[str, str]])
    states: Tally[tuple[str, str, str]] = field(default_factory=Tally[tuple[str, str, str]])
    _changed: "array[int]" = field(default_factory=lambda: array("q"))
    _new: "array[int]" = field(default_factory=lambda: array("q"))

    @property
    def empty(self) -> bool:
        """Whether everything was as before; that removed users stay removed is no change."""
        return not any(
            (
                self.added,
                self.changed,
                self.renamed,
                self.missing,
                self.lost,
                self.returned,
                self.joined,
                self.left,
                self.states,
            )
        )

    def touch(self, user_ids: Iterable[int]) -> None:
        """These users, who were there before, have changed."""
        self._changed.extend(user_ids)

    def newly(self, user_ids: Iterable[int]) -> None:
        """These users were added."""
        self._new.extend(user_ids)

    def lose_missing(self) -> None:
        """Whoever vanished is gone at once."""
        for name in self.missing.shown:
            self.lost.add(name)
        self.lost.count += self.missing.count - len(self.missing.shown)
        self.missing = Tally()

    def users(self) -> list[int]:
        """The ids of users who were there before and have changed."""
        return sorted(set(self._changed))

    def everyone(self) -> list[int]:
        """The ids of all users whom the pull changed or added."""
        return sorted({*self._changed, *self._new})
