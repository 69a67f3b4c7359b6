"""The guard: how many may lose access, evaluated when the plan is complete and nothing is done.

Source: docs/safety.md 2. Over the limit, all removals of that service are held; the rest goes on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from svcctl.clock import now, stamp
from svcctl.hooks.contract import ServiceHook
from svcctl.limits import allowance
from svcctl.model import Verb
from svcctl.runs.plan import Plan, PlannedAccount
from svcctl.store import accounts as account_rows
from svcctl.store import operations as operation_rows
from svcctl.store.database import Connection

WINDOW = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Held:
    """Why the removals of one service are held; numbers are accounts."""

    service: str
    removals: int
    recent: int
    allowed: int
    population: int

    @property
    def message(self) -> str:
        recent = f", {self.recent} in the last 24 h" if self.recent else ""
        return (
            f"{self.removals} of {self.population} accounts would lose access{recent}; "
            f"{self.allowed} allowed"
        )


def guard(
    connection: Connection,
    plan: Plan,
    hooks: Mapping[str, ServiceHook],
    *,
    accept_removals: int = 0,
    approved: frozenset[int] = frozenset(),
) -> list[Held]:
    """Set the verdict of every planned removal; returns what is held and why.

    accept_removals: the operator accepts up to so many removals beyond the limits, in all.
    approved: row ids of accounts whose held removal an operator approved.
    """
    over: dict[str, tuple[Held, list[PlannedAccount]]] = {}
    for service in sorted(plan.evaluated):
        removals = [
            planned
            for planned in plan.of(service)
            if planned.removal and planned.verdict is None and planned.counted
        ]
        for planned in removals:
            if planned.account.id in approved:
                planned.counted = False
        removals = [planned for planned in removals if planned.counted]
        if removals and (held := _exceeds(connection, hooks[service], removals)):
            over[service] = (held, removals)
    if over and sum(len(removals) for _, removals in over.values()) <= accept_removals:
        for _, removals in over.values():
            for planned in removals:
                planned.counted = False
        return []
    for held, removals in over.values():
        for planned in removals:
            planned.verdict = "held"
            planned.because = held.message
    return [held for held, _ in over.values()]


def _exceeds(
    connection: Connection, hook: ServiceHook, removals: list[PlannedAccount]
) -> Held | None:
    recent = operation_rows.recent_removals(connection, hook.name, since=stamp(now() - WINDOW))
    active, live = account_rows.population(connection, hook.name)
    override = hook.config.limits.removals
    losing = [planned for planned in removals if not _after_grace(planned)]
    for planned, population in ((losing, active + recent), (removals, live + recent)):
        permitted = allowance(population, override)
        if planned and len(planned) + recent > permitted:
            return Held(hook.name, len(planned), recent, permitted, population)
    return None


def _after_grace(planned: PlannedAccount) -> bool:
    """A delete of an account that was disabled already takes no access away any more."""
    return planned.account.disabled and planned.operations[0].verb is Verb.DELETE
