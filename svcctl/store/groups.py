"""Groups as rows, and what operators say about who is in them."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, func, insert, select, update

from svcctl.directory.person import name_problem
from svcctl.errors import UsageError
from svcctl.store.chunks import chunks
from svcctl.store.people import OPERATOR
from svcctl.store.tables import groups, memberships, users
from svcctl.store.texts import fits


def find_group(connection: Connection, name: str) -> Row[Any]:
    """The group's row. Raises UsageError, with names that are close, if there is none."""
    found = select(groups).where(groups.c.name == name)
    row = connection.execute(found).first() if fits(name) else None
    if row is None:
        known = list(connection.scalars(select(groups.c.name).order_by(groups.c.name)))
        close = get_close_matches(name, known, n=3)
        raise UsageError(
            f"no such group: {name}",
            hint=f"did you mean {' or '.join(close)}?" if close else "svcctl groups list shows all",
        )
    return row


def listing(connection: Connection) -> list[dict[str, Any]]:
    """All groups with their origin and how many users who were not removed are in them."""
    there = and_(memberships.c.present, users.c.removed_at.is_(None))
    statement = (
        select(groups.c.name, groups.c.origin, func.count(users.c.id).filter(there).label("users"))
        .outerjoin(memberships, memberships.c.group_id == groups.c.id)
        .outerjoin(users, users.c.id == memberships.c.user_id)
        .group_by(groups.c.id, groups.c.name, groups.c.origin)
        .order_by(groups.c.name)
    )
    return [dict(row) for row in connection.execute(statement).mappings()]


def names_like(connection: Connection, start: str, *, limit: int) -> list[tuple[str, str]]:
    """Names of groups that begin so, with their origin; in order."""
    if not fits(start):
        return []
    statement = (
        select(groups.c.name, groups.c.origin)
        .where(groups.c.name.startswith(start, autoescape=True))
        .order_by(groups.c.name)
        .limit(limit)
    )
    return [(name, origin) for name, origin in connection.execute(statement)]


def members(connection: Connection, group_id: int) -> list[dict[str, Any]]:
    """Who is in the group, and whom an operator keeps out of it (`present` false)."""
    statement = (
        select(
            users.c.username,
            users.c.state,
            users.c.active,
            memberships.c.origin,
            memberships.c.present,
        )
        .join(users, users.c.id == memberships.c.user_id)
        .where(memberships.c.group_id == group_id, users.c.removed_at.is_(None))
        .order_by(users.c.username)
    )
    return [dict(row) for row in connection.execute(statement).mappings()]


def ensure(connection: Connection, names: Iterable[str], origin: str) -> dict[str, int]:
    """The ids of these groups; those that do not exist yet are made. Raises UsageError."""
    wanted = sorted(set(names))
    found = _ids(connection, wanted)
    missing = [name for name in wanted if name not in found]
    for name in missing:
        if problem := name_problem(name):
            raise UsageError(f"the group's name {problem}")
    if missing:
        connection.execute(insert(groups), [{"name": name, "origin": origin} for name in missing])
        found |= _ids(connection, missing)
    return found


def _ids(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    return {
        name: id_
        for part in chunks(filter(fits, names))
        for id_, name in connection.execute(
            select(groups.c.id, groups.c.name).where(groups.c.name.in_(part))
        )
    }


def put_in(connection: Connection, group_id: int, people: Sequence[Row[Any]]) -> list[int]:
    """An operator's yes, which no source overrules; the ids of users who were not in it before."""
    before = _standing(connection, group_id, people)
    _say(connection, group_id, people, present=True)
    return [row.id for row in people if before.get(row.id) is not True]


def grant(connection: Connection, group_id: int, user_id: int, origin: str) -> bool:
    """Put a user into a group where nobody has said anything; whether that changed something."""
    mine = (memberships.c.user_id == user_id, memberships.c.group_id == group_id)
    if connection.execute(select(memberships.c.present).where(*mine)).first() is not None:
        return False
    connection.execute(
        insert(memberships).values(user_id=user_id, group_id=group_id, origin=origin, present=True)
    )
    return True


def take_out(connection: Connection, group_id: int, people: Sequence[Row[Any]]) -> list[int]:
    """An operator's no, which no source overrules; the ids of users who were in the group before.

    For a user without a source the membership simply ends.
    """
    before = _standing(connection, group_id, people)
    leaving = [row for row in people if before.get(row.id)]
    _say(connection, group_id, [row for row in leaving if row.source], present=False)
    _erase(connection, group_id, [row.id for row in leaving if not row.source])
    return [row.id for row in leaving]


def unset(connection: Connection, group_id: int, people: Sequence[Row[Any]]) -> list[int]:
    """Forget what operators said: the next pull decides. The ids of users it was said of.

    Until then a source's user keeps the membership, and one without a source loses it.
    """
    said = _standing(connection, group_id, people, OPERATOR)
    kept = [row for row in people if row.source and said.get(row.id)]
    _erase(connection, group_id, [row.id for row in people if row.id in said])
    if kept:
        rows = [
            {"user_id": row.id, "group_id": group_id, "origin": row.source, "present": True}
            for row in kept
        ]
        connection.execute(insert(memberships), rows)
    return [row.id for row in people if row.id in said]


def delete_group(connection: Connection, group_id: int) -> list[int]:
    """Delete the group with all memberships; the ids of the users who were in it."""
    among = memberships.c.group_id == group_id
    ids = select(memberships.c.user_id).where(among, memberships.c.present)
    found = sorted(connection.scalars(ids))
    connection.execute(delete(memberships).where(among))
    connection.execute(delete(groups).where(groups.c.id == group_id))
    return found


def _standing(
    connection: Connection, group_id: int, people: Sequence[Row[Any]], origin: str | None = None
) -> dict[int, bool]:
    statement = select(memberships.c.user_id, memberships.c.present).where(
        memberships.c.group_id == group_id
    )
    if origin is not None:
        statement = statement.where(memberships.c.origin == origin)
    return {
        user_id: present
        for part in chunks(row.id for row in people)
        for user_id, present in connection.execute(statement.where(memberships.c.user_id.in_(part)))
    }


def _say(
    connection: Connection, group_id: int, people: Sequence[Row[Any]], *, present: bool
) -> None:
    known = _standing(connection, group_id, people)
    for part in chunks(known):
        connection.execute(
            update(memberships)
            .where(memberships.c.group_id == group_id, memberships.c.user_id.in_(part))
            .values(origin=OPERATOR, present=present)
        )
    rows = [
        {"user_id": row.id, "group_id": group_id, "origin": OPERATOR, "present": present}
        for row in people
        if row.id not in known
    ]
    if rows:
        connection.execute(insert(memberships), rows)


def _erase(connection: Connection, group_id: int, user_ids: Iterable[int]) -> None:
    for part in chunks(user_ids):
        connection.execute(
            delete(memberships).where(
                memberships.c.group_id == group_id, memberships.c.user_id.in_(part)
            )
        )
