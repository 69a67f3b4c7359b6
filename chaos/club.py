"""People who come, leave and change: what a source says of them, and what that means."""

import random
from dataclasses import dataclass, field, replace

NAMES = ("ada", "bob", "cyd", "dan", "eve", "fay", "gus", "hal", "ivy", "jon", "kim", "lee")
ANCHOR = "ada"
"""Who always stays: never all of a service may go."""
GROUPS = {"corp": "staff", "fc": "commanders"}
"""The groups that the configuration maps, and what they are called on the service."""
LEFT = 2
"""From so many pulls in a row without them, people have left."""


@dataclass(frozen=True, slots=True)
class Person:
    """As a source tells it."""

    id: str
    name: str
    title: str
    groups: frozenset[str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody is to have on a service."""

    groups: frozenset[str]
    nickname: str


@dataclass
class Club:
    """present: what a source says now. known: who was there at some pull, as they were then, and
    for how many pulls they have been missing.
    """

    dice: random.Random
    present: dict[str, Person] = field(default_factory=dict)
    known: dict[str, tuple[Person, int]] = field(default_factory=dict)
    titles: dict[str, set[str]] = field(default_factory=dict)

    def found(self, count: int) -> None:
        """The first people."""
        for name in NAMES[:count]:
            self._join(name)
        anchor = self.present[ANCHOR]
        self.present[ANCHOR] = replace(anchor, groups=anchor.groups | {"corp"})

    def live(self) -> None:
        """Something happens to some of them."""
        for _ in range(self.dice.randint(1, 4)):
            self.dice.choice((self._comes, self._leaves, self._regroups, self._renames))()

    def pulled(self) -> dict[str, tuple[Person, int]]:
        """What is known once a pull has taken over what the source says."""
        after: dict[str, tuple[Person, int]] = {}
        for name, (person, missing) in self.known.items():
            after[name] = (person, min(missing + 1, LEFT))
        after.update({name: (person, 0) for name, person in self.present.items()})
        return after

    def wanted(self) -> dict[str, Wanted]:
        """Who is to have an account, by what is known."""
        return {
            name: Wanted(
                frozenset(GROUPS[group] for group in person.groups & GROUPS.keys()), person.title
            )
            for name, (person, missing) in self.known.items()
            if missing < LEFT and "corp" in person.groups
        }

    def _join(self, name: str) -> None:
        groups = {group for group in ("corp", "fc", "logi") if self.dice.random() < 0.6}
        self.present[name] = Person(f"p-{name}", name, self._title(name), frozenset(groups))

    def _title(self, name: str) -> str:
        title = f"{name.title()} {self.dice.choice(('Smith', 'O Neill', 'Löwe', 'of 9'))}"
        self.titles.setdefault(name, set()).add(title)
        return title

    def _comes(self) -> None:
        if absent := [name for name in NAMES if name not in self.present]:
            self._join(self.dice.choice(absent))

    def _leaves(self) -> None:
        if others := sorted(self.present.keys() - {ANCHOR}):
            del self.present[self.dice.choice(others)]

    def _regroups(self) -> None:
        name = self.dice.choice(sorted(self.present))
        group = self.dice.choice(("corp", "fc", "logi"))
        if (name, group) != (ANCHOR, "corp"):
            person = self.present[name]
            self.present[name] = replace(person, groups=person.groups ^ {group})

    def _renames(self) -> None:
        name = self.dice.choice(sorted(self.present))
        self.present[name] = replace(self.present[name], title=self._title(name))
