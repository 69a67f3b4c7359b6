"""What a run came to: a frozen value that commands render and that has an exit code."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from svcctl.errors import ExitCode, ManagerError, gravest
from svcctl.model import OperationStatus
from svcctl.runs.apply import Applied
from svcctl.runs.binding import Binding, Difference
from svcctl.runs.guard import Held
from svcctl.runs.plan import Plan, PlannedAccount, Problem, changes


@dataclass(slots=True)
class Report:
    """One run: what was planned, what was done, what is left and why."""

    command: str
    dry_run: bool
    plan: Plan
    run_id: int | None = None
    held: list[Held] = field(default_factory=list)
    held_accounts: list[tuple[PlannedAccount, int | None]] = field(default_factory=list)
    deferred: list[tuple[PlannedAccount, str]] = field(default_factory=list)
    applied: list[Applied] = field(default_factory=list)
    verified: list[tuple[str, str, str]] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)
    gave_up: dict[str, ManagerError] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    passwords: dict[tuple[str, str], str] = field(default_factory=dict, repr=False)
    stopped: ExitCode | None = None
    declined: bool = False
    """Whether nothing was done once the plan was there."""
    refused: bool = False
    """Whether that is because the operator said no."""
    binding: Binding | None = None
    differences: list[Difference] | None = None
    """How the world is not as the plan says that was to be applied; None: none was."""
    check: bool = False
    """Whether changes are an answer of their own (`plan --check`)."""

    @property
    def changed(self) -> bool:
        """Whether there was, or in a dry run would be, anything to do."""
        return any(planned.verdict != "skipped" for planned in self.plan.accounts)

    @property
    def exit_code(self) -> ExitCode:
        codes = [code for _, code in self._codes()]
        if self.refused or self.differences:
            codes.append(ExitCode.FAILED)
        if self.stopped is not None:
            codes.append(self.stopped)
        if self.check and self.changed:
            codes.append(ExitCode.PENDING)
        return gravest(codes)

    def _codes(self) -> Iterator[tuple[str, ExitCode]]:
        """What happened to services, each with the exit code that it leads to."""
        for problem in (*self.problems, *self.plan.problems, *self.plan.first):
            yield problem.service, problem.code
        yield from ((held.service, ExitCode.HELD) for held in self.held)
        yield from ((planned.account.service, ExitCode.FAILED) for planned, _ in self.deferred)
        yield from ((service, ExitCode.FAILED) for service in self.gave_up)
        for one in self.applied:
            if one.status in (OperationStatus.FAILED, OperationStatus.UNKNOWN):
                yield one.service, ExitCode.FAILED

    def outcomes(self) -> dict[str, int]:
        """The exit code as far as each service goes that the run was about."""
        codes: dict[str, set[ExitCode]] = {service: set() for service in self.plan.evaluated}
        for service, code in self._codes():
            # A service that another run is at work on is that one's.
            if service in codes or code not in (ExitCode.OK, ExitCode.TRY_LATER):
                codes.setdefault(service, set()).add(code)
        if self.stopped is not None:
            for given in codes.values():
                given.add(self.stopped)
        return {service: int(gravest(given)) for service, given in sorted(codes.items())}

    def counts(self) -> dict[str, dict[str, int]]:
        """Operations per service and status; a dry run counts what is `planned`."""
        counted: dict[str, Counter[str]] = {}
        for row in self.rows():
            counted.setdefault(row["service"], Counter())[row["status"]] += 1
        return {service: dict(counter) for service, counter in sorted(counted.items())}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each operation as a flat row, in the order of the plan or as it ended."""
        if self.differences:
            return
        if self.dry_run or self.declined:
            later = {id(planned) for planned, _ in self.deferred}
            for planned in self.plan.accounts:
                if planned.verdict != "skipped" and id(planned) not in later:
                    yield from _planned_rows(planned, self.plan.at, planned.verdict or "planned")
            yield from self._deferred_rows()
            return
        for one in self.applied:
            yield {
                "id": one.id,
                "service": one.service,
                "user": one.username,
                "account": one.account,
                "operation": one.operation.verb.value,
                "args": dict(one.operation.args),
                "status": one.status.value,
                "reason": one.operation.reason,
                "error": one.error,
            }
        for planned, _ in self.held_accounts:
            yield from _planned_rows(planned, self.plan.at, "held")
        yield from self._deferred_rows()

    def _deferred_rows(self) -> Iterator[dict[str, Any]]:
        for planned, until in self.deferred:
            for row in _planned_rows(planned, self.plan.at, "deferred"):
                yield {**row, "error": f"failed before; next attempt after {until}"}

    def summary(self, *, everybody: bool) -> dict[str, Any]:
        """What the run row keeps; of runs about everybody also how they went, per service."""
        return {
            **({"services": self.outcomes()} if everybody else {}),
            "counts": self.counts(),
            "held": [held.message for held in self.held],
            "left": self.left,
            "problems": len(self.problems) + len(self.plan.problems),
        }


def _planned_rows(planned: PlannedAccount, at: str, status: str) -> Iterator[dict[str, Any]]:
    name = planned.account.name or planned.operations[0].args.get("name", "")
    for operation, before, after in changes(planned, at):
        yield {
            "id": None,
            "service": planned.account.service,
            "user": planned.username,
            "account": name,
            "operation": operation.verb.value,
            "args": dict(operation.args),
            "status": status,
            "reason": operation.reason,
            "error": planned.because or None,
            "before": before,
            "after": after,
        }
