"""Operations as rows: the journal, what is open, what an operation left, and the history."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    Update,
    and_,
    bindparam,
    case,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    union,
    update,
)

from svcctl.clock import stamp
from svcctl.model import OPEN, OperationStatus, Verb, to_json
from svcctl.store import chain
from svcctl.store.chain.digest import new_salt
from svcctl.store.chunks import chunks, update_each
from svcctl.store.runs import Mark
from svcctl.store.tables import (
    DONE_REMOVAL,
    OPEN_OPERATION,
    accounts,
    operations,
    runs,
    users,
)
from svcctl.store.texts import legible

_OPEN = sorted(status.value for status in OPEN)
_MANY = 5000
"""Half the time of short lists; both databases take six times as many parameters."""


_TO_RETRY = select(operations.c.id).where(operations.c.next_attempt_at.isnot(None))
_UNFINISHED = union(select(operations.c.id).where(text(OPEN_OPERATION)), _TO_RETRY)


def open_ids(status: OperationStatus) -> Select[tuple[int]]:
    """The ids of open operations that stand so, found without a look at the history."""
    return select(operations.c.id).where(text(OPEN_OPERATION), operations.c.status == status.value)


PIPELINE = "pipeline "
"""What the commands of runs begin with that pipelines made."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A journaled operation, as far as later runs look at it."""

    id: int
    run_id: int
    service: str
    user_id: int
    account_id: int
    verb: Verb
    args: str
    before: str
    after: str
    status: OperationStatus
    attempts: int
    next_attempt_at: str | None
    looked: bool
    run_ended: bool
    removal: bool
    notify: bool
    reason: str
    command: str
    undo_of: int | None

    @property
    def asked_for(self) -> bool:
        """Whether it is somebody's own word, by a pipeline or an undo, whatever the policy says."""
        return self.command.startswith(PIPELINE) or self.undo_of is not None


_RECORDED = (
    operations.c.id,
    operations.c.run_id,
    operations.c.service,
    operations.c.user_id,
    operations.c.account_id,
    operations.c.verb,
    operations.c.args,
    operations.c.before,
    operations.c.after,
    operations.c.status,
    operations.c.attempts,
    operations.c.next_attempt_at,
    operations.c.looked,
    runs.c.ended_at.isnot(None),
    operations.c.removal,
    operations.c.notify,
    operations.c.reason,
    runs.c.command,
    operations.c.undo_of,
)


def _recorded(row: Any) -> Recorded:
    values = list(row)
    values[5] = Verb(values[5])
    values[9] = OperationStatus(values[9])
    return Recorded(*values)


def unfinished(connection: Connection, services: Iterable[str]) -> list[Recorded]:
    """Open operations, and failed ones that wait for another attempt."""
    statement = (
        select(*_RECORDED)
        .join(runs, runs.c.id == operations.c.run_id)
        .where(
            operations.c.service.in_(sorted(services)),
            operations.c.id.in_(_UNFINISHED),
        )
        .order_by(operations.c.id)
    )
    return [_recorded(row) for row in connection.execute(statement)]


def supersede(connection: Connection, ids: Iterable[int]) -> None:
    """Open operations give way to a newer plan; failed ones lose their next attempt."""
    moment = stamp()
    is_open = operations.c.status.in_(_OPEN)
    giving_way = (
        update(operations)
        .where(or_(is_open, operations.c.next_attempt_at.isnot(None)))
        .values(
            status=case((is_open, OperationStatus.SUPERSEDED.value), else_=operations.c.status),
            ended_at=case((is_open, moment), else_=operations.c.ended_at),
            next_attempt_at=None,
        )
    )
    for chunk in chunks(sorted(ids), _MANY):
        chosen = operations.c.id.in_(chunk)
        over = list(connection.scalars(select(operations.c.id).where(chosen, is_open)))
        connection.execute(giving_way.where(chosen))
        chain.extend(connection, operations=over)


def journal(connection: Connection, rows: list[dict[str, Any]]) -> list[int]:
    """Insert operations of one run; returns their ids in the order given."""
    if not rows:
        return []
    run_id = rows[0]["run_id"]
    connection.execute(insert(operations), [{**row, "salt": new_salt()} for row in rows])
    ids = list(
        connection.scalars(
            select(operations.c.id)
            .where(operations.c.run_id == run_id)
            .order_by(operations.c.id.desc())
            .limit(len(rows))
        )
    )[::-1]
    over = [id_ for id_, row in zip(ids, rows, strict=True) if row["status"] not in OPEN]
    chain.extend(connection, operations=over)
    return ids


_CLAIM = (
    update(operations)
    .where(operations.c.id == bindparam("b_id"))
    .values(
        status=literal_column(f"'{OperationStatus.RUNNING.value}'"),
        started_at=bindparam("b_started_at"),
        looked=bindparam("b_looked"),
    )
)


def _ending(*columns: str) -> Update:
    return (
        update(operations)
        .where(operations.c.id == bindparam("b_id"))
        .values({column: bindparam(f"b_{column}") for column in columns})
    )


_ENDED = ("status", "attempts", "next_attempt_at", "ended_at", "error")
_END = _ending(*_ENDED)
_END_DONE = _ending(*_ENDED, "before", "after")
_PENDING = OperationStatus.PENDING.value


def claim(connection: Connection, ids: Iterable[tuple[int, bool]]) -> None:
    """Mark as running before the first call; the flag says that a look proved the name free."""
    moment = stamp()
    rows = [{"b_id": id_, "b_started_at": moment, "b_looked": looked} for id_, looked in ids]
    update_each(connection, _CLAIM, rows)


def settle(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Write how operations ended, all at one moment; `rows` come from `ended` and `done`.

    To be called last in a transaction, as the chain is.
    """
    moment = stamp()
    for row in rows:
        row["b_ended_at"] = None if row["b_status"] == _PENDING else moment
    update_each(connection, _END_DONE, [row for row in rows if "b_after" in row])
    update_each(connection, _END, [row for row in rows if "b_after" not in row])
    over = [row["b_id"] for row in rows if row["b_status"] not in OPEN]
    chain.extend(connection, operations=over)


def ended(
    id_: int,
    status: OperationStatus,
    *,
    attempts: int,
    error: str | None = None,
    next_attempt_at: str | None = None,
) -> dict[str, Any]:
    """An operation that did not change the account; what was planned stays in its row."""
    return {
        "b_id": id_,
        "b_status": status.value,
        "b_attempts": attempts,
        "b_next_attempt_at": next_attempt_at,
        "b_error": None if error is None else legible(error),
    }


def done(
    id_: int, *, before: Mapping[str, Any], after: Mapping[str, Any], attempts: int, note: str
) -> dict[str, Any]:
    """An operation that was applied, with what it really changed."""
    row = ended(id_, OperationStatus.DONE, attempts=attempts, error=note or None)
    row["b_before"] = to_json(before)
    row["b_after"] = to_json(after)
    return row


def recent_removals(connection: Connection, service: str, *, since: str) -> int:
    """How many accounts lost access since then by operations that count against the limits."""
    statement = select(func.count(func.distinct(operations.c.account_id))).where(
        operations.c.service == service,
        text(DONE_REMOVAL),
        operations.c.ended_at >= since,
    )
    return connection.scalar(statement) or 0


def history(
    connection: Connection,
    *,
    run_id: int | None = None,
    user_ids: Iterable[int] | None = None,
    services: Iterable[str] | None = None,
    statuses: Iterable[str] | None = None,
    limit: int | None = None,
) -> list[Mapping[str, Any]]:
    """Operations, newest first, with username and account name."""
    statement = (
        select(
            operations,
            users.c.username,
            accounts.c.name.label("account"),
        )
        .join(users, users.c.id == operations.c.user_id)
        .join(accounts, accounts.c.id == operations.c.account_id)
        .order_by(operations.c.id.desc())
    )
    if run_id is not None:
        statement = statement.where(operations.c.run_id == run_id)
    if user_ids is not None:
        statement = statement.where(operations.c.user_id.in_(sorted(user_ids)))
    if services is not None:
        statement = statement.where(operations.c.service.in_(sorted(services)))
    if statuses is not None:
        statement = statement.where(operations.c.status.in_(sorted(statuses)))
    if limit is not None:
        statement = statement.limit(limit)
    return [dict(row) for row in connection.execute(statement).mappings()]


def resolve(
    connection: Connection, ids: Iterable[int], status: OperationStatus, *, error: str
) -> None:
    """End open operations by decree: rejected holds, unknown ones that an operator looked at."""
    for chunk in chunks(ids):
        over = list(
            connection.scalars(
                select(operations.c.id).where(
                    operations.c.id.in_(chunk), operations.c.status.in_(_OPEN)
                )
            )
        )
        connection.execute(
            update(operations)
            .where(operations.c.id.in_(over))
            .values(status=status.value, ended_at=stamp(), error=error)
        )
        chain.extend(connection, operations=over)


def failed_users(connection: Connection, services: Iterable[str]) -> frozenset[int]:
    """Users for whom an operation failed and waits for another attempt, or is unknown."""
    statement = select(operations.c.user_id).where(
        operations.c.service.in_(sorted(services)),
        operations.c.id.in_(union(open_ids(OperationStatus.UNKNOWN), _TO_RETRY)),
    )
    return frozenset(connection.scalars(statement))


def counted(connection: Connection, run_ids: Iterable[int]) -> dict[int, dict[str, dict[str, int]]]:
    """The operations of these runs as they stand now: run -> service -> status -> number."""
    found: dict[int, dict[str, dict[str, int]]] = {}
    grouped = (operations.c.run_id, operations.c.service, operations.c.status)
    for chunk in chunks(sorted(run_ids)):
        statement = (
            select(*grouped, func.count())
            .where(operations.c.run_id.in_(chunk))
            .group_by(*grouped)
            .order_by(*grouped)
        )
        for run_id, service, status, number in connection.execute(statement):
            found.setdefault(run_id, {}).setdefault(service, {})[status] = number
    return found


def underway(connection: Connection, run_ids: Iterable[int]) -> frozenset[int]:
    """Those of these runs that have operations which were begun, or are to be."""
    open_now = (OperationStatus.PENDING.value, OperationStatus.RUNNING.value)
    return frozenset(
        run_id
        for chunk in chunks(sorted(run_ids))
        for run_id in connection.scalars(
            select(operations.c.run_id)
            .where(operations.c.run_id.in_(chunk), operations.c.status.in_(open_now))
            .distinct()
        )
    )


def worked_on(connection: Connection, services: Iterable[str], since: Mark) -> frozenset[str]:
    """Those of these services that a run has been at work on since, or was and is not done."""
    begun = and_(
        operations.c.run_id.in_(since.underway),
        operations.c.status.in_((_PENDING, OperationStatus.RUNNING.value)),
    )
    lately = or_(operations.c.run_id > since.latest, begun)
    statement = (
        select(operations.c.service)
        .where(lately, operations.c.service.in_(sorted(services)))
        .distinct()
    )
    return frozenset(connection.scalars(statement))


def waiting(connection: Connection, account_id: int) -> list[Mapping[str, Any]]:
    """What is open on an account, or failed and to be tried again; oldest first."""
    statement = (
        select(operations)
        .where(
            operations.c.account_id == account_id,
            or_(operations.c.status.in_(_OPEN), operations.c.next_attempt_at.isnot(None)),
        )
        .order_by(operations.c.id)
    )
    return [dict(row) for row in connection.execute(statement).mappings()]
