"""Erasing a person: what the rows say of one user, replaced by a pseudonym."""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Connection, Row, delete, func, or_, select, update

from svcctl.clock import stamp
from svcctl.errors import UsageError
from svcctl.model import OPEN, AccountStatus, to_json
from svcctl.store import chain
from svcctl.store.tables import (
    accounts,
    associations,
    codes,
    memberships,
    notifications,
    operations,
    partials,
    runs,
    users,
)

_NAMES = frozenset({"name", "nickname", "uid"})


def forget_user(connection: Connection, row: Row[Any]) -> str:
    """Erase the person behind a user; the pseudonym that remains, for the audit.

    Raises UsageError while there is an account, or an operation that may still make one.
    """
    _refuse_while_in_use(connection, row)
    pseudonym = f"forgotten-{row.id}"
    connection.execute(delete(memberships).where(memberships.c.user_id == row.id))
    connection.execute(
        update(users)
        .where(users.c.id == row.id)
        .values(
            username=pseudonym,
            source=None,
            source_id=None,
            enabled=False,
            active=False,
            superuser=False,
            attributes="{}",
            origins="{}",
            removed_at=row.removed_at or stamp(),
            updated_at=stamp(),
        )
    )
    connection.execute(
        update(accounts)
        .where(accounts.c.user_id == row.id)
        .values(
            name="",
            name_key="",
            nickname="",
            groups="[]",
            data="{}",
            uid=None,
            undo_pin=None,
        )
    )
    connection.execute(
        delete(notifications).where(
            or_(
                notifications.c.user_id == row.id,
                notifications.c.operation_id.in_(
                    select(operations.c.id).where(operations.c.user_id == row.id)
                ),
            )
        )
    )
    _forget_logins(connection, row)
    _scrub_notices(connection, row, pseudonym)
    named = _runs_that_name(connection, row.username)
    chain.seal(connection, row.id, runs=[run.id for run in named if run.ended_at is not None])
    _scrub_operations(connection, row, pseudonym)
    _scrub_runs(connection, named, _mask(row.username, pseudonym))
    return pseudonym


def _forget_logins(connection: Connection, row: Row[Any]) -> None:
    """What ties the user to providers, and what waits for the user's word."""
    connection.execute(delete(associations).where(associations.c.user_id == row.id))
    waiting = select(partials.c.id).where(partials.c.user_id == row.id)
    email = json.loads(row.attributes).get("email")
    address = email.lower() if isinstance(email, str) else None
    connection.execute(
        delete(codes).where(
            or_(codes.c.partial_id.in_(waiting), func.lower(codes.c.email) == address)
        )
    )
    connection.execute(delete(partials).where(partials.c.user_id == row.id))


def _refuse_while_in_use(connection: Connection, row: Row[Any]) -> None:
    held = list(
        connection.scalars(
            select(accounts.c.service)
            .where(accounts.c.user_id == row.id, accounts.c.status != AccountStatus.ABSENT.value)
            .order_by(accounts.c.service)
        )
    )
    if held:
        raise UsageError(
            f"{row.username} still has an account on {', '.join(held)}",
            hint=f"delete it first: svcctl delete {row.username}",
        )
    waiting = connection.scalar(
        select(operations.c.service).where(
            operations.c.user_id == row.id,
            or_(
                operations.c.status.in_(sorted(status.value for status in OPEN)),
                operations.c.next_attempt_at.isnot(None),
            ),
        )
    )
    if waiting is not None:
        raise UsageError(
            f"{row.username} has an unfinished operation on {waiting}",
            hint=f"svcctl history {row.username} shows it; finish or reject it first",
        )


def _scrub_operations(connection: Connection, row: Row[Any], pseudonym: str) -> None:
    mask = _mask(row.username, pseudonym)
    found = connection.execute(
        select(
            operations.c.id,
            operations.c.args,
            operations.c.before,
            operations.c.after,
            operations.c.reason,
        ).where(operations.c.user_id == row.id)
    ).all()
    for id_, args, before, after, reason in found:
        connection.execute(
            update(operations)
            .where(operations.c.id == id_)
            .values(
                args=_scrubbed(args, pseudonym),
                before=_scrubbed(before, pseudonym),
                after=_scrubbed(after, pseudonym),
                reason=mask(reason),
                error=None,
            )
        )


def _scrubbed(text: str, pseudonym: str) -> str:
    """Names become the pseudonym, attributes go; groups and status stay."""
    values: dict[str, Any] = json.loads(text)
    values.pop("attributes", None)
    return to_json(
        {key: pseudonym if key in _NAMES and item else item for key, item in values.items()}
    )


def _runs_that_name(connection: Connection, username: str) -> list[Any]:
    mentioned = or_(
        runs.c.command.contains(username, autoescape=True),
        runs.c.summary.contains(username, autoescape=True),
    )
    columns = (runs.c.id, runs.c.command, runs.c.summary, runs.c.ended_at)
    found = connection.execute(select(*columns).where(mentioned)).all()
    word = _word(username)
    return [run for run in found if word.search(run.command) or word.search(run.summary)]


def _scrub_runs(connection: Connection, named: Iterable[Any], mask: Callable[[str], str]) -> None:
    for run in named:
        connection.execute(
            update(runs)
            .where(runs.c.id == run.id)
            .values(command=mask(run.command), summary=mask(run.summary))
        )


def _scrub_notices(connection: Connection, row: Row[Any], pseudonym: str) -> None:
    """What operators were told names people, and addresses that did not work."""
    texts = ("title", "message", "command", "trouble", "error", "address")
    columns = [notifications.c[name] for name in texts]
    email = json.loads(row.attributes).get("email")
    for word in filter(None, (email if isinstance(email, str) else None, row.username)):
        mask = _mask(word, pseudonym)
        mentioned = or_(*(column.contains(word, autoescape=True) for column in columns))
        about = select(notifications.c.id, *columns).where(
            notifications.c.user_id.is_(None), mentioned
        )
        for id_, *found in connection.execute(about).all():
            values = {name: mask(text) for name, text in zip(texts, found, strict=True) if text}
            connection.execute(
                update(notifications).where(notifications.c.id == id_).values(**values)
            )


def _mask(username: str, pseudonym: str) -> Callable[[str], str]:
    word = _word(username)
    return lambda text: word.sub(pseudonym, text)


def _word(username: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(username)}(?!\w)")
