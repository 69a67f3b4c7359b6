"""People from a CSV file, streamed row by row."""

import codecs
import csv
import io
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from svcctl.config.source import CsvSource
from svcctl.directory.columns import Columns
from svcctl.directory.file import opened, undecodable
from svcctl.directory.person import FLAGS, Entries, Person, name_problem, tidy
from svcctl.errors import SourceError

FILE_BYTES = 1 << 30
LINE_CHARACTERS = 1 << 22
CELL_CHARACTERS = 1 << 20
_REMEMBERED = 20_000


def place(source: CsvSource, _key: str, line: int) -> str:
    """`people.csv:17`."""
    return f"{source.path}:{line}"


def read(source: CsvSource, _key: str, known: Collection[str]) -> Entries:
    """Each person with the number of the line where the row begins. Raises SourceError."""
    csv.field_size_limit(CELL_CHARACTERS)
    with opened(source.path, largest=FILE_BYTES) as file:
        encoding = codecs.lookup(source.encoding).name
        encoding = "utf-8-sig" if encoding == "utf-8" else encoding
        text = io.TextIOWrapper(file, encoding=encoding, newline="")
        rows = csv.reader(_lines(text, source.path), delimiter=source.delimiter, strict=True)
        start = 1
        try:
            table = _Table(source, next(rows, []), known)
            start = rows.line_num + 1
            for row in rows:
                if row:
                    yield start, table.person(row, start)
                start = rows.line_num + 1
        except csv.Error as error:
            raise _explain(error, source.path, start, rows.line_num) from error
        except UnicodeError as error:
            raise undecodable(source.path, encoding) from error
        finally:
            text.detach()


def _lines(text: io.TextIOWrapper, path: Path) -> Iterator[str]:
    number = 1
    while line := text.readline(LINE_CHARACTERS):
        if len(line) == LINE_CHARACTERS and not line.endswith(("\r", "\n")):
            raise SourceError(
                f"{path}:{number}: a line longer than {LINE_CHARACTERS:,} characters",
                hint="check that this is the right file and that its line ends are intact",
            )
        if "\0" in line:
            raise SourceError(
                f"{path}:{number}: a NUL byte at column {line.index(chr(0)) + 1}",
                hint="the file is damaged, or the source's encoding is wrong (utf-16?)",
            )
        yield line
        number += 1


def _explain(error: csv.Error, path: Path, start: int, end: int) -> SourceError:
    said = str(error)
    if "field larger" in said:
        return SourceError(
            f"{path}:{start}: a cell longer than {CELL_CHARACTERS:,} characters",
            hint="check the row; a quote that is never closed swallows all that follows",
        )
    if "unexpected end" in said:
        return SourceError(
            f"{path}:{start}: a quote opened in this row is not closed by the end of the file",
            hint="the file is cut off, or the row has a stray quote",
        )
    return SourceError(f"{path}:{end}: {said}", hint='write a quote inside a cell as ""')


class _Table:
    """The header's columns, and rows under it as people."""

    def __init__(self, source: CsvSource, header: Sequence[str], known: Collection[str]) -> None:
        self._source = source
        self._path = source.path
        self._header = [name.strip() for name in header]
        self._groups: dict[str, frozenset[str]] = {}
        if not any(self._header):
            raise SourceError(
                f"{self._path}: empty, without even a header",
                hint="the export has failed; the first line must name the columns",
            )
        for name in self._header:
            if name and self._header.count(name) > 1:
                raise SourceError(
                    f"{self._path}:1: two columns are called {name!r}", hint="rename one of them"
                )
        self._columns = Columns(source, self._header, known, f"{self._path}:1", "the header has")

    def person(self, row: list[str], line: int) -> Person:
        if len(row) != len(self._header):
            raise SourceError(
                f"{self._path}:{line}: {len(row)} cells, but the header has {len(self._header)}",
                hint="the row is cut off, or a cell with the delimiter in it is not quoted",
            )
        columns = self._columns
        username = tidy(row[columns.username])
        if problem := name_problem(username):
            raise self._wrong(line, columns.username, f"the username {problem}")
        source_id = username
        if columns.id is not None:
            source_id = row[columns.id].strip()
            if problem := name_problem(source_id):
                raise self._wrong(line, columns.id, f"the id {problem}")
        active = None if columns.active is None else self._flag(row, columns.active, line)
        groups = None if columns.groups is None else self._split(row, columns.groups, line)
        attributes = {key: row[column].strip() or None for key, column in columns.attributes}
        return Person(source_id, username, active, groups, attributes)

    def _flag(self, row: list[str], column: int, line: int) -> bool:
        active = FLAGS.get(row[column].strip().lower())
        if active is None:
            raise self._wrong(
                line,
                column,
                f"neither yes nor no: {row[column][:40]!r}",
                hint="write yes, no, true, false, 1, 0, y or n; empty means yes",
            )
        return active

    def _split(self, row: list[str], column: int, line: int) -> frozenset[str]:
        cell = row[column]
        if (known := self._groups.get(cell)) is not None:
            return known
        parts = cell.split(self._source.groups_separator)
        names = frozenset(name for part in parts if (name := tidy(part)))
        for name in names:
            if problem := name_problem(name):
                raise self._wrong(line, column, f"a group's name {problem}")
        if len(self._groups) > _REMEMBERED:
            self._groups.clear()
        self._groups[cell] = names
        return names

    def _wrong(
        self, line: int, column: int, message: str, *, hint: str = "correct the row in the source"
    ) -> SourceError:
        where = f"{self._path}:{line}: {self._header[column]}"
        return SourceError(f"{where}: {message}", hint=hint)
