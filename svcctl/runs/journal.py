"""The journal: what was decided becomes rows, in one durable transaction, before it is done."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from svcctl.clock import stamp
from svcctl.hooks.contract import ServiceHook
from svcctl.model import Account, Operation, OperationStatus, to_json
from svcctl.runs.plan import Plan, PlannedAccount, changes
from svcctl.store import accounts as account_rows
from svcctl.store import operations as operation_rows
from svcctl.store.database import Connection
from svcctl.store.operations import Recorded


@dataclass(slots=True)
class Step:
    """One operation to apply: its row, and what earlier attempts cost."""

    id: int
    operation: Operation
    attempts: int = 0
    looked: bool = False


@dataclass(slots=True)
class Job:
    """The steps of one account, in order; `account` is as the last settled step left it."""

    account: Account
    username: str
    steps: list[Step]
    name_key: str
    pin: str | None = None

    @property
    def rank(self) -> int:
        return self.steps[0].operation.verb.rank


@dataclass(slots=True)
class Journal:
    """What became of the plan: jobs to apply, and operations that wait."""

    run_id: int
    jobs: dict[str, list[Job]] = field(default_factory=dict)
    held: list[tuple[PlannedAccount, int]] = field(default_factory=list)
    deferred: list[tuple[PlannedAccount, str]] = field(default_factory=list)


def write(
    connection: Connection,
    plan: Plan,
    hooks: Mapping[str, ServiceHook],
    unfinished: list[Recorded],
    *,
    run_id: int,
    actor: str,
    users: frozenset[int] | None,
    only: frozenset[int] | None = None,
    force: bool,
) -> Journal:
    """Reserve accounts, give open operations up for newer ones, insert the new ones.

    users: whom the plan was about, None for everybody; only: which of their accounts. force: an
    operator asked for these users, so the back-off of earlier failures does not count. The caller
    owns the transaction.
    """
    journal = Journal(run_id)
    account_rows.observe(connection, plan.observed)
    ids = _reserve(connection, plan)
    earlier = {
        (row.account_id, row.verb): row
        for row in unfinished
        if row.service in plan.evaluated and row.status is not OperationStatus.UNKNOWN
    }
    kept: set[int] = set()
    rows: list[dict[str, Any]] = []
    waiting: list[tuple[Job, int, int]] = []
    moment = stamp()
    for planned in plan.accounts:
        if planned.verdict == "skipped":
            continue
        account = planned.account
        account_id = account.id or ids[account.service, account.user_id]
        first = planned.operations[0]
        before = earlier.get((account_id, first.verb))
        same = before is not None and before.args == to_json(first.args)
        if before is not None and same and _both_held(before, planned):
            kept.update(
                row.id
                for row in earlier.values()
                if row.account_id == account_id and row.status is OperationStatus.HELD
            )
            journal.held.append((planned, before.id))
            continue
        attempts = 0
        if before is not None and same and before.next_attempt_at is not None:
            if before.next_attempt_at > moment and not force:
                kept.add(before.id)
                journal.deferred.append((planned, before.next_attempt_at))
                continue
            attempts = before.attempts
        start = len(rows)
        for seq, (operation, old, new) in enumerate(changes(planned, plan.at)):
            rows.append(
                {
                    "run_id": run_id,
                    "service": account.service,
                    "user_id": account.user_id,
                    "account_id": account_id,
                    "seq": seq,
                    "verb": operation.verb.value,
                    "args": to_json(operation.args),
                    "before": to_json(old),
                    "after": to_json(new),
                    "reason": operation.reason,
                    "actor": actor,
                    "removal": planned.removal and planned.counted,
                    "notify": operation.notify,
                    "looked": False,
                    "status": "held" if planned.verdict == "held" else "pending",
                    "attempts": attempts,
                }
            )
        job = Job(
            account if account.id else replace(account, id=account_id),
            planned.username,
            [
                Step(0, operation, attempts if i == 0 else 0)
                for i, operation in enumerate(planned.operations)
            ],
            "",
            planned.pin,
        )
        if planned.verdict == "held":
            journal.held.append((planned, start))
            waiting.append((job, start, -len(journal.held)))
        else:
            rule = hooks[account.service].username_rule
            name = first.args.get("name", account.name)
            job.name_key = rule.key(name) if name else ""
            journal.jobs.setdefault(account.service, []).append(job)
            waiting.append((job, start, 0))
    operation_rows.supersede(
        connection,
        (
            row.id
            for row in unfinished
            if row.id not in kept
            and _evaluated(row, plan, users)
            and (only is None or row.account_id in only)
        ),
    )
    new_ids = operation_rows.journal(connection, rows)
    for job, start, held in waiting:
        for offset, step in enumerate(job.steps):
            step.id = new_ids[start + offset]
        if held:
            index = -held - 1
            journal.held[index] = (journal.held[index][0], new_ids[start])
    for jobs in journal.jobs.values():
        jobs.sort(key=lambda job: job.rank)
    return journal


def _reserve(connection: Connection, plan: Plan) -> dict[tuple[str, int], int]:
    wanted = [
        (planned.account.service, planned.account.user_id)
        for planned in plan.accounts
        if planned.account.id is None and planned.verdict != "skipped"
    ]
    return account_rows.reserve(connection, wanted)


def _both_held(before: Recorded, planned: PlannedAccount) -> bool:
    return planned.verdict == "held" and before.status is OperationStatus.HELD


def _evaluated(row: Recorded, plan: Plan, users: frozenset[int] | None) -> bool:
    """Whether this plan decided anew what the row was about."""
    if row.service not in plan.evaluated or row.status is OperationStatus.UNKNOWN:
        return False
    if users is not None and row.user_id not in users:
        return False
    return plan.task.decides_access or row.verb in plan.task.needs
