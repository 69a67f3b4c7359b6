"""What svcctl is doing when something happens to it. The list at the end is what matrices take."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos import sites
from chaos.sites import TEN, Site, staff

Line = Sequence[str]

SYNC: Line = ("sync", "--all")


@dataclass(frozen=True)
class Scenario:
    """A site, the command to which it happens, and what an operator or cron runs afterwards.

    `codes` are the exit codes with which the command may end when it is run again, undisturbed.
    """

    name: str
    prepare: Callable[[Path], Site]
    line: Callable[[Path], Line]
    then: Sequence[Line] = (SYNC,)
    codes: frozenset[int] = frozenset({0})


def always(*words: str) -> Callable[[Path], Line]:
    return lambda _: words


def changed(folder: Path) -> Site:
    """Two come, one is renamed, one changes groups, two lose access, one comes back."""
    site = sites.settled(folder)
    away = [*staff(TEN[:9]), ("id-user9", "user9", "all")]
    site.people(away)
    site.ok("directory", "pull")
    site.ok("sync", "--all")
    site.people(
        [
            *staff(TEN[:5]),
            ("id-user5", "renamed", "staff;all"),
            ("id-user6", "user6", "staff;new"),
            ("id-user7", "user7", "all"),
            *staff(["user8", "user9", "fresh1", "fresh2"]),
        ]
    )
    site.ok("directory", "pull")
    return site


SCENARIOS = [
    Scenario("sync", changed, always(*SYNC)),
]
