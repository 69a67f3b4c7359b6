"""Users as rows: finding them, and what operators do to them by hand."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Row, bindparam, exists, func, insert, select, text, update

from svcctl.clock import stamp
from svcctl.directory.person import name_problem
from svcctl.errors import UsageError
from svcctl.model import to_json
from svcctl.store.chunks import chunks
from svcctl.store.tables import accounts, groups, memberships, users
from svcctl.store.texts import fits, legible

OPERATOR = "operator"
"""The origin of what a person at the shell said; no source overrules it."""

_COMPARED = 2000
_FETCH = 2000


def find_user(connection: Connection, username: str) -> Row[Any]:
    """The user's row. Raises UsageError, with names that are close, if there is none."""
    found = select(users).where(users.c.username == username)
    row = connection.execute(found).first() if fits(username) else None
    if row is None:
        raise UsageError(f"no such user: {username}", hint=_close_to(connection, username))
    return row


_NAMED = select(users).where(users.c.username == bindparam("b_name"))
_WITH_ID = select(users).where(users.c.id == bindparam("b_id"))
# Statements of every login are made once: making one takes as long as asking it.


def by_name(connection: Connection, username: str) -> Row[Any] | None:
    """The row of whoever has this name, removed or not."""
    if not fits(username):
        return None
    return connection.execute(_NAMED, {"b_name": username}).first()


def by_id(connection: Connection, id_: int) -> Row[Any] | None:
    """The row of this user, removed or not."""
    return connection.execute(_WITH_ID, {"b_id": id_}).first()


def with_email(connection: Connection, email: str) -> list[Row[Any]]:
    """The users who were not removed and may have this address; its case does not count.

    The caller looks at the attribute itself: here only the text of all attributes was searched.
    """
    if not email or not fits(email):
        return []
    written = to_json(email)[1:-1].lower()
    statement = select(users).where(
        users.c.removed_at.is_(None),
        func.lower(users.c.attributes).contains(written, autoescape=True),
    )
    return list(connection.execute(statement.order_by(users.c.id)))


def find_present(connection: Connection, username: str) -> Row[Any]:
    """The row of a user who was not removed. Raises UsageError."""
    row = find_user(connection, username)
    if row.removed_at:
        raise UsageError(
            f"{username} was removed at {row.removed_at}",
            hint=f"take the user back with: svcctl users add {username} --restore",
        )
    return row


def ids_of(connection: Connection, usernames: Iterable[str]) -> list[int]:
    """The ids of these users, in the order given. Raises UsageError for the first unknown one."""
    names = list(dict.fromkeys(usernames))
    found = {
        username: id_
        for part in chunks(filter(fits, names))
        for id_, username in connection.execute(
            select(users.c.id, users.c.username).where(users.c.username.in_(part))
        )
    }
    for name in names:
        if name not in found:
            find_user(connection, name)
    return [found[name] for name in names]


def rows_of(connection: Connection, ids: Iterable[int]) -> list[Any]:
    """The rows of these users, by name."""
    found = [
        row
        for part in chunks(ids)
        for row in connection.execute(select(users).where(users.c.id.in_(part)))
    ]
    return sorted(found, key=lambda row: row.username)


def names_of(connection: Connection, ids: Iterable[int]) -> dict[int, str]:
    """The usernames of these users."""
    return {
        id_: username
        for part in chunks(ids)
        for id_, username in connection.execute(
            select(users.c.id, users.c.username).where(users.c.id.in_(part))
        )
    }


def source_ids(connection: Connection) -> dict[int, str | None]:
    """The users who were not removed, with their id in the source that they came from."""
    statement = select(users.c.id, users.c.source_id).where(users.c.removed_at.is_(None))
    return dict(connection.execute(statement).all())


def names_like(connection: Connection, start: str, *, limit: int) -> list[tuple[str, str]]:
    """Usernames that begin so, with the user's state; in order."""
    if not fits(start):
        return []
    statement = (
        select(users.c.username, users.c.state)
        .where(users.c.username.startswith(start, autoescape=True), users.c.removed_at.is_(None))
        .order_by(users.c.username)
        .limit(limit)
    )
    return [(name, state) for name, state in connection.execute(statement)]


def _close_to(connection: Connection, username: str) -> str:
    names = select(users.c.username).order_by(users.c.username)
    some = list(connection.scalars(names.limit(_COMPARED + 1)))
    if len(some) > _COMPARED:
        start = legible(username[:2].lower())
        alike = func.lower(users.c.username).startswith(start, autoescape=True)
        some = list(connection.scalars(names.where(alike).limit(_COMPARED)))
    close = get_close_matches(username, some, n=3)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return "svcctl users list shows everybody"


def listing(
    connection: Connection,
    *,
    ids: Collection[int] | None = None,
    state: str | None = None,
    group: str | None = None,
    active: bool | None = None,
    removed: bool = False,
) -> Iterator[dict[str, Any]]:
    """Users by name, streamed; every condition narrows. `removed`: the removed ones instead."""
    statement = select(
        users.c.username,
        users.c.state,
        users.c.active,
        users.c.superuser,
        users.c.source,
        users.c.missing_pulls,
        users.c.removed_at,
    ).order_by(users.c.username)
    gone = users.c.removed_at
    statement = statement.where(gone.isnot(None) if removed else gone.is_(None))
    if state is not None:
        statement = statement.where(users.c.state == state)
    if active is not None:
        statement = statement.where(users.c.active.is_(active))
    if group is not None:
        statement = statement.where(
            exists(
                select(memberships.c.user_id)
                .join(groups, groups.c.id == memberships.c.group_id)
                .where(
                    memberships.c.user_id == users.c.id,
                    memberships.c.present,
                    groups.c.name == group,
                )
            )
        )
    if ids is not None:
        rows = [
            dict(row)
            for part in chunks(ids)
            for row in connection.execute(statement.where(users.c.id.in_(part))).mappings()
        ]
        yield from sorted(rows, key=itemgetter("username"))
        return
    with connection.execute(statement.execution_options(yield_per=_FETCH)) as result:
        for row in result.mappings():
            yield dict(row)


_MEMBERSHIPS = (
    select(groups.c.name, memberships.c.origin, memberships.c.present)
    .join(groups, groups.c.id == memberships.c.group_id)
    .where(memberships.c.user_id == bindparam("b_id"))
    .order_by(groups.c.name)
)


def memberships_of(connection: Connection, user_id: int) -> list[dict[str, Any]]:
    """The user's groups with who put the user there; `present` false: kept out by an operator."""
    found = connection.execute(_MEMBERSHIPS, {"b_id": user_id})
    return [dict(row) for row in found.mappings()]


def details(connection: Connection, row: Row[Any]) -> dict[str, Any]:
    """All that is known of a user, in JSON's types."""
    held = memberships_of(connection, row.id)
    origins = json.loads(row.origins)
    account = (
        select(accounts.c.service, accounts.c.status, accounts.c.name)
        .where(accounts.c.user_id == row.id)
        .order_by(accounts.c.service)
    )
    return {
        "id": row.id,
        "username": row.username,
        "state": row.state,
        "active": row.active,
        "superuser": row.superuser,
        "source": row.source,
        "source_id": row.source_id,
        "missing_pulls": row.missing_pulls,
        "removed_at": row.removed_at,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "attributes": json.loads(row.attributes),
        "operator": sorted(origins),
        "groups": [
            {"name": item["name"], "origin": item["origin"]} for item in held if item["present"]
        ],
        "kept_out_of": [item["name"] for item in held if not item["present"]],
        "accounts": [dict(item) for item in connection.execute(account).mappings()],
    }


def reserve_id(connection: Connection) -> int:
    """An id that no user has or will be given: for a user who is about to be added.

    SQLite keeps the last one in sqlite_sequence, which may be written
    (https://www.sqlite.org/autoinc.html).
    """
    if connection.dialect.name != "sqlite":
        return int(connection.scalar(text("SELECT nextval(pg_get_serial_sequence('users', 'id'))")))
    counted = connection.execute(
        text("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'users' RETURNING seq")
    ).scalar()
    if counted is not None:
        return int(counted)
    connection.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES ('users', 1)"))
    return 1


def next_id(connection: Connection) -> int:
    """The id that the next user will probably get: for a dry run, which reserves nothing."""
    return int(connection.scalar(select(func.max(users.c.id))) or 0) + 1


def add_user(
    connection: Connection,
    username: str,
    *,
    attributes: Mapping[str, Any],
    superuser: bool = False,
    id_: int | None = None,
) -> int:
    """A user of the operator's own; its id. Raises UsageError for a name that is taken or none.

    id_: what `reserve_id` gave.
    """
    if problem := name_problem(username):
        raise UsageError(f"the username {problem}", hint="use letters, digits and the like")
    taken = connection.execute(select(users).where(users.c.username == username)).first()
    if taken is not None and taken.removed_at:
        find_present(connection, username)
    if taken is not None:
        raise UsageError(
            f"{username} is already a user",
            hint=f"change the user with: svcctl users set {username}",
        )
    moment = stamp()
    connection.execute(
        insert(users).values(
            **({} if id_ is None else {"id": id_}),
            username=username,
            enabled=True,
            active=True,
            superuser=superuser,
            attributes=to_json(attributes),
            created_at=moment,
            updated_at=moment,
        )
    )
    return ids_of(connection, [username])[0] if id_ is None else id_


def restore_user(connection: Connection, row: Row[Any]) -> None:
    """Take a removed user back, with the groups and attributes as they were."""
    _write(connection, row.id, removed_at=None, missing_pulls=0)


def remove_user(connection: Connection, row: Row[Any]) -> None:
    """Mark the user as removed: not active, and no source brings the user back."""
    _write(connection, row.id, removed_at=stamp(), active=False)


def change_user(
    connection: Connection,
    row: Row[Any],
    *,
    attributes: Mapping[str, Any],
    active: bool | None = None,
    superuser: bool | None = None,
    unset: Sequence[str] = (),
) -> dict[str, tuple[Any, Any]]:
    """What an operator says of a user; the fields that changed, as (before, after).

    Every field given is the operator's from now on. `unset` names fields (`active`, `superuser` or
    an attribute) that no longer are: the next pull decides them; until then a source's user keeps
    the value, and one without a source loses it.
    """
    origins: dict[str, str] = json.loads(row.origins)
    before = {"active": row.enabled, "superuser": row.superuser, **_attributes(row)}
    after = dict(before)
    for field in unset:
        key = field if field in ("active", "superuser") else f"attributes.{field}"
        origins.pop(key, None)
        if key == "superuser" or row.source is None:
            after[key] = {"active": True, "superuser": False}.get(key)
    given = {f"attributes.{key}": value for key, value in attributes.items()}
    for key, value in {"active": active, "superuser": superuser, **given}.items():
        if value is not None:
            after[key] = value
            origins[key] = OPERATOR
    changed = {key: (before.get(key), after[key]) for key in after if before.get(key) != after[key]}
    kept = {
        key.removeprefix("attributes."): value
        for key, value in after.items()
        if key.startswith("attributes.") and value is not None
    }
    if row.source is not None:
        known: dict[str, str] = json.loads(row.origins)
        for key in sorted(origins.keys() ^ known.keys()):
            owners = (known.get(key, row.source), origins.get(key, row.source))
            changed[f"origin of {key.removeprefix('attributes.')}"] = owners
    if changed or to_json(origins) != row.origins:
        _write(
            connection,
            row.id,
            enabled=after["active"],
            superuser=after["superuser"],
            attributes=to_json(kept),
            origins=to_json(origins),
        )
    return changed


def take_over(connection: Connection, user_id: int, values: Mapping[str, Any]) -> None:
    """What a login says of a user: `username`, `is_active`, and attributes; None removes one."""
    (row,) = rows_of(connection, [user_id])
    attributes = json.loads(row.attributes)
    changed: dict[str, Any] = {}
    for name, value in values.items():
        if name == "username":
            changed["username"] = value
        elif name == "is_active":
            changed["enabled"] = bool(value)
        elif value is None:
            attributes.pop(name, None)
        else:
            attributes[name] = value
    _write(connection, user_id, attributes=to_json(attributes), **changed)


def _attributes(row: Row[Any]) -> dict[str, Any]:
    return {f"attributes.{key}": value for key, value in json.loads(row.attributes).items()}


def _write(connection: Connection, user_id: int, **values: Any) -> None:
    connection.execute(
        update(users).where(users.c.id == user_id).values(**values, updated_at=stamp())
    )
