"""The record as lines of JSON, and such lines read again, where the database is not at hand."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from svcctl.clock import stamp
from svcctl.errors import StoreError, UsageError
from svcctl.model import to_json
from svcctl.store.chain.append import ask
from svcctl.store.chain.digest import KINDS, OPERATIONS, RUNS, Kind
from svcctl.store.chain.links import Entry, Start, entries, readable, start_of
from svcctl.store.chain.verify import Verdict, Verifier
from svcctl.store.people import names_of
from svcctl.store.tables import audit

SCHEMA = "svcctl.audit/1"
_DOCUMENTS = frozenset({"args", "before", "after", "summary"})
_FLAGS = frozenset({"removal", "notify", "looked"})
_USER = OPERATIONS.public.index("user_id")
_SERVICE = OPERATIONS.public.index("service")
_LONGEST = 16 * 2**20
"""Characters of a line that is read; an entry with all its rows' digests has 50,000."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to export: moments as stamps, both included; no services or users: all of them."""

    since: str | None = None
    until: str | None = None
    services: Collection[str] = ()
    users: Collection[int] = ()

    @property
    def everything(self) -> bool:
        return not self.services and not self.users

    def has(self, kind: Kind, row: Sequence[Any]) -> bool:
        """A run is of no service and of no user."""
        if self.everything or kind is RUNS:
            return self.everything
        of_service = not self.services or row[_SERVICE] in self.services
        return of_service and (not self.users or row[_USER] in self.users)


def export(connection: Connection, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """Lines of schema `svcctl.audit/1`: a first one, each entry before its rows, a last one.

    Raises StoreError for an entry that is not readable.
    """
    start, last = _stretch(connection, wanted)
    yield {
        "event": "export",
        "schema": SCHEMA,
        "at": stamp(),
        "complete": wanted.everything,
        "after": f"{start.entry}:{start.head}",
    }
    counts = dict.fromkeys(KINDS, 0)
    number, head = start.entry, start.head
    for entry in entries(connection, start.entry):
        if entry.id > last:
            break
        if not entry.content:
            raise StoreError(
                f"entry {entry.id} of the record is not readable",
                hint="run: svcctl audit verify",
            )
        number, head = entry.id, entry.head
        yield {
            "event": "entry",
            "id": entry.id,
            "at": entry.at,
            "content": entry.content,
            "head": entry.head,
        }
        for kind in KINDS:
            rows = [
                row for _, row in sorted(entry.rows.get(kind, {}).items()) if wanted.has(kind, row)
            ]
            counts[kind] += len(rows)
            yield from _told(connection, kind, rows)
    yield {
        "event": "end",
        "entries": number - start.entry,
        **{kind.name: count for kind, count in counts.items()},
        "head": f"{number}:{head}",
    }


def _stretch(connection: Connection, wanted: Wanted) -> tuple[Start, int]:
    """After which entry to begin, and the last one. A clock that went back makes it longer."""
    start = start_of(connection)
    first = select(audit.c.id).order_by(audit.c.id).limit(1)
    final = select(audit.c.id).order_by(audit.c.id.desc()).limit(1)
    if wanted.since is not None:
        first = first.where(audit.c.at >= wanted.since)
    if wanted.until is not None:
        final = final.where(audit.c.at <= wanted.until)
    begins, ends = connection.scalar(first), connection.scalar(final)
    if begins is None or ends is None or begins > ends:
        return start, start.entry
    if begins > start.entry + 1:
        before = ask(connection, "SELECT id, head FROM audit WHERE id = ?", begins - 1)
        if before:
            start = Start(*before[0])
    return start, ends


def _told(
    connection: Connection, kind: Kind, rows: Sequence[Sequence[Any]]
) -> Iterator[dict[str, Any]]:
    names = names_of(connection, {row[_USER] for row in rows}) if kind is OPERATIONS else {}
    for row in rows:
        told = {
            column: _document(value)
            if column in _DOCUMENTS
            else bool(value)
            if column in _FLAGS
            else value
            for column, value in zip(kind.columns, row, strict=True)
        }
        if kind is OPERATIONS:
            told["user"] = names.get(row[_USER])
        yield {"event": kind.noun, **told}


def _document(text: str) -> Any:
    """What the JSON says, where that gives exactly this text again; else the text."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return document if not isinstance(document, str) and to_json(document) == text else text


def verify_export(lines: Iterable[str], kept: Iterable[tuple[int, str]] = ()) -> Verdict:
    """The same as `verify` for an exported file, as far as a file can show it.

    Raises UsageError for what is no such file at all.
    """
    file = enumerate(lines, 1)
    header = _read(next(file, (1, ""))[1])
    after = header.get("after")
    if header.get("schema") != SCHEMA or not isinstance(after, str) or ":" not in after:
        raise UsageError(
            f"not an export: its first line says no {SCHEMA}", hint="svcctl audit export makes them"
        )
    number, _, head = after.partition(":")
    start = Start(int(number) if number.isdecimal() and len(number) < 12 else 0, head)
    verifier = Verifier(start, kept)
    complete = header.get("complete") is True
    entry: Entry | None = None
    wanted: Mapping[Kind, set[int]] = {}
    ended: Mapping[str, Any] | None = None

    def over() -> None:
        if entry is not None:
            verifier.check(entry, may_lack=not complete)

    for place, line in file:
        told = _read(line)
        event = told.get("event")
        if ended is not None:
            verifier.find(f"line {place}", "stands after the end")
            break
        if event == "entry" and (next_one := _entry(told)) is not None:
            over()
            entry = next_one
            wanted = {kind: {id_ for id_, _ in entry.named(kind)} for kind in KINDS}
        elif event == "end":
            ended = told
        elif entry is None or not _take(entry, wanted, told):
            verifier.find(f"line {place}", "is not readable, or belongs to no entry")
    over()
    verdict = verifier.finish(empty=True)
    if ended is None:
        verifier.find("file", "is cut off: it has no last line")
    elif ended.get("head") != verdict.head:
        verifier.find("file", f"ends at {verdict.head}; its last line says {ended.get('head')}")
    return verdict


def _read(line: str) -> Mapping[str, Any]:
    try:
        told = json.loads(line) if len(line) <= _LONGEST else None
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _entry(told: Mapping[str, Any]) -> Entry | None:
    match told:
        case {"id": int(id_), "at": str(at), "content": dict(content), "head": str(head)}:
            text = to_json(content)
            return Entry(id_, at, text, head, readable(text))
    return None


def _take(entry: Entry, wanted: Mapping[Kind, set[int]], told: Mapping[str, Any]) -> bool:
    """Put a row into the entry that names it; False if it is none, or not named there."""
    kind = next((kind for kind in KINDS if kind.noun == told.get("event")), None)
    if kind is None or not told.keys() >= set(kind.columns):
        return False
    id_ = told["id"]
    if not isinstance(id_, int) or id_ not in wanted[kind]:
        return False
    row = [
        to_json(value)
        if column in _DOCUMENTS and not isinstance(value, str)
        else int(value)
        if isinstance(value, bool)
        else value
        for column, value in ((column, told[column]) for column in kind.columns)
    ]
    entry.rows.setdefault(kind, {})[id_] = row
    return True
