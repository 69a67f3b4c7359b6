"""People from a query to a database."""

import datetime as dt
import json
import math
import uuid
from collections.abc import Collection, Iterator, Sequence
from decimal import Decimal
from types import NoneType
from typing import Any, NoReturn

from svcctl.config.source import SqlSource
from svcctl.directory.columns import Columns
from svcctl.directory.person import FLAGS, Entries, Person, name_problem, text_problem, tidy
from svcctl.directory.sql_snapshot import Snapshot
from svcctl.errors import SourceError

MEMBERSHIPS = 50_000_000
_NOBODY: frozenset[str] = frozenset()
_BITS = {b"\0": False, b"\1": True}


def place(_source: SqlSource, key: str, row: int) -> str:
    """`directory.sources.auth.query: row 3`."""
    return f"{key}.query: row {row}"


def read(source: SqlSource, key: str, known: Collection[str]) -> Entries:
    """Each person with the number of the row; both queries see the same moment.

    Memory holds the memberships that `groups_query` gives. Raises SourceError.
    """
    with Snapshot(source, key).opened() as snapshot:
        memberships = None
        if source.groups_query is not None:
            memberships = _Memberships(key)
            memberships.read(*snapshot.select("groups_query", source.groups_query))
        header, rows = snapshot.select("query", source.query)
        table = _Table(source, key, header, known, memberships)
        number = 0
        for number, row in enumerate(rows, start=1):
            yield number, table.person(row, number)
        if number and memberships is not None:
            memberships.require_used()


class _Memberships:
    """Who is in which groups; equal combinations of groups are one object."""

    def __init__(self, key: str) -> None:
        self._where = f"{key}.groups_query"
        self._held: dict[str, frozenset[str]] = {}
        self._combinations: dict[frozenset[str], frozenset[str]] = {}
        self._used = False

    def read(self, header: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> None:
        if len(header) != 2:
            raise SourceError(
                f"{self._where}: {len(header)} columns, not two",
                hint="the first must be the id as in query, the second the name of a group",
            )
        for number, (id_, group) in enumerate(rows, start=1):
            if number > MEMBERSHIPS:
                raise SourceError(
                    f"{self._where}: more than {MEMBERSHIPS:,} rows",
                    hint="split the source into several",
                )
            where = f"{self._where}: row {number}"
            name = _name(where, "the group's name", group)
            before = self._held.get(owner := _name(where, "the id", id_), _NOBODY)
            if name not in before:
                after = before | {name}
                self._held[owner] = self._combinations.setdefault(after, after)

    def of(self, id_: str) -> frozenset[str]:
        groups = self._held.get(id_)
        if groups is None:
            return _NOBODY
        self._used = True
        return groups

    def require_used(self) -> None:
        """Raise when there are groups, and none of them is of anybody: the ids do not fit."""
        if self._held and not self._used:
            raise SourceError(
                f"{self._where}: no id in it is that of a person of query, like "
                f"{next(iter(self._held))!r}",
                hint="its first column must be what query gives as the id",
            )


class _Table:
    """The columns of the query, and its rows as people."""

    def __init__(
        self,
        source: SqlSource,
        key: str,
        header: Sequence[str],
        known: Collection[str],
        memberships: _Memberships | None,
    ) -> None:
        self._source = source
        self._key = key
        self._header = header
        self._memberships = memberships
        for name in header:
            if header.count(name) > 1:
                raise SourceError(
                    f"{key}.query: two columns are called {name!r}",
                    hint="give one of them another name with AS",
                )
        self._columns = Columns(source, header, known, f"{key}.query", "the query gives")

    def person(self, row: tuple[Any, ...], number: int) -> Person:
        columns = self._columns
        where = place(self._source, self._key, number)
        username = _name(where, "the username", row[columns.username])
        source_id = username if columns.id is None else _name(where, "the id", row[columns.id])
        where = f"{where} (id {source_id!r})"
        groups = None if columns.groups is None else self._split(where, row[columns.groups])
        if self._memberships is not None:
            groups = self._memberships.of(source_id) | (groups or _NOBODY)
        return Person(
            source_id,
            username,
            None if columns.active is None else _flag(where, row[columns.active]),
            groups,
            {
                attribute: _plain(f"{where}: {self._header[column]}", row[column])
                for attribute, column in columns.attributes
            },
        )

    def _split(self, where: str, cell: Any) -> frozenset[str]:
        if cell is None:
            return _NOBODY
        parts = cell
        if not isinstance(cell, list):
            if not isinstance(cell, str):
                _refuse(where, "groups are neither text nor a list")
            parts = [part for part in cell.split(self._source.groups_separator) if part.strip()]
        return frozenset(_name(where, "a group's name", part) for part in parts)


def _name(where: str, what: str, value: Any) -> str:
    """A name or an id as text; `7`, `7.0` as the database's exact number and "7" are the same."""
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        value = int(value)
    if isinstance(value, uuid.UUID) or (isinstance(value, int) and not isinstance(value, bool)):
        value = str(value)
    if value is None:
        value = ""
    if not isinstance(value, str):
        _refuse(where, f"{what} is a {type(value).__name__}, not text or a whole number")
    name = tidy(value)
    if problem := name_problem(name):
        _refuse(where, f"{what} {problem}")
    return name


def _flag(where: str, value: Any) -> bool:
    if isinstance(value, bytes):
        value = _BITS.get(value, value)
    if isinstance(value, (int, Decimal)):
        value = str(value)
    word = "" if value is None else value
    flag = FLAGS.get(word.strip().lower()) if isinstance(word, str) else None
    if flag is None:
        _refuse(where, f"active is neither true nor false: {str(value)[:40]!r}")
    return flag


def _plain(where: str, value: Any) -> Any:
    """An attribute's value as JSON knows it."""
    match value:
        case None | bool() | int():
            return value
        case str():
            return _text(where, value).strip() or None
        case float():
            return value if math.isfinite(value) else _refuse(where, "not a number")
        case Decimal():
            whole = value.is_finite() and value == value.to_integral_value()
            return int(value) if whole else str(value)
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case uuid.UUID() | dt.timedelta():
            return str(value)
        case list() | dict():
            return _nested(where, value)
    return _refuse(where, f"a {type(value).__name__} cannot be an attribute")


def _nested(where: str, value: Any) -> Any:
    """An array or a JSON document of the database, whose texts must be fit to be kept."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        _refuse(where, "a list of what is neither text nor a number")
    for text in _texts(value):
        _text(where, text)
    return value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        value = value.values()
    if not isinstance(value, (str, int, float, NoneType)):
        for inner in value:
            yield from _texts(inner)


def _text(where: str, text: str) -> str:
    if problem := text_problem(text):
        _refuse(where, problem)
    return text


def _refuse(where: str, problem: str) -> NoReturn:
    raise SourceError(f"{where}: {problem}", hint="correct it in the database, or in the query")
