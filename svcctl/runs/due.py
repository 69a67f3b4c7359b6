"""What is due: operations that failed, that nobody knows the end of, or that were not come to."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from svcctl.clock import now, stamp
from svcctl.model import OperationStatus, Verb
from svcctl.runs.guard import WINDOW
from svcctl.store import operations as operation_rows
from svcctl.store.chunks import chunks
from svcctl.store.database import Connection
from svcctl.store.people import names_of

_NOT_DUE = frozenset({OperationStatus.DONE, OperationStatus.HELD})


@dataclass(slots=True)
class Due:
    """The accounts to be planned anew, and what is not for a retry.

    verbs: what was to be done, by account row id. creates: by service and user id. passwords:
    (service, username), for an operator to set: a run that fails does not keep them.
    """

    verbs: dict[int, set[Verb]] = field(default_factory=dict)
    owners: dict[int, tuple[str, int]] = field(default_factory=dict)
    users: dict[int, str] = field(default_factory=dict)
    creates: set[tuple[str, int]] = field(default_factory=set)
    passwords: list[tuple[str, str]] = field(default_factory=list)

    @property
    def services(self) -> list[str]:
        return sorted({service for service, _ in self.owners.values()})


def due(connection: Connection, services: Iterable[str], run_id: int | None) -> Due:
    """What one run left undone, or all of them did; what is held waits for its approval."""
    services = sorted(services)
    found = Due()
    for row in operation_rows.unfinished(connection, services):
        if row.status is not OperationStatus.HELD and run_id in (None, row.run_id):
            _add(found, row.service, row.user_id, row.account_id, row.verb)
    if run_id is not None:
        for old in _left_by(connection, services, run_id):
            _add(found, old["service"], old["user_id"], old["account_id"], Verb(old["verb"]))
    found.passwords = list(_passwords(connection, services, run_id))
    found.users = names_of(connection, {user_id for _, user_id in found.owners.values()})
    return found


def _add(found: Due, service: str, user_id: int, account_id: int, verb: Verb) -> None:
    if verb is Verb.SET_PASSWORD:
        return
    found.verbs.setdefault(account_id, set()).add(verb)
    found.owners[account_id] = (service, user_id)
    if verb is Verb.CREATE:
        found.creates.add((service, user_id))


def _left_by(
    connection: Connection, services: list[str], run_id: int
) -> Iterator[Mapping[str, Any]]:
    """What the run did not do, also where later runs planned the account anew.

    A create counts while nothing was done to the account since.
    """
    rows = operation_rows.history(connection, run_id=run_id, services=services)
    left = [row for row in rows if OperationStatus(row["status"]) not in _NOT_DUE]
    creating = {row["user_id"] for row in left if row["verb"] == Verb.CREATE}
    since = _latest_done(connection, services, creating)
    for row in left:
        if row["verb"] != Verb.CREATE or since.get(row["account_id"], 0) < row["id"]:
            yield row


def _passwords(
    connection: Connection, services: list[str], run_id: int | None
) -> Iterator[tuple[str, str]]:
    """Passwords that could not be set, by this run or in the last day, and were not set since."""
    rows = operation_rows.history(
        connection, run_id=run_id, services=services, statuses=["failed"], limit=1000
    )
    since = stamp(now() - WINDOW) if run_id is None else ""
    failed = {
        row["account_id"]: row
        for row in reversed(rows)
        if row["verb"] == Verb.SET_PASSWORD and (row["ended_at"] or "") >= since
    }
    done = _latest_done(
        connection, services, {row["user_id"] for row in failed.values()}, Verb.SET_PASSWORD
    )
    for account_id, row in sorted(failed.items()):
        if done.get(account_id, 0) < row["id"]:
            yield row["service"], row["username"]


def _latest_done(
    connection: Connection, services: list[str], users: set[int], verb: Verb | None = None
) -> dict[int, int]:
    """The last operation that was done to each account of these users."""
    latest: dict[int, int] = {}
    for part in chunks(users):
        for row in operation_rows.history(
            connection, user_ids=part, services=services, statuses=["done"]
        ):
            if verb is None or row["verb"] == verb:
                latest.setdefault(row["account_id"], row["id"])
    return latest
