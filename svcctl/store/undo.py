"""What operations really did, to be undone: those of a run, and those that came after them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, Select, bindparam, select, update

from svcctl.clock import stamp
from svcctl.model import OperationStatus, UndoPin
from svcctl.store.chunks import chunks, update_each
from svcctl.store.tables import accounts, operations, users

_DONE = OperationStatus.DONE.value
WHOLE = "account"
"""The facet of what made or ended an account: nothing from before it counts after it."""


@dataclass(frozen=True)
class Deed:
    """One recorded operation: what it was, and what it really changed when it is `done`.

    verb: a Verb or a RecordVerb. user_gone: the user was removed from the directory.
    """

    id: int
    run_id: int
    service: str
    user_id: int
    account_id: int
    verb: str
    status: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    undo_of: int | None
    username: str
    user_gone: bool

    @property
    def done(self) -> bool:
        return self.status == _DONE

    @property
    def creates(self) -> bool:
        return self.before.get("status") == "absent"

    @property
    def ends(self) -> bool:
        """Whether the account was gone afterwards, for good."""
        return self.after.get("status") == "absent"

    @cached_property
    def groups(self) -> tuple[frozenset[str], frozenset[str]]:
        """The groups that were really added, and those really taken away.

        Where the service's answer was lost, what our record of the account says.
        """
        before = frozenset(self.before.get("groups", ()))
        after = frozenset(self.after.get("groups", ()))
        return (
            frozenset(self.after.get("added", after - before)),
            frozenset(self.after.get("removed", before - after)),
        )

    @cached_property
    def facets(self) -> frozenset[str]:
        """What of the account it changed; nothing where everything was as it was to be."""
        found = set()
        if "uid" in self.after:
            found.add(WHOLE)
        if "status" in self.after:
            found.add("status")
        if "nickname" in self.after:
            found.add("nickname")
        if not (self.creates or self.ends):
            added, removed = self.groups
            found.update(f"group {name}" for name in added | removed)
        return frozenset(found)


_DEED: Select[Any] = select(
    operations.c.id,
    operations.c.run_id,
    operations.c.service,
    operations.c.user_id,
    operations.c.account_id,
    operations.c.verb,
    operations.c.status,
    operations.c.before,
    operations.c.after,
    operations.c.undo_of,
    users.c.username,
    users.c.removed_at.is_not(None),
).join(users, users.c.id == operations.c.user_id)


def _deeds(connection: Connection, statement: Select[Any]) -> Iterator[Deed]:
    for row in connection.execute(statement.order_by(operations.c.id)):
        values = list(row)
        values[7], values[8] = json.loads(values[7]), json.loads(values[8])
        yield Deed(*values)


def of_run(connection: Connection, run_id: int) -> list[Deed]:
    """The operations of a run, whatever became of them, in their order."""
    return list(_deeds(connection, _DEED.where(operations.c.run_id == run_id)))


def later(connection: Connection, account_ids: Iterable[int], since: int) -> Iterator[Deed]:
    """What was done to these accounts after the operation with this id, in order for each."""
    for chunk in chunks(sorted(account_ids)):
        yield from _deeds(
            connection,
            _DEED.where(
                operations.c.account_id.in_(chunk),
                operations.c.status == _DONE,
                operations.c.id > since,
            ),
        )


def runs_of(connection: Connection, ids: Iterable[int]) -> dict[int, int]:
    """The runs that these operations are of, by operation."""
    statement = select(operations.c.id, operations.c.run_id)
    return {
        id_: run_id
        for chunk in chunks(sorted(set(ids)))
        for id_, run_id in connection.execute(statement.where(operations.c.id.in_(chunk)))
    }


def undone_by(connection: Connection, ids: Iterable[int]) -> dict[int, int]:
    """Which run undid these operations, and was not undone itself; by operation."""
    statement = (
        select(operations.c.undo_of, operations.c.id, operations.c.run_id)
        .where(operations.c.undo_of.is_not(None), operations.c.status == _DONE)
        .order_by(operations.c.id)
    )
    found = [
        row
        for chunk in chunks(sorted(set(ids)))
        for row in connection.execute(statement.where(operations.c.undo_of.in_(chunk)))
    ]
    again = undone_by(connection, [id_ for _, id_, _ in found]) if found else {}
    return {undone: run_id for undone, id_, run_id in found if id_ not in again}


# What undos put back and runs leave so


def pinned(connection: Connection, services: Iterable[str]) -> list[tuple[int, int, str, UndoPin]]:
    """The accounts that an undo pinned: row id, user id, service and pin; in order of user."""
    statement = (
        select(accounts.c.id, accounts.c.user_id, accounts.c.service, accounts.c.undo_pin)
        .where(accounts.c.undo_pin.is_not(None), accounts.c.service.in_(sorted(services)))
        .order_by(accounts.c.user_id, accounts.c.service)
    )
    return [
        (id_, user_id, service, UndoPin.of(text))
        for id_, user_id, service, text in connection.execute(statement)
    ]


def pins(connection: Connection, account_ids: Iterable[int]) -> dict[int, UndoPin]:
    """The pins of those of these accounts that an undo pinned."""
    statement = select(accounts.c.id, accounts.c.undo_pin).where(accounts.c.undo_pin.is_not(None))
    return {
        id_: UndoPin.of(text)
        for chunk in chunks(sorted(account_ids))
        for id_, text in connection.execute(statement.where(accounts.c.id.in_(chunk)))
    }


_PIN = (
    update(accounts)
    .where(accounts.c.id == bindparam("b_id"))
    .values(undo_pin=bindparam("b_undo_pin"), updated_at=bindparam("b_updated_at"))
)


def pin(connection: Connection, wanted: Mapping[int, UndoPin | None]) -> None:
    """Pin these accounts so, or with None no more."""
    moment = stamp()
    rows = [
        {"b_id": id_, "b_undo_pin": None if one is None else one.text(), "b_updated_at": moment}
        for id_, one in wanted.items()
    ]
    update_each(connection, _PIN, rows)
