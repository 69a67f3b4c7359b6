"""Reading a directory source: people, one at a time, or the first thing that is wrong with it."""

from collections.abc import Collection, Iterator

from svcctl.config.settings import CsvSource, Source
from svcctl.directory import csv_source, json_source
from svcctl.directory.person import Person
from svcctl.errors import SourceError

ROWS = 5_000_000


def read_source(name: str, source: Source, known_attributes: Collection[str]) -> Iterator[Person]:
    """The people of one source, in its order; every id and every username occurs once.

    Memory holds a number per name, not the people. Raises SourceError, whose message names the file
    and the place; what was yielded before it must then not be taken over.
    """
    seen: set[int] = set()
    for count, (number, person) in enumerate(_entries(source, known_attributes), start=1):
        if count > ROWS:
            raise SourceError(
                f"{name}: more than {ROWS:,} users", hint="split the source into several"
            )
        for field in ("username", "source_id"):
            # A hash takes half of a name's memory; whether it is the same name is looked up.
            mark = hash((field, getattr(person, field)))
            if mark in seen:
                _refuse_second(source, known_attributes, field, number, person)
            seen.add(mark)
        yield person


def _entries(source: Source, known: Collection[str]) -> Iterator[tuple[int, Person]]:
    if isinstance(source, CsvSource):
        return csv_source.read(source, known)
    return json_source.read(source, known)


def _refuse_second(
    source: Source, known: Collection[str], field: str, number: int, person: Person
) -> None:
    """Read the source once more up to `number`; raises SourceError if the value is there."""
    value = getattr(person, field)
    place = csv_source.place if isinstance(source, CsvSource) else json_source.place
    for first, other in _entries(source, known):
        if first == number:
            return
        if getattr(other, field) == value:
            raise SourceError(
                f"{place(source.path, number)}: the {field.removeprefix('source_')} {value!r} "
                f"was already at {place(source.path, first)}",
                hint="every user must occur once; nothing of this source was taken over",
            )
