"""Settled operations on 16 workers, against raw sqlite3 doing two updates per commit."""

import sqlite3
import time
from pathlib import Path

from benchmarks.measure import Row, in_turn
from benchmarks.site import build
from svcctl.config.load import load
from svcctl.hooks.registry import load_hooks
from svcctl.runs.engine import Options, Site
from svcctl.runs.engine import run as run_task
from svcctl.store.census import EVERYBODY
from svcctl.tasks.task import SYNC

PEOPLE = 5_000
ROUNDS = 3


def raw(folder: Path) -> float:
    """Operations per second: the same two updates, the operation's and the account's, a commit."""
    connection = sqlite3.connect(folder / "svcctl.db", isolation_level=None)
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("UPDATE operations SET status = 'pending', ended_at = NULL, after = '{}'")
    connection.execute("UPDATE accounts SET status = 'absent', uid = NULL, name_key = ''")
    operations = connection.execute(
        "SELECT id, account_id, before, after, verb FROM operations LIMIT 3000"
    ).fetchall()
    start = time.perf_counter()
    for id_, account, before, after, verb in operations:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "UPDATE operations SET status = ?, attempts = ?, next_attempt_at = ?, ended_at = ?,"
            " error = ?, before = ?, after = ? WHERE id = ?",
            ("done", 1, None, "2026-01-01T00:00:00Z", None, before, after, id_),
        )
        if verb == "create_account":
            connection.execute(
                "UPDATE accounts SET groups = ?, nickname = ?, pin = ?, updated_at = ?, status = ?,"
                " uid = ?, name = ?, name_key = ?, data = ?, disabled_at = ? WHERE id = ?",
                ("[]", "", None, "2026", "active", f"u{id_}", "n", "n", "{}", None, account),
            )
        else:
            connection.execute(
                "UPDATE accounts SET groups = ?, nickname = ?, pin = ?, updated_at = ?"
                " WHERE id = ?",
                ("[]", "x", None, "2026", account),
            )
        connection.execute("COMMIT")
    elapsed = time.perf_counter() - start
    connection.close()
    return len(operations) / elapsed


def run(folder: Path) -> list[Row]:
    rates: list[float] = []
    baselines: list[float] = []

    def once() -> float:
        place = folder / str(len(rates))
        database = build(place, people=PEOPLE, services=1, linked=False, more="concurrency = 16\n")
        settings = load(place / "svcctl.toml")
        site = Site(settings, database, load_hooks(settings))
        started: list[float] = []
        report = run_task(
            site,
            SYNC,
            EVERYBODY,
            options=Options(applying=lambda _: started.append(time.perf_counter())),
        )
        elapsed = time.perf_counter() - started[0]
        assert report.exit_code == 0, report.problems
        rates.append(len(report.applied) / elapsed)
        database.close()
        baselines.append(raw(place))
        return rates[-1]

    in_turn(once, rounds=ROUNDS)
    rate, baseline = sorted(rates)[ROUNDS // 2], sorted(baselines)[ROUNDS // 2]
    return [
        Row(
            "settled operations/s, 16 workers / raw sqlite3, 2 updates a commit",
            rate,
            baseline,
            0.7,
            unit="/",
            at_least=True,
        ),
    ]
