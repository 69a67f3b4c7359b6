"""The journal: what was decided becomes rows, in one durable transaction, before it is done."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from svcctl.clock import is_due, now
from svcctl.hooks.contract import ServiceHook
from svcctl.model import (
    OPEN,
    Account,
    Operation,
    OperationStatus,
    UndoPin,
    Verb,
    difference,
    to_json,
)
from svcctl.runs.plan import Plan, PlannedAccount
from svcctl.store import accounts as account_rows
from svcctl.store import operations as operation_rows
from svcctl.store import undo as undo_rows
from svcctl.store.chunks import chunks
from svcctl.store.database import Connection
from svcctl.store.operations import Recorded


@dataclass(slots=True)
class Step:
    """One operation to apply: its row, and what earlier attempts cost.

    looked: a look proved the name free. doubtful: a try got no answer and may have done it.
    """

    id: int
    operation: Operation
    attempts: int = 0
    looked: bool = False
    doubtful: bool = False


@dataclass(slots=True)
class Job:
    """The steps of one account, in order; `account` is as the last settled step left it."""

    account: Account
    username: str
    steps: list[Step]
    name_key: str
    pin: str | None = None
    undo_pin: UndoPin | None = None

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
    left_alone: frozenset[int] = frozenset(),
    force: bool,
) -> Journal:
    """Reserve accounts, give open operations up for newer ones, insert the new ones.

    users: whom the plan was about, None for everybody; only: which of their accounts; left_alone:
    accounts about which nothing could be planned. force: an operator asked for these users, so the
    back-off of earlier failures does not count. The caller owns the transaction.
    """
    account_rows.observe(connection, plan.observed)
    pins: dict[int, UndoPin | None] = dict.fromkeys(plan.released)
    ids = _reserve(connection, plan)
    earlier = _Earlier(unfinished, plan, force=force)
    journal = Journal(run_id)
    kept: set[int] = set()

    def over(row: Recorded) -> bool:
        return _evaluated(row, plan, users, hooks) and (only is None or row.account_id in only)

    fresh: list[tuple[PlannedAccount, int, int]] = []
    for planned in plan.accounts:
        if planned.verdict == "skipped":
            continue
        account_id = planned.account.id or ids[planned.account.service, planned.account.user_id]
        before = earlier.same(planned, account_id)
        if before is not None and _both_held(before, planned):
            kept.update(earlier.held(account_id))
            journal.held.append((planned, before.id))
        elif before is not None and earlier.too_soon(before):
            kept.add(before.id)
            journal.deferred.append((planned, before.next_attempt_at or ""))
        else:
            fresh.append((planned, account_id, before.attempts if before else 0))
    anew = {
        account_id: frozenset(operation.verb for operation in planned.operations)
        for planned, account_id, _ in fresh
    }
    operation_rows.supersede(
        connection,
        (
            row.id
            for row in unfinished
            if row.id not in kept
            and row.account_id not in left_alone
            and (_gives_way(row, anew.get(row.account_id)) or over(row))
        ),
    )
    for part in chunks(fresh, 1000):
        rows = [
            row
            for planned, account_id, attempts in part
            for row in _rows(planned, account_id, attempts, plan.at, run_id, actor)
        ]
        new_ids = iter(operation_rows.journal(connection, rows))
        for planned, account_id, attempts in part:
            steps = [Step(next(new_ids), operation) for operation in planned.operations]
            steps[0].attempts = attempts
            if planned.verdict == "held":
                journal.held.append((planned, steps[0].id))
            else:
                job = _job(planned, account_id, steps, hooks[planned.account.service])
                journal.jobs.setdefault(planned.account.service, []).append(job)
                if planned.undo_pin is not None or planned.unpins:
                    pins[account_id] = planned.undo_pin
    undo_rows.pin(connection, pins)
    for jobs in journal.jobs.values():
        jobs.sort(key=lambda job: job.rank)
    return journal


def not_due(
    plan: Plan, unfinished: list[Recorded], *, force: bool
) -> list[tuple[PlannedAccount, str]]:
    """What `write` would leave alone because an earlier run failed with it, and until when."""
    earlier = _Earlier(unfinished, plan, force=force)
    found = []
    for planned in plan.accounts:
        if planned.verdict != "skipped" and planned.account.id is not None:
            before = earlier.same(planned, planned.account.id)
            if before is not None and not _both_held(before, planned) and earlier.too_soon(before):
                found.append((planned, before.next_attempt_at or ""))
    return found


class _Earlier:
    """What earlier runs left about the accounts that this plan decided anew."""

    def __init__(self, unfinished: list[Recorded], plan: Plan, *, force: bool) -> None:
        self._rows: dict[int, dict[str, Recorded]] = {}
        self._force = force
        self._now = now()
        for row in unfinished:
            if row.service in plan.evaluated and row.status is not OperationStatus.UNKNOWN:
                self._rows.setdefault(row.account_id, {})[row.verb] = row

    def same(self, planned: PlannedAccount, account_id: int) -> Recorded | None:
        """The earlier operation that is what this plan begins with, if there is one."""
        first = planned.operations[0]
        row = self._rows.get(account_id, {}).get(first.verb)
        return row if row is not None and row.args == to_json(first.args) else None

    def held(self, account_id: int) -> list[int]:
        rows = self._rows.get(account_id, {}).values()
        return [row.id for row in rows if row.status is OperationStatus.HELD]

    def too_soon(self, row: Recorded) -> bool:
        return not self._force and not is_due(row.next_attempt_at, self._now)


def _rows(
    planned: PlannedAccount, account_id: int, attempts: int, at: str, run_id: int, actor: str
) -> Iterator[dict[str, Any]]:
    last = len(planned.operations) - 1
    for seq, (operation, before, after) in enumerate(planned.steps(at)):
        old, new = difference(before, after)
        if seq == last and after.pin != planned.pin:
            # Whoever finds that it was done, after a crash, has to know.
            old["pin"], new["pin"] = after.pin, planned.pin
        yield {
            "run_id": run_id,
            "service": planned.account.service,
            "user_id": planned.account.user_id,
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
            "attempts": attempts if seq == 0 else 0,
            "error": planned.because or None,
            "undo_of": operation.undo_of,
        }


def _job(planned: PlannedAccount, account_id: int, steps: list[Step], hook: ServiceHook) -> Job:
    account = planned.account
    name = steps[0].operation.args.get("name", account.name)
    return Job(
        account if account.id else replace(account, id=account_id),
        planned.username,
        steps,
        hook.username_rule.key(name) if name else "",
        planned.pin,
        planned.undo_pin,
    )


def _reserve(connection: Connection, plan: Plan) -> dict[tuple[str, int], int]:
    wanted = [
        (planned.account.service, planned.account.user_id)
        for planned in plan.accounts
        if planned.account.id is None and planned.verdict != "skipped"
    ]
    return account_rows.reserve(connection, wanted)


def _both_held(before: Recorded, planned: PlannedAccount) -> bool:
    return planned.verdict == "held" and before.status is OperationStatus.HELD


def _gives_way(row: Recorded, anew: frozenset[Verb] | None) -> bool:
    """Whether newer operations on the account, of these verbs, take the place of the row."""
    return anew is not None and (row.status in OPEN or row.verb in anew)


def _evaluated(
    row: Recorded, plan: Plan, users: frozenset[int] | None, hooks: Mapping[str, ServiceHook]
) -> bool:
    """Whether this plan decided anew what the row was about."""
    if row.service not in plan.evaluated or row.status is OperationStatus.UNKNOWN:
        return False
    if users is not None and row.user_id not in users:
        return False
    if row.asked_for and row.removal and row.status is OperationStatus.HELD:
        # The policy would not remove it, and does not take somebody's own word back.
        return plan.task.on_purpose
    if row.verb is Verb.CREATE and "create" in plan.task.sieve:
        # Where creating is not opted in, the operation is an operator's word: `retry` has it.
        return hooks[row.service].config.create == "auto"
    return row.verb in plan.task.decides
