"""People kept in a temporary file between reading a source and taking it over."""

import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from tempfile import SpooledTemporaryFile
from typing import Self

from svcctl.directory.person import Entries, Person
from svcctl.errors import SourceError

_IN_MEMORY = 8 << 20


class Spool:
    """Entries of a source: in memory while they are few, then in a file without a name."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile[bytes](_IN_MEMORY)
        self._at_end = True

    def record(self, entries: Entries) -> Entries:
        """The same entries, each kept as it passes."""
        with closing(entries):
            for number, person in entries:
                self._keep(number, person)
                yield number, person

    def entries(self) -> Entries:
        """What was kept, from the first on; recording may go on when this is done with."""
        with _room():
            self._file.seek(0)
        self._at_end = False
        combinations: dict[tuple[str, ...], frozenset[str]] = {}
        for line in self._file:
            number, source_id, username, active, groups, attributes = json.loads(line)
            held = None
            if groups is not None:
                held = combinations.setdefault(tuple(groups), frozenset(groups))
            yield number, Person(source_id, username, active, held, attributes)

    def _keep(self, number: int, person: Person) -> None:
        groups = None if person.groups is None else sorted(person.groups)
        line = (
            number,
            person.source_id,
            person.username,
            person.active,
            groups,
            person.attributes,
        )
        with _room():
            if not self._at_end:
                self._file.seek(0, os.SEEK_END)
                self._at_end = True
            self._file.write(json.dumps(line).encode() + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"no room for what the source gives: {(error.strerror or 'unknown error').lower()}",
            hint="free some space in the folder for temporary files, or name another in $TMPDIR",
        ) from error
