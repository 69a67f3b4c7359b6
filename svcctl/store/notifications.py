"""Notifications as rows: kept with what they tell of, waiting, sent or refused."""

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, insert, not_, or_, select, text, true, update

from svcctl.clock import LONGEST_BREAK, parse_stamp, stamp
from svcctl.model import to_json
from svcctl.notify import PUSH
from svcctl.store.tables import WAITING_NOTIFICATION, notifications, users
from svcctl.store.texts import legible

_WAITING = text(WAITING_NOTIFICATION)


def add(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Keep something to tell a user (`user_id`) or the operators (None) until it is sent."""
    moment = stamp()
    kept = [
        {
            **row,
            "title": legible(row["title"]),
            "message": legible(row["message"]),
            "key": secrets.token_hex(16),
            "created_at": moment,
        }
        for row in rows
    ]
    if kept:
        connection.execute(insert(notifications), kept)


def add_summary(
    connection: Connection,
    *,
    command: str,
    trouble: Iterable[Iterable[str]],
    level: str,
    title: str,
    message: str,
) -> None:
    """What the operators are told of a run of this command; no trouble: that it is over."""
    kept = to_json([[legible(part) for part in item] for item in trouble])
    row = {"level": level, "title": title, "message": message, "trouble": kept}
    add(connection, [{**row, "user_id": None, "command": legible(command)}])


def told(connection: Connection, *, since: str) -> list[tuple[str, list[list[str]]]]:
    """What the operators were told of since then: command and trouble, oldest first."""
    rows = connection.execute(
        select(notifications.c.command, notifications.c.trouble)
        .where(notifications.c.command.isnot(None), notifications.c.created_at >= since)
        .order_by(notifications.c.id)
    )
    return [(command, json.loads(trouble)) for command, trouble in rows]


def last_trouble(connection: Connection, command: str) -> list[list[str]]:
    """What the operators were last told of this command, whenever that was."""
    found = connection.scalar(
        select(notifications.c.trouble)
        .where(notifications.c.command == legible(command))
        .order_by(notifications.c.id.desc())
        .limit(1)
    )
    return json.loads(found) if found else []


OPERATORS = "operators"
"""The address of the operators' own copy, once there is one for every way to them."""
_TO_OPERATORS = and_(
    notifications.c.user_id.is_(None),
    or_(
        notifications.c.address.is_(None),
        notifications.c.address == OPERATORS,
        notifications.c.address.startswith(PUSH),
    ),
)


def spread(connection: Connection, addresses: Sequence[str]) -> None:
    """What waits for the operators is kept once for each of these ways to them."""
    fresh = and_(_WAITING, notifications.c.user_id.is_(None), notifications.c.address.is_(None))
    statement = select(notifications).where(fresh).order_by(notifications.c.id)
    first, *others = addresses
    for row in connection.execute(statement).mappings().all():
        copied = {name: row[name] for name in ("level", "title", "message", "created_at")}
        keys = {address: secrets.token_hex(16) for address in others}
        copies = [{**copied, "address": address, "key": key} for address, key in keys.items()]
        if copies:
            connection.execute(insert(notifications), copies)
        connection.execute(
            update(notifications).where(notifications.c.id == row["id"]).values(address=first)
        )


def waiting(
    connection: Connection, *, at: str, limit: int, operators: bool | None = None
) -> list[Mapping[str, Any]]:
    """What is due, with its user's name and attributes; what failed least often comes first.

    operators: only what is for them, or only the rest.
    """
    due, latest = notifications.c.next_attempt_at, stamp(parse_stamp(at) + LONGEST_BREAK)
    whom = true() if operators is None else _TO_OPERATORS if operators else not_(_TO_OPERATORS)
    statement = (
        select(notifications, users.c.username, users.c.attributes)
        .join(users, users.c.id == notifications.c.user_id, isouter=True)
        .where(_WAITING, whom, or_(due.is_(None), due <= at, due > latest))
        .order_by(notifications.c.attempts, notifications.c.id)
        .limit(limit)
    )
    return [
        {**row, "attributes": json.loads(row["attributes"] or "{}")}
        for row in connection.execute(statement).mappings()
    ]


def sent(connection: Connection, id_: int, *, error: str | None = None) -> None:
    """It is on its way; `error` is what was wrong nevertheless."""
    connection.execute(
        update(notifications)
        .where(notifications.c.id == id_)
        .values(sent_at=stamp(), next_attempt_at=None, error=_text(error), sealed=None)
    )


def put_off(
    connection: Connection, id_: int, *, attempts: int, error: str, until: str | None
) -> None:
    """It could not be sent; None: the next delivery tries again."""
    connection.execute(
        update(notifications)
        .where(notifications.c.id == id_)
        .values(attempts=attempts, next_attempt_at=until, error=_text(error))
    )


def refuse(connection: Connection, reasons: Mapping[int, str]) -> None:
    """They will never be sent."""
    moment = stamp()
    for id_, reason in reasons.items():
        connection.execute(
            update(notifications)
            .where(notifications.c.id == id_)
            .values(refused_at=moment, next_attempt_at=None, error=_text(reason), sealed=None)
        )


def shelve(connection: Connection, reason: str) -> None:
    """Whatever waits will never be sent."""
    connection.execute(
        update(notifications)
        .where(_WAITING)
        .values(refused_at=stamp(), next_attempt_at=None, error=reason, sealed=None)
    )


def _text(error: str | None) -> str | None:
    return None if error is None else legible(error)
