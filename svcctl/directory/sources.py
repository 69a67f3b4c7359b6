"""Reading a directory source: people, one at a time, or the first thing that is wrong with it.

A kind of source is a class of `svcctl.config.source` and a module that reads it.
"""

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import closing, contextmanager
from typing import Any, Protocol

from svcctl.config.problems import dotted
from svcctl.config.source import CsvSource, JsonSource, LdapSource, ScimSource, Source, SqlSource
from svcctl.directory import csv_source, json_source, ldap_source, scim_source, sql_source
from svcctl.directory.person import Entries, Person
from svcctl.directory.spool import Spool
from svcctl.errors import SourceError

ROWS = 5_000_000


class Kind(Protocol):
    """What the module of a kind of source has. `key` is the source's place in the configuration."""

    def read(self, source: Any, key: str, known: Collection[str], /) -> Entries:
        """Each person with a number that `place` knows.

        `known` are the attributes to take from columns of that name, besides those that the source
        maps. Raises SourceError.
        """

    def place(self, source: Any, key: str, number: int, /) -> str:
        """Where a person was, for messages: `people.csv:17`."""


def _kind(source: Source) -> Kind:
    match source:
        case CsvSource():
            return csv_source
        case JsonSource():
            return json_source
        case SqlSource():
            return sql_source
        case ScimSource():
            return scim_source
        case LdapSource():
            return ldap_source


@contextmanager
def open_source(
    name: str, source: Source, known_attributes: Collection[str]
) -> Iterator[Iterator[Person]]:
    """The people of one source, in its order; every id and every username occurs once.

    A source with `read_ahead` has been read to its end when the block begins; any other is read
    while the people are taken. Memory holds a number per name, not the people. Raises SourceError,
    whose message names the place; what was given before it must then not be taken over.
    """
    kind = _kind(source)
    key = dotted((name,), "directory.sources")

    def place(number: int) -> str:
        return kind.place(source, key, number)

    def entries() -> Entries:
        return kind.read(source, key, known_attributes)

    if not source.read_ahead:
        with closing(_unique(name, entries(), place, again=entries)) as people:
            yield people
        return
    with Spool() as spool:
        with closing(_unique(name, spool.record(entries()), place, again=spool.entries)) as people:
            deque(people, maxlen=0)
        yield (person for _, person in spool.entries())


def _unique(
    name: str, entries: Entries, place: Callable[[int], str], *, again: Callable[[], Entries]
) -> Generator[Person, None, None]:
    seen: set[int] = set()
    with closing(entries):
        for count, (number, person) in enumerate(entries, start=1):
            if count > ROWS:
                raise SourceError(
                    f"{name}: more than {ROWS:,} users", hint="split the source into several"
                )
            for field in ("username", "source_id"):
                # A hash takes half of a name's memory; whether it is the same name is looked up.
                mark = hash((field, getattr(person, field)))
                if mark in seen:
                    with closing(again()) as earlier:
                        _refuse_second(earlier, field, number, person, place)
                seen.add(mark)
            yield person


def _refuse_second(
    entries: Entries, field: str, number: int, person: Person, place: Callable[[int], str]
) -> None:
    """Look through the entries up to `number`; raises SourceError if the value is there."""
    value = getattr(person, field)
    for first, other in entries:
        if first == number:
            return
        if getattr(other, field) == value:
            raise SourceError(
                f"{place(number)}: the {field.removeprefix('source_')} {value!r} "
                f"was already at {place(first)}",
                hint="every user must occur once; nothing of this source was taken over",
            )
