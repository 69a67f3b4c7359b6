"""Retention: the oldest part of the record is deleted, and the rest still verifies."""

from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from svcctl.errors import StoreError
from svcctl.store.chain.append import MANY, TABLES, append, digests, fetch
from svcctl.store.chain.digest import KINDS, OPERATIONS, RUNS, Kind, sealed
from svcctl.store.chain.links import Start, entries, start_of
from svcctl.store.chain.verify import Bits, verify
from svcctl.store.chunks import chunks
from svcctl.store.tables import audit, notifications, operations, runs

_USER = OPERATIONS.public.index("user_id")


@dataclass(slots=True)
class Pruning:
    """What goes: entries up to one, and rows that they name. What stays is named again.

    An operation stays that waits for another attempt, and a run that has operations which stay. The
    newest of both stay too, or SQLite would give their numbers to others.
    """

    start: Start
    through: Start
    counts: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    stays: dict[Kind, list[int]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    @property
    def entries(self) -> int:
        return self.through.entry - self.start.entry


def require_whole(connection: Connection) -> None:
    """Raise StoreError unless the record holds: what is wrong with it would be deleted with it.

    It reads all of it, so that it is better done before others have to wait.
    """
    if not verify(connection).holds:
        raise StoreError(
            "the record is not as it was written; nothing of it is deleted",
            hint="run: svcctl audit verify",
        )


def plan(connection: Connection, before: str) -> Pruning:
    """What goes of entries that are older than a moment; the last one never does.

    To be asked for once the record was found to hold, see `require_whole`.
    """
    start = start_of(connection)
    newer = select(func.min(audit.c.id)).where(audit.c.at >= before)
    last = connection.scalar(select(func.max(audit.c.id))) or 0
    through = min(connection.scalar(newer) or last, last) - 1
    head = connection.scalar(select(audit.c.head).where(audit.c.id == through))
    if head is None:
        return Pruning(start, start)
    pruning = Pruning(start, Start(through, head))
    going = Bits()
    waiting = select(operations.c.id).where(operations.c.next_attempt_at.isnot(None))
    kept = set(connection.scalars(waiting)) | {connection.scalar(select(func.max(operations.c.id)))}
    for id_ in _named(connection, pruning, OPERATIONS):
        if id_ in kept:
            pruning.stays[OPERATIONS].append(id_)
        else:
            going.add(id_)
            pruning.counts[OPERATIONS] += 1
    needed = Bits()
    needed.add(connection.scalar(select(func.max(runs.c.id))) or 0)
    both = select(operations.c.run_id, operations.c.id).execution_options(yield_per=5000)
    for run_id, id_ in connection.execute(both):
        if id_ not in going:
            needed.add(run_id)
    for id_ in _named(connection, pruning, RUNS):
        if id_ in needed:
            pruning.stays[RUNS].append(id_)
        else:
            pruning.counts[RUNS] += 1
    return pruning


def _named(connection: Connection, pruning: Pruning, kind: Kind) -> list[int]:
    found = entries(connection, pruning.start.entry, kinds=())
    before = takewhile(lambda entry: entry.id <= pruning.through.entry, found)
    # A run that was found dead may be named twice.
    return list(dict.fromkeys(id_ for entry in before for id_, _ in entry.named(kind)))


def prune(connection: Connection, pruning: Pruning) -> None:
    """Delete it, and leave an entry that says so, and what the rest goes on from."""
    content: dict[str, Any] = {}
    gone: dict[Kind, set[int]] = {RUNS: set(), OPERATIONS: set()}
    for kind, ids in pruning.stays.items():
        named = content.setdefault(kind.name, [])
        for part in chunks(ids, MANY):
            named += digests(connection, kind, part)
            for row in fetch(connection, kind, part):
                if sealed(row):
                    gone[kind].add(row[0] if kind is RUNS else row[_USER])
    for kind in (OPERATIONS, RUNS):
        table, stays = TABLES[kind], set(pruning.stays[kind])
        ids = [id_ for id_ in _named(connection, pruning, kind) if id_ not in stays]
        for part in chunks(ids, MANY):
            if kind is OPERATIONS:
                connection.execute(
                    update(notifications)
                    .where(notifications.c.operation_id.in_(part))
                    .values(operation_id=None)
                )
            connection.execute(delete(table).where(table.c.id.in_(part)))
    connection.execute(delete(audit).where(audit.c.id <= pruning.through.entry))
    content["pruned"] = {
        "through": pruning.through.entry,
        "head": pruning.through.head,
        "forgotten": sorted(gone[OPERATIONS]),
        "sealed": sorted(gone[RUNS]),
    }
    append(connection, content)
