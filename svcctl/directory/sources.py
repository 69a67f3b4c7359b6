"""Reading a directory source: people, one at a time, or the first thing that is wrong with it."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from svcctl.config.settings import CsvSource, Source
from svcctl.directory import csv_source, json_source
from svcctl.directory.person import Person
from svcctl.errors import SourceError

ROWS = 5_000_000


def read_source(name: str, source: Source, known_attributes: Collection[str]) -> Iterator[Person]:
    """The people of one source, in its order; every id and every username occurs once.

    Memory holds the names already seen, not the people. Raises SourceError, whose message names the
    file and the place; what was yielded before it must then not be taken over.
    """
    place: Callable[[Path, int], str]
    if isinstance(source, CsvSource):
        place, entries = csv_source.place, csv_source.read(source, known_attributes)
    else:
        place, entries = json_source.place, json_source.read(source, known_attributes)
    usernames: dict[str, int] = {}
    ids: dict[str, int] = {}
    for count, (number, person) in enumerate(entries, start=1):
        if count > ROWS:
            raise SourceError(
                f"{name}: more than {ROWS:,} users", hint="split the source into several"
            )
        what, first = "username", usernames.setdefault(person.username, number)
        # Without an id of its own a person has one object for both, which need not be kept twice.
        if first == number and person.source_id is not person.username:
            what, first = "id", ids.setdefault(person.source_id, number)
        if first != number:
            value = person.username if what == "username" else person.source_id
            raise SourceError(
                f"{place(source.path, number)}: the {what} {value!r} was already at "
                f"{place(source.path, first)}",
                hint="every user must occur once; nothing of this source was taken over",
            )
        yield person
