"""Where users stand: `active` and `state`, recomputed from what they are derived of, and stored."""

import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from svcctl.config.settings import StateRule
from svcctl.directory.states import Rules, choose
from svcctl.model import NOTHING, to_json
from svcctl.store.chunks import chunks
from svcctl.store.tables import groups, memberships, states, users

MISSING_PULLS = 2
"""From so many pulls in a row without a user, the user is not active."""

_PAGE = 5000
StateChange = tuple[int, str, str]
"""A user's id, the state before and the state after."""


def stored_rules(connection: Connection) -> tuple[tuple[str, StateRule], ...]:
    """The rules that users were last sorted by; empty before the first time."""
    statement = select(states.c.name, states.c.rule).order_by(states.c.priority.desc())
    return tuple(
        (name, StateRule.model_validate_json(rule)) for name, rule in connection.execute(statement)
    )


def store_rules(connection: Connection, rules: Rules) -> None:
    """Remember the rules that users are now sorted by."""
    connection.execute(delete(states))
    connection.execute(
        insert(states),
        [
            {"name": name, "priority": rule.priority, "rule": to_json(rule.model_dump())}
            for name, rule in rules
        ],
    )


def count_states(connection: Connection) -> dict[str, int]:
    """How many users, the removed ones left out, are in each state."""
    statement = (
        select(users.c.state, func.count())
        .where(users.c.removed_at.is_(None))
        .group_by(users.c.state)
    )
    return dict(connection.execute(statement).all())


def refresh_states(
    connection: Connection, rules: Rules, user_ids: Iterable[int] = ()
) -> list[StateChange]:
    """Sort these users anew; all users when the rules are not those that they were sorted by."""
    if stored_rules(connection) == tuple(rules):
        return resort_states(connection, rules, user_ids)
    changes = resort_states(connection, rules, None)
    store_rules(connection, rules)
    return changes


def resort_states(
    connection: Connection, rules: Rules, user_ids: Iterable[int] | None
) -> list[StateChange]:
    """Recompute `active` and `state`, of everybody when `user_ids` is None; writes what changed."""
    changes: list[StateChange] = []
    among = None if user_ids is None else sorted(set(user_ids))
    for part in [None] if among is None else chunks(among):
        _resort_activity(connection, part)
    for page in _pages(connection, rules, among):
        changed = [change for change in page if change[1] != change[2]]
        if changed:
            connection.execute(
                update(users)
                .where(users.c.id == bindparam("b_id"))
                .values(state=bindparam("b_state")),
                [{"b_id": id_, "b_state": after} for id_, _, after in changed],
            )
            changes.extend(changed)
    return changes


def stale_states(connection: Connection, rules: Rules) -> dict[int, str]:
    """The states that users would have, where they differ because the rules have changed since.

    Nothing is written: dry runs decide by it. Empty when the rules are the stored ones.
    """
    if stored_rules(connection) == tuple(rules):
        return {}
    return {
        id_: after
        for page in _pages(connection, rules, None)
        for id_, before, after in page
        if before != after
    }


def _resort_activity(connection: Connection, user_ids: Sequence[int] | None) -> None:
    present = and_(
        users.c.enabled, users.c.removed_at.is_(None), users.c.missing_pulls < MISSING_PULLS
    )
    statement = update(users).where(users.c.active != present).values(active=present)
    if user_ids is not None:
        statement = statement.where(users.c.id.in_(user_ids))
    connection.execute(statement)


def _pages(
    connection: Connection, rules: Rules, user_ids: Sequence[int] | None
) -> Iterator[list[StateChange]]:
    """(id, stored state, chosen state) of the users, in pages small enough to hold."""
    if user_ids is not None:
        for part in chunks(user_ids):
            yield _page(connection, rules, users.c.id.in_(part), memberships.c.user_id.in_(part))
        return
    last = 0
    ids = select(users.c.id).order_by(users.c.id).limit(_PAGE)
    while page := array("q", connection.scalars(ids.where(users.c.id > last))):
        first, last = page[0], page[-1]
        yield _page(
            connection,
            rules,
            users.c.id.between(first, last),
            memberships.c.user_id.between(first, last),
        )


def _page(
    connection: Connection, rules: Rules, who: ColumnElement[bool], whose: ColumnElement[bool]
) -> list[StateChange]:
    held: dict[int, set[str]] = {}
    if named := frozenset[str]().union(*(rule.groups for _, rule in rules)):
        members = (
            select(memberships.c.user_id, groups.c.name)
            .join(groups, groups.c.id == memberships.c.group_id)
            .where(whose, memberships.c.present, groups.c.name.in_(sorted(named)))
        )
        for user_id, name in connection.execute(members).all():
            held.setdefault(user_id, set()).add(name)
    decided_by_attributes = any(rule.attributes for _, rule in rules)
    columns: tuple[Any, ...] = (users.c.id, users.c.username, users.c.active, users.c.state)
    if decided_by_attributes:
        columns += (users.c.attributes,)
    found = []
    for id_, username, active, state, *attributes in connection.execute(
        select(*columns).where(who)
    ):
        chosen = choose(
            rules,
            username=username,
            active=active,
            groups=held.get(id_, ()),
            attributes=json.loads(attributes[0]) if attributes else NOTHING,
        )
        found.append((id_, state, chosen))
    return found
