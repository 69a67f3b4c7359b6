"""The disk is full, the database locked, the clock wrong: from every moment of a command on.

As in `crash`: first undisturbed, then once for each moment, and then again on a machine in order.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from chaos import verdict
from chaos.crash import rehearse
from chaos.machine import TROUBLES, Trouble, can_mount
from chaos.matrix import Matrix, Row, Task, Watch, spread
from chaos.moments import Moments, counted
from chaos.processes import run as svcctl
from chaos.processes import warm
from chaos.scenarios import SCENARIOS, Scenario
from chaos.sites import Unusable


@dataclass(frozen=True)
class Point:
    """From which moment on, and what came of it; no moment: the command never came to it."""

    number: int
    moment: str | None
    code: int | None
    wrong: list[str]
    undecided: int = 0


def disturb(
    scenario: Scenario, trouble: Trouble, folder: Path, expected: verdict.Found, number: int
) -> Point:
    log = folder / f"{number}.moments"
    with trouble.ground(folder / f"from-{number}") as copy:
        shutil.copytree(folder.parent / "before", copy, dirs_exist_ok=True)
        line = scenario.line(copy)
        begin = trouble.prepare(copy)

        def first() -> None:
            trouble.first()
            Moments(log, number, begin).watch()

        ended = svcctl(copy, *line, first=first)
        afterwards = trouble.afterwards(copy, line)
        trouble.over(copy)
        passed = counted(log)
        moment = passed[number - 1] if len(passed) >= number else None
        allowed = {scenario.code, *(trouble.codes if moment else ())}
        wrong = [f"{ended}: {ended.wrong}"] if ended.wrong else []
        wrong += afterwards
        if ended.code not in allowed | ({0} & scenario.codes):
            wrong.append(str(ended))
        wrong += verdict.after(copy, [line, *scenario.then], scenario.codes)
        wrong += verdict.compare(copy, expected)
        return Point(number, moment, ended.code, wrong, verdict.undecided(copy))


@dataclass
class Tally:
    """What one trouble came to, in all scenarios."""

    tried: int = 0
    undecided: int = 0
    seconds: float = 0
    lost: list[str] = field(default_factory=list)

    def add(self, scenario: Scenario, points: Iterable[Point]) -> None:
        watch = Watch()
        for point in points:
            self.tried += point.moment is not None
            self.undecided += point.undecided
            if point.wrong:
                where = f"{scenario.name}, from {point.moment} ({point.number})"
                self.lost.append(f"{where}: {'; '.join(point.wrong)}")
        self.seconds += watch.seconds


def run(task: Task) -> list[Row]:
    warm()
    troubles = [one for one in (make() for make in TROUBLES) if can_mount() or not one.needs_mounts]
    tallies = {trouble.name: Tally() for trouble in troubles}
    for scenario in SCENARIOS:
        folder = task.folder / scenario.name.replace(" ", "-")
        try:
            scenario.prepare(folder / "before")
            expected, moments = rehearse(scenario, folder)
        except Unusable as error:
            for tally in tallies.values():
                tally.lost.append(f"{scenario.name}: {error}")
            continue
        numbers = task.sample(range(1, len(moments) + 1), len(SCENARIOS) * len(troubles))
        for trouble in troubles:
            place = folder / trouble.name.replace(" ", "-")
            place.mkdir()
            points = spread(partial(disturb, scenario, trouble, place, expected), numbers)
            tallies[trouble.name].add(scenario, points)
    return [
        Row(name, one.tried, "moments", one.seconds, one.lost, one.undecided)
        for name, one in tallies.items()
    ]


MATRIX = Matrix(run, short=80)
