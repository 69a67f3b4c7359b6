"""Over HTTP: 50 ms latency, limits that are declared, said or only enforced, and a long listing."""

import itertools
import json
import threading
import time
from pathlib import Path

import requests

from benchmarks.measure import Row, command, in_turn, peak
from benchmarks.remote import Running, Settings, running
from benchmarks.site import build
from svcctl.config.load import load
from svcctl.hooks.registry import load_hooks
from svcctl.runs.engine import Options, Site
from svcctl.runs.engine import run as run_task
from svcctl.store.census import EVERYBODY
from svcctl.tasks.task import SYNC

LATENCY = 0.05
WIDTH = 16
PEOPLE = 1600
CREATES = "groups.enabled = false\nsync_names = false\n"
CALLS = 100
PER = 2
WINDOWS = 30
ACCOUNTS = 100_000
STARTED = ("-m", "svcctl", "users", "show", "user1")
READ = """
import json, sys
import requests, sqlmodel
url, session, start, total = sys.argv[1], requests.Session(), 1, 1
while start <= total:
    answer = session.get(url, params={"startIndex": start, "count": 100}, timeout=30)
    page = json.loads(answer.content)
    total = page["totalResults"]
    start += len(page["Resources"])
"""


def _apply(folder: Path, remote: Running, people: int, more: str) -> tuple[int, float]:
    """How many operations a sync did, and in how many seconds."""
    database = build(
        folder,
        people=people,
        services=1,
        hook="scim",
        linked=False,
        more=f'base_url = "{remote.url}"\n{more}',
    )
    settings = load(folder / "svcctl.toml")
    started: list[float] = []
    report = run_task(
        Site(settings, database, load_hooks(settings)),
        SYNC,
        EVERYBODY,
        options=Options(applying=lambda _: started.append(time.perf_counter())),
    )
    elapsed = time.perf_counter() - started[0]
    assert report.exit_code == 0, (report.problems, report.applied[-1:])
    database.close()
    return len(report.applied), elapsed


def _bare(remote: Running, people: int) -> float:
    """Seconds for as many creates by plain requests, each thread with a connection of its own."""

    def work() -> None:
        with requests.Session() as session:
            for _ in range(people // WIDTH):
                body = json.dumps({"userName": "x", "externalId": "y"})
                session.post(f"{remote.url}/Users", data=body, timeout=30).json()

    threads = [threading.Thread(target=work) for _ in range(WIDTH)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def _latency(folder: Path) -> list[Row]:
    at_once = f"concurrency = {WIDTH}\n"
    rounds = itertools.count()

    def creates() -> float:
        place = folder / str(next(rounds))
        with running(place, Settings(latency=LATENCY)) as remote:
            done, elapsed = _apply(place, remote, PEOPLE, at_once + CREATES)
            assert done == PEOPLE, done
        return elapsed

    def bare() -> float:
        with running(folder / str(next(rounds)), Settings(latency=LATENCY)) as remote:
            return _bare(remote, PEOPLE)

    elapsed, plain = in_turn(creates, bare, rounds=3)
    place = folder / "more"
    with running(place, Settings(latency=LATENCY)) as remote:
        _, longer = _apply(place, remote, PEOPLE // 4, at_once)
        asked = len(remote.log()["passed"])
    what = f"over HTTP, 50 ms, {WIDTH} at once"
    return [
        Row(f"apply {what}: creates / ideal", elapsed, PEOPLE * LATENCY / WIDTH, 1.2),
        Row("  / the same by plain requests in threads", elapsed, plain, 1.2),
        Row("  with names and 5 groups each / its requests", longer, asked * LATENCY / WIDTH, 2),
    ]


def _limits(folder: Path) -> list[Row]:
    """The second half of a run is steady; until then a limit that is only enforced is learned."""
    rows = []
    for says, declared in (
        ("nothing", ""),
        ("retry-after", ""),
        ("remaining", ""),
        ("nothing", f'http.rate = "{CALLS}/{PER}s"\n'),
    ):
        place = folder / f"{says}{bool(declared)}"
        with running(place, Settings(latency=0.01, calls=CALLS, per=PER, says=says)) as remote:
            _apply(place, remote, CALLS * WINDOWS, CREATES + declared)
            log = remote.log()
        passed, refused = log["passed"], log["refused"]
        middle, end = passed[len(passed) // 2], passed[-1]
        steady = sum(moment > middle for moment in passed) / (end - middle)
        late = sum(moment > middle for moment in refused)
        what = "declared" if declared else f"429, says {says}"
        rows += [
            Row(
                f"{CALLS} requests in {PER} s, {what}: a second / the limit",
                steady,
                CALLS / PER,
                0.95,
                unit="/",
                at_least=True,
            ),
            Row(f"  refused once learned (before that: {len(refused) - late})", late, 1, 0, "n"),
        ]
    return rows


def _listing(folder: Path) -> list[Row]:
    with running(folder, Settings(accounts=ACCOUNTS)) as remote:
        more = f'base_url = "{remote.url}"\n'
        build(folder, people=ACCOUNTS, services=1, hook="scim", more=more).close()
        words = ("-m", "svcctl", "update-all-groups")
        ours, baseline = in_turn(
            lambda: command(*words, folder=folder),
            lambda: command("-c", READ, f"{remote.url}/Users"),
        )
        grown = peak(*words, folder=folder) - peak(*STARTED, folder=folder)
        size = f"{ACCOUNTS:,} accounts"
        return [
            Row(f"update-all-groups, {size}, nothing changed / reading them", ours, baseline, 4),
            Row("  memory of that, over showing one user / 60 MB", grown, 60, 1, unit="M"),
        ]


def run(folder: Path) -> list[Row]:
    return [*_latency(folder / "latency"), *_limits(folder / "limits"), *_listing(folder / "list")]
