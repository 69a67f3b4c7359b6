"""Runs that find nothing to do: 100,000 users x 5 services x 5 groups each."""

import os
import sqlite3
import time
from pathlib import Path

from benchmarks.measure import Row, command, in_turn, peak
from benchmarks.site import build


def scan(path: Path) -> float:
    """A raw scan of the same accounts and users, plus the start-up that any such program has."""
    start = time.perf_counter()
    connection = sqlite3.connect(path)
    for _ in connection.execute("SELECT user_id, service, status, groups, nickname FROM accounts"):
        pass
    for _ in connection.execute("SELECT id, username, active, state FROM users"):
        pass
    connection.close()
    return time.perf_counter() - start + command("-c", "import sqlmodel")


def run(folder: Path) -> list[Row]:
    people = int(os.environ.get("BENCH_USERS", "100000"))
    build(folder, people=people, services=5).close()
    validate, sync, baseline = in_turn(
        lambda: command("-m", "svcctl", "validate", "--all", folder=folder),
        lambda: command("-m", "svcctl", "sync", "--all", folder=folder),
        lambda: scan(folder / "svcctl.db"),
    )
    size = f"{people:,} users x 5"
    return [
        Row(f"validate --all, nothing changed, {size} / raw scan", validate, baseline, 2),
        Row(f"sync --all, nothing changed, {size} / raw scan", sync, baseline, 5),
        Row(
            "  memory of that validate / 100 MB",
            peak("-m", "svcctl", "validate", "--all", folder=folder),
            100,
            1,
            unit="M",
        ),
        Row(
            "  memory of that sync / 300 MB",
            peak("-m", "svcctl", "sync", "--all", folder=folder),
            300,
            1,
            unit="M",
        ),
    ]
