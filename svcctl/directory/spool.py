"""People kept in a temporary file between reading a source and taking it over."""

from contextlib import closing
from typing import Self

from svcctl import spool
from svcctl.directory.person import Entries, Person
from svcctl.errors import SourceError


class Spool:
    """Entries of a source, each with its number."""

    def __init__(self) -> None:
        self._kept = spool.Spool("the source", SourceError)

    def record(self, entries: Entries) -> Entries:
        """The same entries, each kept as it passes."""
        with closing(entries):
            for number, person in entries:
                self._keep(number, person)
                yield number, person

    def entries(self) -> Entries:
        """What was kept, from the first on; recording may go on when this is done with."""
        combinations: dict[tuple[str, ...], frozenset[str]] = {}
        for number, source_id, username, active, groups, attributes in self._kept:
            held = None
            if groups is not None:
                held = combinations.setdefault(tuple(groups), frozenset(groups))
            yield number, Person(source_id, username, active, held, attributes)

    def _keep(self, number: int, person: Person) -> None:
        groups = None if person.groups is None else sorted(person.groups)
        self._kept.keep(
            (
                number,
                person.source_id,
                person.username,
                person.active,
                groups,
                person.attributes,
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.close()
