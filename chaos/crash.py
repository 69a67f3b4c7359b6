"""Killed at every commit, at every call of a service, at every file that is replaced.

First undisturbed, to count the moments and to see what comes of it. Then once for each moment: the
same site, killed there, and run again. What comes of it must be the same.
"""

import signal
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from chaos import sites, verdict
from chaos.matrix import Matrix, Row, Task, Watch, spread
from chaos.moments import Moments, counted
from chaos.processes import run as svcctl
from chaos.processes import warm
from chaos.scenarios import SCENARIOS, Scenario
from chaos.sites import Unusable


@dataclass(frozen=True)
class Killed:
    """What came of one kill."""

    number: int
    moment: str | None
    wrong: list[str]
    undecided: int = 0


def rehearse(scenario: Scenario, folder: Path) -> tuple[verdict.Found, list[str]]:
    """Undisturbed: what comes of it, and the moments on the way."""
    copy = sites.copy(folder / "before", folder / "undisturbed")
    log = folder / "undisturbed.moments"
    ended = svcctl(copy, *scenario.line(copy), first=Moments(log).watch)
    wrong = verdict.after(copy, scenario.then, scenario.codes)
    if wrong or ended.wrong or ended.code != scenario.code:
        raise Unusable(f"undisturbed, and yet: {ended}; {wrong}")
    return verdict.look(copy), counted(log)


def kill(scenario: Scenario, folder: Path, expected: verdict.Found, number: int) -> Killed:
    """Kill it at the moment of this number, run it again, and look."""
    copy = sites.copy(folder / "before", folder / f"killed-{number}")
    line = scenario.line(copy)
    log = copy / "moments"
    ended = svcctl(copy, *line, first=Moments(log, number).watch)
    moment = counted(log)[-1] if ended.code == -signal.SIGKILL else None
    wrong = [] if moment or ended.code in scenario.codes else [str(ended)]
    codes = scenario.codes | {0}
    wrong += verdict.after(copy, [line, *scenario.then], codes)
    wrong += verdict.differences(verdict.look(copy), expected)
    undecided = verdict.undecided(copy)
    sites.remove(copy)
    return Killed(number, moment, wrong, undecided)


def matrix(scenario: Scenario, task: Task, of: int) -> Row:
    watch = Watch()
    what = f"kill -9 during {scenario.name}"
    folder = task.folder / scenario.name.replace(" ", "-")
    try:
        scenario.prepare(folder / "before")
        expected, moments = rehearse(scenario, folder)
    except Unusable as error:
        return Row(what, 0, "kill points", watch.seconds, [str(error)])
    numbers = task.sample(range(1, len(moments) + 1), of)
    kills = list(spread(partial(kill, scenario, folder, expected), numbers))
    return Row(
        what,
        sum(one.moment is not None for one in kills),
        "kill points",
        watch.seconds,
        [
            f"killed {one.moment} ({one.number}): {'; '.join(one.wrong)}"
            for one in sorted(kills, key=lambda one: one.number)
            if one.wrong
        ],
        sum(one.undecided for one in kills),
    )


def run(task: Task) -> list[Row]:
    warm()
    return [matrix(scenario, task, len(SCENARIOS)) for scenario in SCENARIOS]


MATRIX = Matrix(run, short=100)
