"""Entries with the rows that they name, one after the other: of the database, or of an export."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, func, select

from svcctl.store.chain.append import MANY, ask, fetch
from svcctl.store.chain.digest import DIED, GENESIS, KINDS, RUNS, Kind
from svcctl.store.chunks import chunks
from svcctl.store.tables import LARGEST_ID, audit

_PAGE = 16
_NAMES = tuple(kind.name for kind in KINDS)
_ENTRIES = "SELECT id, at, content, head FROM audit WHERE id > ? ORDER BY id LIMIT ?"
_PRUNED = (
    select(audit.c.content)
    .where(audit.c.content.contains('"pruned":'))
    .order_by(audit.c.id.desc())
    .limit(1)
)

Rows = dict[int, Sequence[Any]]


@dataclass(slots=True)
class Entry:
    """One entry. `content` is empty when its text, which the head is of, is not readable.

    rows: those that it names and that are there, by kind and id, as values of `kind.columns`.
    """

    id: int
    at: str
    text: str
    head: str
    content: Mapping[str, Any]
    rows: dict[Kind, Rows] = field(default_factory=dict)

    def named(self, kind: Kind) -> list[tuple[int, str]]:
        """The ids of rows with their digests."""
        named: list[tuple[int, str]] = self.content.get(kind.name, [])
        return named + self.content.get(DIED, []) if kind is RUNS else named


@dataclass(frozen=True, slots=True)
class Start:
    """What a chain goes on from: the number and the head of the entry before its first one."""

    entry: int = 0
    head: str = GENESIS


def start_of(connection: Connection) -> Start:
    """Where the chain begins: after the last entry that was pruned."""
    # Through SQLAlchemy, which begins a transaction: all that follows sees this moment.
    first = connection.scalar(select(func.min(audit.c.id)))
    found = connection.scalar(_PRUNED) if first != 1 else None
    pruned = readable(found).get("pruned") if found else None
    return Start(pruned["through"], pruned["head"]) if pruned else Start()


def entries(
    connection: Connection, after: int, *, kinds: Iterable[Kind] = KINDS
) -> Iterator[Entry]:
    """The entries of the database in order, with rows of these kinds; a page of them at a time."""
    while page := ask(connection, _ENTRIES, after, _PAGE):
        found = [
            Entry(id_, at, content, head, readable(content)) for id_, at, content, head in page
        ]
        for kind in kinds:
            _join(connection, kind, found)
        yield from found
        after = found[-1].id


def _join(connection: Connection, kind: Kind, found: Iterable[Entry]) -> None:
    owners: dict[int, list[Entry]] = {}
    for entry in found:
        for id_, _ in entry.named(kind):
            owners.setdefault(id_, []).append(entry)
    for part in chunks(owners, MANY):
        for row in fetch(connection, kind, part):
            for entry in owners[row[0]]:
                entry.rows.setdefault(kind, {})[row[0]] = row


def readable(text: str) -> dict[str, Any]:
    """What an entry says; nothing where it has not the form that entries have."""
    try:
        content = json.loads(text)
        return content if _well_formed(content) else {}
    except (ValueError, RecursionError, LookupError, TypeError):
        return {}


def _well_formed(content: Any) -> bool:
    named = [pair for key in (*_NAMES, DIED) for pair in content.get(key, [])]
    numbers = [id_ for id_, _ in named]
    words = [digest for _, digest in named]
    if forgotten := content.get("forgotten"):
        numbers += [forgotten["user"], *forgotten["runs"]]
    if pruned := content.get("pruned"):
        numbers += [pruned["through"], *pruned["forgotten"], *pruned["sealed"]]
        words.append(pruned["head"])
    return all(type(number) is int and 0 < number <= LARGEST_ID for number in numbers) and all(
        isinstance(word, str) for word in words
    )
