"""Users with their groups and accounts, streamed as columns: what every decision looks at."""

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    cast,
    exists,
    func,
    not_,
    or_,
    select,
    true,
)

from svcctl.model import NOTHING, AccountStatus, User
from svcctl.store.accounts import COLUMNS
from svcctl.store.chunks import chunks
from svcctl.store.tables import accounts, groups, memberships, users

_FETCH = 2000
_REMEMBERED = 4096
_NOBODY: tuple[int, Any] = (1 << 62, ())


@dataclass(frozen=True, slots=True)
class Selection:
    """Which users a run is asked for; every field given narrows. The empty one is everybody."""

    user_ids: frozenset[int] | None = None
    state: str | None = None
    group: str | None = None

    @property
    def everybody(self) -> bool:
        return self.user_ids is None and self.state is None and self.group is None


EVERYBODY = Selection()


def resolve(
    connection: Connection, selection: Selection, *, states: Mapping[int, str] | None = None
) -> frozenset[int] | None:
    """The ids of the selected users, None for everybody. `states`: see `stream`."""
    if selection.state is None and selection.group is None:
        return selection.user_ids
    statement = select(users.c.id, users.c.state)
    if selection.group is not None:
        statement = statement.where(_in_groups((selection.group,)))
    overrides = states or {}
    return frozenset(
        id_
        for id_, state in connection.execute(statement).all()
        if (selection.user_ids is None or id_ in selection.user_ids)
        and (selection.state is None or overrides.get(id_, state) == selection.state)
    )


def _in_groups(names: Sequence[str]) -> ColumnElement[bool]:
    return exists(
        select(memberships.c.user_id)
        .join(groups, groups.c.id == memberships.c.group_id)
        .where(
            memberships.c.user_id == users.c.id,
            memberships.c.present,
            groups.c.name.in_(names),
        )
    )


def _parts(connection: Connection, statement: Select[Any]) -> Generator[Sequence[Any], None, None]:
    """Rows, some thousand at a time; with SQLite they are the driver's own tuples.

    Half a million of them are looked at when nothing has changed: SQLAlchemy's rows would cost as
    much again as reading them. Flags may come as 0 and 1.
    """
    if connection.dialect.name != "sqlite":
        with connection.execute(statement.execution_options(yield_per=_FETCH)) as result:
            yield from result.partitions()
        return
    with connection.execute(statement) as result:
        assert result.cursor is not None
        while part := result.cursor.fetchmany(_FETCH):
            yield part


def _by_user(
    connection: Connection, statement: Select[Any]
) -> Generator[tuple[int, list[Any]], None, None]:
    """Rows ordered by user, as (user id, the user's rows)."""
    current: list[Any] = []
    owner = -1
    with closing(_parts(connection, statement)) as parts:
        for part in parts:
            for row in part:
                if row[0] != owner:
                    if current:
                        yield owner, current
                    owner = row[0]
                    current = []
                current.append(row)
    if current:
        yield owner, current


def _each(connection: Connection, statement: Select[Any]) -> Generator[Any, None, None]:
    with closing(_parts(connection, statement)) as parts:
        for part in parts:
            yield from part


def _among(column: ColumnElement[int], ids: frozenset[int]) -> ColumnElement[bool]:
    """The ids, and perhaps others between them: a long list costs more than rows to pass over."""
    if ids and max(ids) - min(ids) < 2 * len(ids):
        return column.between(min(ids), max(ids))
    return column.in_(sorted(ids))


def group_names(connection: Connection) -> dict[int, str]:
    return dict(connection.execute(select(groups.c.id, groups.c.name)).all())


def stream(
    connection: Connection,
    user_ids: frozenset[int] | None,
    services: Sequence[str],
    *,
    states: Mapping[int, str] | None = None,
) -> Iterator[tuple[User, list[Any]]]:
    """Each of these users (None: all) with the account rows (`accounts.COLUMNS`) on the services.

    In order of id, with flat memory. `states` overrides stored states, for a dry run under rules
    that differ from the stored ones. A user without any account row comes with an empty list.
    """
    if user_ids is not None and len(user_ids) > _FETCH:
        for chunk in chunks(sorted(user_ids), _FETCH):
            yield from stream(connection, frozenset(chunk), services, states=states)
        return
    names = group_names(connection)
    people = select(
        users.c.id,
        users.c.username,
        users.c.active,
        users.c.state,
        users.c.attributes,
        users.c.superuser,
    ).order_by(users.c.id)
    group_ids = func.aggregate_strings(cast(memberships.c.group_id, Text), ",")
    member = (
        select(memberships.c.user_id, group_ids)
        .where(memberships.c.present)
        .group_by(memberships.c.user_id)
        .order_by(memberships.c.user_id)
    )
    account = select(*COLUMNS).order_by(accounts.c.user_id, accounts.c.service)
    if len(services) < 2:
        account = account.where(accounts.c.service.in_(services))
    if user_ids is not None:
        people = people.where(_among(users.c.id, user_ids))
        member = member.where(_among(memberships.c.user_id, user_ids))
        account = account.where(_among(accounts.c.user_id, user_ids))
    wanted = frozenset(services)
    decode = json.JSONDecoder().raw_decode
    combinations: dict[str, frozenset[str]] = {"": frozenset()}
    with (
        closing(_each(connection, member)) as members,
        closing(_by_user(connection, account)) as records,
        closing(_each(connection, people)) as everybody,
    ):
        holder, held_ids = next(members, _NOBODY)
        owner, owned_rows = next(records, _NOBODY)
        for id_, username, active, state, attributes, superuser in everybody:
            while holder < id_:
                holder, held_ids = next(members, _NOBODY)
            key = held_ids if holder == id_ else ""
            held = combinations.get(key)
            if held is None:
                if len(combinations) >= _REMEMBERED:
                    combinations.clear()
                    combinations[""] = frozenset()
                held = combinations[key] = frozenset(
                    [names[int(group)] for group in key.split(",")]
                )
            while owner < id_:
                owner, owned_rows = next(records, _NOBODY)
            if user_ids is not None and id_ not in user_ids:
                continue
            user = User(
                id_,
                username,
                bool(active),
                state if states is None else states.get(id_, state),
                held,
                NOTHING if attributes == "{}" else decode(attributes)[0],
                bool(superuser),
            )
            mine = owned_rows if owner == id_ else ()
            yield user, [row for row in mine if row[1] in wanted]


@dataclass(frozen=True, slots=True)
class AccessRule:
    """A service's default access policy in the terms of the database."""

    states: frozenset[str]
    groups: frozenset[str]
    users: frozenset[str]


def _allowed(rule: AccessRule) -> ColumnElement[bool]:
    ways: list[ColumnElement[bool]] = []
    if rule.states:
        ways.append(users.c.state.in_(sorted(rule.states)))
    if rule.users:
        ways.append(users.c.username.in_(sorted(rule.users)))
    if rule.groups:
        ways.append(_in_groups(sorted(rule.groups)))
    return and_(users.c.active, or_(*ways)) if ways else users.c.id.is_(None)


def validate_candidates(
    connection: Connection,
    service: str,
    rule: AccessRule,
    *,
    grace_until: str | None,
    graceless: bool,
) -> list[int]:
    """The ids of users whose account the default `validate_user` would change, and no others.

    `grace_until`: accounts disabled at or before this moment have had their grace; None: for ever.
    `graceless`: no disabled account has any, whenever it was disabled.
    """
    allowed = _allowed(rule)
    lost = (
        select(accounts.c.user_id)
        .join(users, users.c.id == accounts.c.user_id)
        .where(
            accounts.c.service == service,
            accounts.c.status == AccountStatus.ACTIVE.value,
            accounts.c.pin.is_(None),
            not_(allowed),
        )
    )
    back = allowed
    if graceless:
        back = true()
    elif grace_until is not None:
        back = or_(back, accounts.c.disabled_at <= grace_until)
    disabled = (
        select(accounts.c.user_id)
        .join(users, users.c.id == accounts.c.user_id)
        .where(
            accounts.c.service == service,
            accounts.c.status == AccountStatus.DISABLED.value,
            accounts.c.pin.is_(None),
            back,
        )
    )
    return sorted({*connection.scalars(lost), *connection.scalars(disabled)})
