"""Applying: lanes work, one writer settles. A worker goes on only after its result is committed."""

import queue
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from svcctl.clock import LONGEST_BREAK, now, stamp
from svcctl.errors import Conflict, ExitCode, Invalid, ManagerError, NotFound, RateLimited
from svcctl.model import (
    Account,
    Operation,
    OperationStatus,
    UndoPin,
    Verb,
    difference,
    effect,
)
from svcctl.runs.farewell import farewell
from svcctl.runs.journal import Job, Step
from svcctl.runs.lane import PATIENCE, Kind, Lane, Result, Stop
from svcctl.store import accounts as account_rows
from svcctl.store import notifications as notification_rows
from svcctl.store import operations as operation_rows
from svcctl.store import undo as undo_rows
from svcctl.store.database import Connection, Database

GROUP = 256
"""At most so many results share a commit."""
GOODBYE = 30.0
"""Seconds that a stopped run waits for calls in flight; then they are left to verification."""


@dataclass(frozen=True, slots=True)
class Applied:
    """One operation as it ended, for the report."""

    id: int
    service: str
    username: str
    account: str
    operation: Operation
    status: OperationStatus
    error: str | None = None
    hint: str | None = None


@dataclass(slots=True)
class Tally:
    """What applying came to."""

    applied: list[Applied] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)
    gave_up: dict[str, ManagerError] = field(default_factory=dict)
    passwords: dict[tuple[str, str], str] = field(default_factory=dict)
    abandoned: int = 0
    """Calls that were still in flight when the run had waited long enough for them."""


_WAITS = (OperationStatus.UNKNOWN, Verb.CREATE)
"""What is not tried again before a look has settled it."""


def _asked_for(error: ManagerError | None) -> timedelta:
    """The break that the service asked for."""
    seconds = error.retry_after if isinstance(error, RateLimited) else None
    return min(timedelta(seconds=min(seconds or 0, 1e6)), LONGEST_BREAK)


def back_off(attempts: int) -> timedelta:
    """How long a failed operation waits: 5 min, doubled each time, at most a day."""
    return min(timedelta(seconds=300 << min(max(0, attempts - 1), 10)), LONGEST_BREAK)


class Writer:
    """Hands out steps, settles results in group commits, and knows when all is done."""

    def __init__(
        self,
        database: Database,
        lanes: list[Lane],
        results: "queue.SimpleQueue[Result]",
        stop: Stop,
        *,
        at: Callable[[], str] = stamp,
        progress: Callable[[Applied], None] = lambda _: None,
    ) -> None:
        self.database = database
        self.lanes = lanes
        self.results = results
        self.stop = stop
        self.at = at
        self.progress = progress
        self.tally = Tally()
        self._transaction: Callable[[], AbstractContextManager[Connection]] = database.write

    def run(self) -> Tally:
        """Apply everything, or as much as `stop` allows. Raises StoreError."""
        try:
            with self.database.writer() as self._transaction:
                self._work()
        except BaseException:
            self.stop.now(ExitCode.DATABASE)
            raise
        finally:
            for lane in self.lanes:
                lane.close()
        for lane in self.lanes:
            if lane.jobs:
                self.tally.left[lane.service] = len(lane.jobs)
            if lane.gave_up is not None:
                self.tally.gave_up[lane.service] = lane.gave_up
        return self.tally

    def _work(self) -> None:
        for lane in self.lanes:
            lane.start()
        in_flight = self._hand_out(
            [(lane, None) for lane in self.lanes for _ in range(lane.width)], []
        )
        farewell: float | None = None
        while in_flight:
            batch = self._collect()
            if not batch:
                if self.stop.asked():
                    farewell = farewell or time.monotonic() + GOODBYE
                    if time.monotonic() > farewell:
                        self.tally.abandoned = in_flight
                        break
                continue
            in_flight -= len(batch)
            in_flight += self._hand_out([(result.lane, result) for result in batch], batch)

    def _collect(self) -> list[Result]:
        try:
            batch = [self.results.get(timeout=0.2)]
        except queue.Empty:
            return []
        # Workers that are about to answer get their turn: more results in a commit.
        time.sleep(0)
        while len(batch) < GROUP:
            try:
                batch.append(self.results.get_nowait())
            except queue.Empty:
                break
        return batch

    def _hand_out(self, free: list[tuple[Lane, Result | None]], batch: list[Result]) -> int:
        """Settle the batch and claim what its workers do next, in one commit; then let them go."""
        ledger = _Ledger()
        next_up: list[tuple[Lane, Job, Step]] = []
        with self._transaction() as connection:
            self._refuse_taken(connection, batch)
            ended = [self._settle(result, ledger) for result in batch]
            for lane, result in free:
                work = self._next(lane, result)
                if work is not None:
                    next_up.append((lane, *work))
            account_rows.write(connection, ledger.accounts)
            undo_rows.pin(connection, ledger.undo_pins)
            notification_rows.add(connection, ledger.notifications)
            operation_rows.claim(connection, [(step.id, step.looked) for _, _, step in next_up])
            operation_rows.settle(connection, ledger.operations)
        for lane, job, step in next_up:
            lane.give(job, step)
        for applied in (one for many in ended for one in many):
            self.tally.applied.append(applied)
            self.progress(applied)
        return len(next_up)

    def _refuse_taken(self, connection: Connection, batch: list[Result]) -> None:
        """A create that was answered with an account that is another user's: never taken over."""
        created: dict[str, dict[str, Result]] = {}
        for result in batch:
            if result.kind is Kind.DONE and result.step.operation.verb is Verb.CREATE:
                uid = result.outcome.uid or ""
                first = created.setdefault(result.lane.service, {}).setdefault(uid, result)
                if first is not result or not uid:
                    _refuse(result, uid)
        for service, results in created.items():
            for uid, account_id in account_rows.holders(connection, service, results).items():
                if account_id != results[uid].job.account.id:
                    _refuse(results[uid], uid)

    def _next(self, lane: Lane, result: Result | None) -> tuple[Job, Step] | None:
        if self.stop.asked():
            return None
        if result is not None and result.kind is Kind.FREE:
            result.step.looked = True
            return result.job, result.step
        if result is not None and result.kind is Kind.DONE and result.job.steps:
            return result.job, result.job.steps[0]
        if lane.gave_up is not None or not lane.jobs:
            return None
        job = lane.jobs.popleft()
        return job, job.steps[0]

    def _settle(self, result: Result, ledger: "_Ledger") -> list[Applied]:
        job, step = result.job, result.step
        match result.kind:
            case Kind.FREE:
                if self.stop.asked():
                    ledger.operations.append(_reopened(step))
                return []
            case Kind.DONE:
                result.lane.in_a_row = 0
                return [self._done(result, ledger)]
            case Kind.STOPPED:
                ledger.operations.append(_reopened(step))
                return []
            case Kind.UNKNOWN:
                ended = [self._ended(result, step, OperationStatus.UNKNOWN, ledger)]
            case _:
                ended = [self._ended(result, step, OperationStatus.FAILED, ledger)]
        self._count_failure(result)
        for rest in job.steps[1:]:
            ended.append(self._skipped(result, rest, ledger))
        return ended

    def _done(self, result: Result, ledger: "_Ledger") -> Applied:
        job, step = result.job, result.step
        operation = step.operation
        if result.gone and operation.verb is Verb.DISABLE:
            operation = replace(operation, verb=Verb.DELETE)
        before = job.account
        after = effect(before, operation, result.outcome, at=self.at())
        old, new = difference(before, after)
        if result.outcome.added is not None and result.outcome.removed is not None:
            new["added"] = sorted(result.outcome.added)
            new["removed"] = sorted(result.outcome.removed)
        job.account = after
        job.steps.pop(0)
        if not job.steps and after.pin != job.pin:
            job.account = replace(after, pin=job.pin)
            old["pin"], new["pin"] = after.pin, job.pin
        if operation.undo_of is not None and job.undo_pin is not None:
            job.undo_pin = job.undo_pin.keeping(step.operation.verb)
            assert job.account.id is not None
            ledger.undo_pins[job.account.id] = job.undo_pin
        ledger.operations.append(
            operation_rows.done(
                step.id,
                before=old,
                after=new,
                attempts=step.attempts + 1,
                note=result.outcome.note,
            )
        )
        ledger.accounts.append(
            account_rows.content(job.account)
            if operation.verb in (Verb.CHANGE_GROUPS, Verb.SET_NICKNAME)
            else account_rows.written(job.account, job.name_key)
        )
        if step.operation.notify:
            ledger.notifications.append(
                farewell(
                    result.lane.hook,
                    step.operation.verb,
                    before.name,
                    reason=step.operation.reason,
                    user_id=before.user_id,
                    operation_id=step.id,
                )
            )
        if result.password is not None:
            self.tally.passwords[result.lane.service, job.username] = result.password
        return _applied(result, step, OperationStatus.DONE)

    def _ended(
        self, result: Result, step: Step, status: OperationStatus, ledger: "_Ledger"
    ) -> Applied:
        attempts = max(step.attempts, 1)
        again = None
        verb = step.operation.verb
        # What an undo could not do is for its operator to ask for again, not for the next run.
        once = verb is Verb.SET_PASSWORD or step.operation.undo_of is not None
        if not once and (status, verb) != _WAITS:
            again = stamp(now() + max(back_off(attempts), _asked_for(result.error)))
        error = result.error.message if result.error else None
        ledger.operations.append(
            operation_rows.ended(
                step.id, status, attempts=attempts, error=error, next_attempt_at=again
            )
        )
        return _applied(
            result,
            step,
            status,
            error=error,
            hint=result.error.hint if result.error else None,
        )

    def _skipped(self, result: Result, step: Step, ledger: "_Ledger") -> Applied:
        error = f"{result.step.operation.verb.value} before it did not succeed"
        ledger.operations.append(
            operation_rows.ended(step.id, OperationStatus.SKIPPED, attempts=0, error=error)
        )
        return _applied(result, step, OperationStatus.SKIPPED, error=error)

    def _count_failure(self, result: Result) -> None:
        lane, error = result.lane, result.error
        if error is None or isinstance(error, (Conflict, Invalid, NotFound)):
            lane.in_a_row = 0
            return
        lane.in_a_row += 1
        # A break longer than a run waits for ends the lane at once.
        if isinstance(error, RateLimited) or lane.in_a_row >= PATIENCE:
            lane.gave_up = error


@dataclass(slots=True)
class _Ledger:
    operations: list[dict[str, Any]] = field(default_factory=list)
    accounts: list[dict[str, Any]] = field(default_factory=list)
    notifications: list[dict[str, Any]] = field(default_factory=list)
    undo_pins: dict[int, UndoPin] = field(default_factory=dict)


def _refuse(result: Result, uid: str) -> None:
    result.kind = Kind.FAILED
    result.error = Conflict(
        f"the service answered with account {uid!r}, which is not a new one",
        hint="look at both accounts on the service; link the right one: svcctl accounts link",
    )


def _reopened(step: Step) -> dict[str, Any]:
    """A step that a stopping run did not finish: a failed try is planned anew by the next run."""
    return operation_rows.ended(step.id, OperationStatus.PENDING, attempts=step.attempts)


def _applied(result: Result, step: Step, status: OperationStatus, **more: Any) -> Applied:
    return Applied(
        id=step.id,
        service=result.lane.service,
        username=result.job.username,
        account=_name(result.job.account, step.operation),
        operation=step.operation,
        status=status,
        **more,
    )


def _name(account: Account, operation: Operation) -> str:
    return account.name or str(operation.args.get("name", ""))
