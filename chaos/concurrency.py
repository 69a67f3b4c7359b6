"""Two commands at once: what comes of it must be what comes of one after the other, in some order.

Both begin within a moment, and are held up now and then at random; now and then one is killed. Who
was refused because the other was at work, or was killed, runs again. Nothing may hang.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from chaos import postgres, scenarios, sites, verdict
from chaos.matrix import Matrix, Row, Task, Watch, spread
from chaos.moments import Jitter, die
from chaos.processes import begin, in_turn, warm
from chaos.scenarios import JOIN, PULL, SYNC, always, codes
from chaos.sites import Site
from chaos.verdict import Found, Line, Step
from svcctl.errors import ExitCode

WHOLE = 600
LATER = int(ExitCode.TRY_LATER)
Lines = Callable[[Path], Line]


@dataclass(frozen=True)
class Overlap:
    """A site, two commands, and what is run afterwards. `codes`: how the two may end besides 0."""

    name: str
    prepare: Callable[[Path], Site]
    lines: tuple[Lines, Lines]
    then: tuple[Step, ...] = (SYNC,)
    codes: frozenset[int] = frozenset()
    anywhere: bool = True
    """Whether it is the same on a server."""


def nobody_yet(folder: Path) -> Site:
    """Everybody is to get accounts."""
    site = sites.found(folder)
    site.people(sites.staff(sites.TEN))
    site.ok(*PULL)
    return site


def coming(folder: Path) -> Site:
    """Two come, one is renamed, one changes groups; nobody loses anything."""
    site = sites.settled(folder)
    renamed = [("id-user5", "renamed", "staff;all"), ("id-user6", "user6", "staff;new")]
    others = [name for name in sites.TEN if name not in ("user5", "user6")]
    site.people([*renamed, *sites.staff([*others, "fresh1", "fresh2"])])
    site.ok(*PULL)
    return site


def link(folder: Path) -> Line:
    """An account that adopt would link, linked by hand."""
    return ("accounts", "link", "user2", "--service", "lab", "--name", "user2")


def with_batch(folder: Path) -> Site:
    """One waits to be confirmed while more are to join."""
    site = scenarios.paused(folder)
    people = [{"id": 10 + n, "login": f"new{n}", "email": f"new{n}@example.org"} for n in range(4)]
    lines = [
        f'{{"response": {one}, "set": {{"confirmed_by": "bob"}}}}'.replace("'", '"')
        for one in map(str, people)
    ]
    (folder / "batch.ndjson").write_text("\n".join(lines), encoding="utf-8")
    return site


BATCH: Line = ("pipeline", "run", "join", "--batch", "batch.ndjson")
OVERLAPS = [
    Overlap("sync | sync", nobody_yet, (always(*SYNC), always(*SYNC))),
    Overlap("sync | sync USER", scenarios.changed, (always(*SYNC), always("sync", "user6"))),
    Overlap(
        "users set | sync",
        coming,
        (always("users", "set", "user3", "--inactive"), always(*SYNC)),
    ),
    Overlap(
        "users remove | sync",
        coming,
        (always("users", "remove", "user4"), always(*SYNC)),
        codes=codes(2),
    ),
    Overlap(
        "directory pull | sync",
        scenarios.to_pull,
        (always(*PULL), always(*SYNC)),
        (PULL, PULL, SYNC),
    ),
    Overlap(
        "directory pull --sync, twice",
        scenarios.to_pull,
        (always(*PULL, "--sync"), always(*PULL, "--sync")),
        (PULL, PULL, SYNC),
    ),
    Overlap(
        "pipeline resume | pipeline run --batch",
        with_batch,
        (scenarios.resume, always(*BATCH)),
        (scenarios.resume_what_waits, SYNC),
        codes(2),
    ),
    Overlap(
        "pipeline resume, twice",
        scenarios.paused,
        (scenarios.resume, scenarios.resume),
        (scenarios.resume_what_waits, SYNC),
        codes(1, 2, 7),
    ),
    Overlap(
        "pipeline run, twice",
        scenarios.member,
        (always(*JOIN), always(*JOIN)),
        (scenarios.resume_what_waits, SYNC),
        codes(6),
    ),
    Overlap(
        "pipeline run, leaving | sync",
        scenarios.joined,
        (always("pipeline", "run", "leave", "--user", "ada"), always(*SYNC)),
        codes=codes(7),
    ),
    Overlap(
        "holds approve, twice",
        scenarios.held,
        (scenarios.approve, scenarios.approve),
        (SYNC, scenarios.approve_what_is_held, SYNC),
        codes(2, 4),
    ),
    Overlap(
        "holds approve | sync",
        scenarios.held,
        (scenarios.approve, always(*SYNC)),
        (SYNC, scenarios.approve_what_is_held, SYNC),
        codes(2, 4),
    ),
    Overlap(
        "accounts link | adopt",
        scenarios.strangers,
        (link, always("adopt", "lab", "--by", "name", "--yes")),
        codes=codes(1, 2),
    ),
    Overlap(
        "groups remove | update-all-groups",
        scenarios.drifted,
        (always("groups", "remove", "all", "user8"), always("update-all-groups")),
    ),
    Overlap(
        "users add, twice",
        scenarios.people,
        (
            always("users", "add", "ada", "-g", "staff"),
            always("users", "add", "ada", "-g", "staff"),
        ),
        codes=codes(2),
    ),
    Overlap(
        "users forget | sync",
        scenarios.removed,
        (always("users", "forget", "eve", "--yes"), always(*SYNC)),
        codes=codes(2),
    ),
    Overlap("retry | sync", scenarios.failed, (always("retry"), always(*SYNC)), codes=codes(1)),
    Overlap(
        "apply FILE | sync", scenarios.changed, (scenarios.apply, always(*SYNC)), codes=codes(1)
    ),
    Overlap("db upgrade, twice", scenarios.empty, (always("db", "upgrade"),) * 2, (PULL, SYNC)),
    Overlap("db check | sync", nobody_yet, (always("db", "check"), always(*SYNC))),
    Overlap(
        "db backup | sync",
        nobody_yet,
        (always("db", "backup", "copy"), always(*SYNC)),
        anywhere=False,
        codes=codes(2),
    ),
]


@dataclass(frozen=True)
class Stage:
    """An overlap with its site, and what comes of it one after the other, in both orders."""

    overlap: Overlap
    folder: Path
    expected: tuple[Found, ...]


@dataclass(frozen=True)
class Trial:
    """What came of one."""

    seed: int
    overlap: str
    wrong: list[str]
    refused: int = 0
    killed: bool = False


@dataclass
class Tally:
    """What all of them came to."""

    tried: int = 0
    refused: int = 0
    killed: int = 0
    lost: list[str] = field(default_factory=list)

    def add(self, trial: Trial) -> None:
        self.tried += 1
        self.refused += trial.refused
        self.killed += trial.killed
        if trial.wrong:
            self.lost.append(f"{trial.overlap} ({trial.seed}): {'; '.join(trial.wrong)}")


def stage(overlap: Overlap, folder: Path) -> Stage:
    overlap.prepare(folder / "before")
    expected = []
    for number, order in enumerate((overlap.lines, overlap.lines[::-1])):
        copy = sites.copy(folder / "before", folder / f"order-{number}")
        lines = {one: one(copy) for one in overlap.lines}
        ended = in_turn(copy, [lines[one] for one in order])
        wrong = [str(one) for one in ended if one.wrong or one.code not in {0, *overlap.codes}]
        wrong += verdict.after(copy, overlap.then, frozenset({0, *overlap.codes}))
        if wrong:
            raise sites.Unusable(f"one after the other, and yet: {'; '.join(wrong)}")
        expected.append(verdict.look(copy))
    return Stage(overlap, folder, tuple(expected))


def attempt(stages: list[Stage], base: int, number: int) -> Trial:
    seed = base * 1_000_000 + number
    chance = random.Random(seed)
    one = chance.choice(stages)
    overlap = one.overlap
    copy = sites.copy(one.folder / "before", one.folder / str(seed))
    lines = [line(copy) for line in overlap.lines]
    chance.shuffle(lines)
    victim = chance.choice([0, 1, *[None] * 8])
    processes = []
    for turn, line in enumerate(lines):
        last = chance.randrange(1, 60) if turn == victim else None
        pause = chance.random() * 0.1 * turn
        jitter = Jitter(copy / f"moments-{turn}", last, die, seed=seed + turn, pause=pause)
        processes.append(begin(copy, *line, first=jitter.watch))
    ended = [process.wait() for process in processes]
    killed = victim is not None and ended[victim].code == -9
    wrong = [f"{each.words}: {each.wrong}" for each in ended if each.wrong]
    allowed = {0, LATER, *overlap.codes}
    wrong += [
        str(e)
        for n, e in enumerate(ended)
        if not (n == victim and killed) and e.code not in allowed
    ]
    again = [each.words for n, each in enumerate(ended) if each.code in (LATER, -9)]
    if killed and not (copy / "svcctl.db").exists():
        time.sleep(0.3)  # a server hears of it by and by
    wrong += verdict.after(copy, [*again, *overlap.then], frozenset({0, *overlap.codes}))
    found = verdict.look(copy)
    against = [verdict.differences(found, expected) for expected in one.expected]
    fewest: list[str] = min(against, key=len)
    wrong += fewest
    sites.remove(copy)
    return Trial(seed, overlap.name, wrong, sum(e.code == LATER for e in ended), killed)


def overlaps(task: Task, folder: Path, store: str, runs: int) -> Row:
    watch = Watch()
    tally = Tally()
    stages = []
    for number, overlap in enumerate(OVERLAPS):
        if store != "SQLite" and not overlap.anywhere:
            continue
        place = folder / str(number)
        place.mkdir()
        if (folder / postgres.MARK).exists():
            (place / postgres.MARK).write_text((folder / postgres.MARK).read_text())
        try:
            stages.append(stage(overlap, place))
        except sites.Unusable as error:
            tally.lost.append(f"{overlap.name}: {error}")
    for trial in spread(partial(attempt, stages, task.seed), range(runs)):
        tally.add(trial)
    what = f"two at once on {store} ({tally.refused} refused, {tally.killed} killed)"
    return Row(what, tally.tried, "overlaps", watch.seconds, tally.lost)


def run(task: Task) -> list[Row]:
    warm()
    runs = task.runs or WHOLE
    there = task.folder / "sqlite"
    there.mkdir()
    rows = [overlaps(task, there, "SQLite", runs)]
    programs = postgres.binaries()
    if programs is not None and find_spec("psycopg"):
        there = task.folder / "server"
        there.mkdir()
        with postgres.server(programs) as place:
            (there / postgres.MARK).write_text(place)
            rows.append(overlaps(task, there, "PostgreSQL", max(1, runs // 3)))
    return rows


MATRIX = Matrix(run, short=90)
