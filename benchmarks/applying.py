"""Applying to a service with 50 ms latency, and to one with a rate limit."""

import time
from pathlib import Path

from benchmarks.measure import Row
from benchmarks.site import build
from svcctl.config.load import load
from svcctl.hooks.registry import load_hooks
from svcctl.runs.engine import Options, Site
from svcctl.runs.engine import run as run_task
from svcctl.store.census import EVERYBODY
from svcctl.tasks.task import SYNC

LATENCY = 0.05
WIDTH = 16
RATE = 100


def _apply(folder: Path, people: int, more: str) -> tuple[int, float]:
    database = build(folder, people=people, services=1, linked=False, more=more)
    settings = load(folder / "svcctl.toml")
    started: list[float] = []
    report = run_task(
        Site(settings, database, load_hooks(settings)),
        SYNC,
        EVERYBODY,
        options=Options(applying=lambda _: started.append(time.perf_counter())),
    )
    elapsed = time.perf_counter() - started[0]
    assert report.exit_code == 0, report.problems
    database.close()
    return len(report.applied), elapsed


def run(folder: Path) -> list[Row]:
    done, elapsed = _apply(folder / "latency", 800, f"latency = {LATENCY}\nconcurrency = {WIDTH}\n")
    ideal = done * LATENCY / WIDTH
    limited, spent = _apply(folder / "rate", 300, f'rate = "{RATE}/s"\nconcurrency = {WIDTH}\n')
    return [
        Row(f"apply, 50 ms latency, concurrency {WIDTH} / ideal", elapsed, ideal, 1.2),
        Row(
            f"apply, a limit of {RATE}/s: operations per second / the limit",
            limited / spent,
            RATE,
            0.95,
            unit="/",
            at_least=True,
        ),
    ]
