"""Held operations: what a limit stopped, and what a person said about it."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from svcctl.model import OperationStatus
from svcctl.store import accounts as account_rows
from svcctl.store.operations import open_ids, resolve
from svcctl.store.tables import LARGEST_ID, accounts, operations, runs, users

_HELD = operations.c.id.in_(open_ids(OperationStatus.HELD))


def held(
    connection: Connection, *, services: Iterable[str] | None = None, run_id: int | None = None
) -> list[dict[str, Any]]:
    """Every held operation, with its ids and names."""
    if run_id is not None and run_id > LARGEST_ID:
        return []
    statement = (
        select(
            operations.c.id,
            operations.c.run_id.label("run"),
            operations.c.service,
            operations.c.user_id,
            operations.c.account_id,
            users.c.username.label("user"),
            accounts.c.name.label("account"),
            operations.c.verb.label("operation"),
            runs.c.started_at.label("since"),
            runs.c.command,
            operations.c.reason,
            operations.c.undo_of,
        )
        .join(users, users.c.id == operations.c.user_id)
        .join(accounts, accounts.c.id == operations.c.account_id)
        .join(runs, runs.c.id == operations.c.run_id)
        .where(_HELD)
        .order_by(operations.c.id)
    )
    if services:
        statement = statement.where(operations.c.service.in_(sorted(services)))
    if run_id is not None:
        statement = statement.where(operations.c.run_id == run_id)
    return [dict(row) for row in connection.execute(statement).mappings()]


def summary(connection: Connection, services: Iterable[str] | None = None) -> list[dict[str, Any]]:
    """Held operations counted per run and service, with one of the reasons."""
    statement = (
        select(
            operations.c.run_id.label("run"),
            operations.c.service,
            func.count(func.distinct(operations.c.account_id)).label("accounts"),
            runs.c.started_at.label("since"),
            runs.c.command,
            runs.c.actor,
            func.min(operations.c.reason).label("reason"),
        )
        .join(runs, runs.c.id == operations.c.run_id)
        .where(_HELD)
        .group_by(
            operations.c.run_id,
            operations.c.service,
            runs.c.started_at,
            runs.c.command,
            runs.c.actor,
        )
        .order_by(operations.c.run_id, operations.c.service)
    )
    if services:
        statement = statement.where(operations.c.service.in_(sorted(services)))
    return [dict(row) for row in connection.execute(statement).mappings()]


def reject(connection: Connection, rows: Sequence[dict[str, Any]], *, actor: str) -> None:
    """End these held operations and pin their accounts, so that the next run does not hold them."""
    resolve(
        connection,
        [row["id"] for row in rows],
        OperationStatus.SKIPPED,
        error=f"rejected by {actor}",
    )
    account_rows.pin(
        connection, {row["account_id"] for row in rows}, f"removal rejected by {actor}"
    )
