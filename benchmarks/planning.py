"""The planner on a hook that overrides the decisions, against a bare loop over the same calls."""

import time
from pathlib import Path

from benchmarks.measure import Row, in_turn
from benchmarks.site import OverriddenHook, build
from svcctl.config.load import load
from svcctl.hooks.registry import load_hooks
from svcctl.runs.planner import Planner
from svcctl.store.accounts import from_row
from svcctl.store.census import stream
from svcctl.tasks.task import SYNC

PEOPLE = 20_000


def run(folder: Path) -> list[Row]:
    database = build(folder, people=PEOPLE, services=1, hook="benchmarks.site:OverriddenHook")
    settings = load(folder / "svcctl.toml")
    hook = load_hooks(settings).loaded["s0"]
    assert isinstance(hook, OverriddenHook)
    with database.read() as connection:
        pairs = [(user, from_row(rows[0])) for user, rows in stream(connection, None, ("s0",))]

        def bare() -> float:
            start = time.perf_counter()
            for user, account in pairs:
                hook._accounts[user.id] = account  # noqa: SLF001
                for operation in SYNC.decide(hook, user):
                    raise AssertionError(operation)
            return time.perf_counter() - start

        def planner() -> float:
            start = time.perf_counter()
            planned = Planner(connection, SYNC, None, {"s0": hook})
            for user, account in pairs:
                planned._plan_account(hook, user, account, SYNC.decide)  # noqa: SLF001
            assert not planned.plan.accounts, planned.plan.accounts[:1]
            assert not planned.plan.problems, planned.plan.problems[:1]
            return time.perf_counter() - start

        slow, fast = in_turn(planner, bare)
    database.close()
    decisions = 4 * PEOPLE
    return [
        Row("planner, overridden decisions / a bare loop calling the same", slow, fast, 5),
        Row(
            "  decisions per second / 50,000",
            decisions / slow,
            50_000,
            1,
            unit="/",
            at_least=True,
        ),
    ]
