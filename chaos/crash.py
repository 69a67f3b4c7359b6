"""Killed at every commit, at every call of a service, at every file that is replaced.

First undisturbed, to count the moments and to see what comes of it. Then once for each moment: the
same site, killed there, and run again. What comes of it must be the same.
"""

import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from chaos import sites, verdict
from chaos.matrix import Matrix, Row, Task, Watch, spread
from chaos.moments import Moments, counted
from chaos.processes import run as svcctl
from chaos.processes import warm
from chaos.scenarios import SCENARIOS, SYNC, Scenario
from chaos.sites import Unusable

TWICE = 300
"""How often it is killed twice where nobody says how often."""


@dataclass(frozen=True)
class Stage:
    """A scenario with its site, what comes of it undisturbed, and how many moments it has."""

    scenario: Scenario
    folder: Path
    expected: verdict.Found
    moments: int


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
    wrong += verdict.compare(copy, expected)
    undecided = verdict.undecided(copy)
    sites.remove(copy)
    return Killed(number, moment, wrong, undecided)


def twice(stages: Sequence[Stage], base: int, number: int) -> Killed:
    """Killed at some moment, and again while it is run again or while cron comes."""
    seed = base * 1_000_000 + number
    chance = random.Random(seed)
    stage = chance.choice(stages)
    scenario = stage.scenario
    copy = sites.copy(stage.folder / "before", stage.folder / f"twice-{seed}")
    line = scenario.line(copy)
    moments = []
    for turn, words in enumerate((line, chance.choice((line, SYNC)))):
        log = copy / f"moments-{turn}"
        last = chance.randrange(stage.moments) + 1
        ended = svcctl(copy, *words, first=Moments(log, last).watch)
        moments += counted(log)[-1:] if ended.code == -signal.SIGKILL else ["its end"]
    wrong = verdict.after(copy, [line, *scenario.then], scenario.codes | {0})
    wrong += verdict.compare(copy, stage.expected)
    undecided = verdict.undecided(copy)
    sites.remove(copy)
    what = f"{scenario.name}: {moments[0]}, then {moments[1]}"
    return Killed(seed, what, wrong, undecided)


def once(stage: Stage, task: Task, of: int) -> Row:
    watch = Watch()
    numbers = task.sample(range(1, stage.moments + 1), of)
    kills = list(spread(partial(kill, stage.scenario, stage.folder, stage.expected), numbers))
    return _row(f"kill -9 during {stage.scenario.name}", kills, watch)


def _row(what: str, kills: list[Killed], watch: Watch) -> Row:
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
    rows, stages = [], []
    of = len(SCENARIOS) + 1
    for scenario in SCENARIOS:
        watch = Watch()
        folder = task.folder / scenario.name.replace(" ", "-")
        try:
            scenario.prepare(folder / "before")
            expected, moments = rehearse(scenario, folder)
        except Unusable as error:
            what = f"kill -9 during {scenario.name}"
            rows.append(Row(what, 0, "kill points", watch.seconds, [str(error)]))
            continue
        stages.append(Stage(scenario, folder, expected, len(moments)))
        rows.append(once(stages[-1], task, of))
    watch = Watch()
    numbers = range(TWICE if task.runs is None else max(1, task.runs // of))
    kills = list(spread(partial(twice, stages, task.seed), numbers))
    return [*rows, _row("kill -9, and again before it is in order", kills, watch)]


MATRIX = Matrix(run, short=80)
