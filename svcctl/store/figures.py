"""What can be counted in the database, for a monitoring system: numbers, and no person's name."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, text

from svcctl.errors import ExitCode
from svcctl.store.standing import MISSING_PULLS
from svcctl.store.tables import (
    OPEN_OPERATION,
    WAITING_NOTIFICATION,
    accounts,
    audit,
    notifications,
    operations,
    runs,
    users,
)

LOOKED_AT = 2000
"""So many of the latest runs: with one every quarter of an hour, those of three weeks."""
_LATELY = 100
_FAILURES = (ExitCode.FAILED, ExitCode.INCOMPLETE, ExitCode.DATABASE, ExitCode.CONFIG)

Counted = dict[tuple[str, str], int]


@dataclass(slots=True)
class Runs:
    """The runs of one command about everybody, as they went for one service.

    The last one: its id, when it began and ended, the service's exit code. succeeded_at: when the
    latest one with exit code 0 ended. failures: how many failed since the latest that did not.
    """

    id: int
    started_at: str
    ended_at: str
    exit_code: int
    succeeded_at: str | None = None
    failures: int = 0
    settled: bool = False


def accounts_by_status(connection: Connection) -> Counted:
    """(service, status) -> how many accounts there are."""
    statement = (
        select(accounts.c.service, accounts.c.status, func.count())
        .where(accounts.c.status != "absent")
        .group_by(accounts.c.service, accounts.c.status)
    )
    return _counted(connection.execute(statement).all())


def open_operations(connection: Connection) -> Counted:
    """(service, status) -> how many operations have not ended: held, or not known how."""
    statement = (
        select(operations.c.service, operations.c.status, func.count())
        .where(text(OPEN_OPERATION))
        .group_by(operations.c.service, operations.c.status)
    )
    return _counted(connection.execute(statement).all())


def due_for_retry(connection: Connection) -> dict[str, int]:
    """Service -> how many failed operations wait for another attempt."""
    statement = (
        select(operations.c.service, func.count())
        .where(operations.c.next_attempt_at.isnot(None))
        .group_by(operations.c.service)
    )
    return dict(connection.execute(statement).all())


def operations_of(
    connection: Connection, run_ids: Iterable[int]
) -> dict[tuple[int, str, str, str], int]:
    """(run, service, verb, status) -> how many operations of these runs stand so by now."""
    columns = (operations.c.run_id, operations.c.service, operations.c.verb, operations.c.status)
    statement = (
        select(*columns, func.count())
        .where(operations.c.run_id.in_(sorted(set(run_ids))))
        .group_by(*columns)
    )
    return {(run, *words): number for run, *words, number in connection.execute(statement)}


def missing_users(connection: Connection) -> dict[str, tuple[int, int, int]]:
    """Source -> how many of its users are there, missing since the last pull, and lost."""
    told: dict[str, list[int]] = {}
    statement = (
        select(users.c.source, users.c.missing_pulls, func.count())
        .where(users.c.source.isnot(None), users.c.removed_at.is_(None))
        .group_by(users.c.source, users.c.missing_pulls)
    )
    for source, pulls, number in connection.execute(statement):
        told.setdefault(source, [0] * (MISSING_PULLS + 1))[min(pulls, MISSING_PULLS)] += number
    return {source: (there[0], sum(there[1:-1]), there[-1]) for source, there in told.items()}


def waiting_messages(connection: Connection) -> int:
    """How many messages are kept and not sent."""
    statement = select(func.count()).select_from(notifications).where(text(WAITING_NOTIFICATION))
    return connection.scalar(statement) or 0


def sealed_messages(connection: Connection) -> bool:
    """Whether a message that waits is encrypted."""
    statement = select(notifications.c.id).where(
        text(WAITING_NOTIFICATION), notifications.c.sealed.isnot(None)
    )
    return connection.scalar(statement.limit(1)) is not None


def newest(connection: Connection) -> str | None:
    """The latest moment that lately was written down."""
    moments: list[str] = []
    for table, column in ((runs, runs.c.started_at), (audit, audit.c.at)):
        statement = select(column).order_by(table.c.id.desc()).limit(_LATELY)
        moments.extend(connection.scalars(statement))
    return max(moments, default=None)


def oldest_entry(connection: Connection) -> str | None:
    """When the first entry of the record was made."""
    return connection.scalar(select(audit.c.at).order_by(audit.c.id).limit(1))


def last_runs(connection: Connection) -> dict[tuple[str, str], Runs]:
    """(service, command) -> how its runs about everybody went, of the latest `LOOKED_AT` runs."""
    found: dict[tuple[str, str], Runs] = {}
    for run, services in _about_everybody(connection):
        for service, code in services.items():
            before = found.setdefault(
                (service, run.command), Runs(run.id, run.started_at, run.ended_at, code)
            )
            if code == ExitCode.OK and before.succeeded_at is None:
                before.succeeded_at = run.ended_at
            # What is held, or left for the next run, is no failure, and no end of failures either.
            before.settled = before.settled or code == ExitCode.OK
            before.failures += not before.settled and code in _FAILURES
    return found


@dataclass(frozen=True, slots=True)
class _Run:
    id: int
    command: str
    started_at: str
    ended_at: str


def _about_everybody(connection: Connection) -> Iterator[tuple[_Run, Mapping[str, int]]]:
    """The latest first."""
    statement = (
        select(runs.c.id, runs.c.command, runs.c.started_at, runs.c.ended_at, runs.c.summary)
        .order_by(runs.c.id.desc())
        .limit(LOOKED_AT)
    )
    for *columns, summary in connection.execute(statement):
        if services := json.loads(summary).get("services"):
            yield _Run(*columns), services


def _counted(rows: Iterable[tuple[str, str, int]]) -> Counted:
    return {(one, other): number for one, other, number in rows}
