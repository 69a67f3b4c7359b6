"""How answers are written: text, versioned JSON, NDJSON, CSV. Remote text is never markup."""

import csv
import json
import re
import signal
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from itertools import chain
from textwrap import indent
from typing import Any

import typer

from svcctl.commands.options import Format
from svcctl.errors import ExitCode, InterruptedRun
from svcctl.text import INVISIBLE, visible

_WIDEST = 60
"""What is longer moves the rest of its own row, not of all rows."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NOT_ASCII = re.compile(r"[^\n -~]")


def plain(text: object) -> str:
    """Text fit for a terminal: no control, bidi or other invisible characters."""
    return visible(str(text))


def _json(body: Mapping[str, Any], **layout: Any) -> str:
    """JSON with those characters escaped: inert on a terminal, and the same text to a parser."""
    document = json.dumps(body, default=_json_value, ensure_ascii=False, **layout)
    return _NOT_ASCII.sub(_escaped, document)


def _escaped(match: re.Match[str]) -> str:
    char = match[0]
    if unicodedata.category(char) not in INVISIBLE:
        return char
    return json.dumps(char)[1:-1] if char > "\x7f" else "\\u007f"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(sorted(str(item) for item in value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_cell(item)}" for key, item in sorted(value.items()))
    return str(value)


def _csv_cell(value: Any) -> str:
    text = plain(_cell(value))
    if isinstance(value, (int, float)):
        return text
    return f"'{text}" if text.startswith(_FORMULA) else text


def _json_value(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


@dataclass(frozen=True)
class Table:
    """Rows of one kind. `kind` and `version` name the JSON schema: `svcctl.users/1`.

    Rows that are neither a sequence nor an iterator are gone through twice for text, and not held.
    """

    kind: str
    columns: Sequence[str]
    rows: Iterable[Mapping[str, Any]]
    version: int = 1


def write(text: str, *, more: bool = False) -> None:
    """One line (or more) of the answer; with `more` to come on the last of them."""
    typer.echo(text, nl=not more)


def say(text: str) -> None:
    """Talk: to stderr."""
    typer.echo(plain(text), err=True)


def write_json(
    kind: str,
    body: Mapping[str, Any],
    *,
    version: int = 1,
    rows: tuple[str, Iterable[Mapping[str, Any]]] | None = None,
) -> None:
    """One JSON document: `{"schema": "svcctl.<kind>/<version>", …}`.

    rows: the last key and its list, written one by one and never held.
    """
    document = {"schema": f"svcctl.{kind}/{version}", **body}
    if rows is None:
        write(_json(document, indent=2))
        return
    key, items = rows
    head, tail = _json({**document, key: []}, indent=2).rsplit("[]", 1)
    separator = f"{head}["
    for item in items:
        write(separator + indent(f"\n{_json(item, indent=2)}", "    "), more=True)
        separator = ","
    write(f"\n  ]{tail}" if separator == "," else f"{separator}]{tail}")


def write_line(body: Mapping[str, Any]) -> None:
    """One NDJSON line."""
    write(line(body))


def line(body: Mapping[str, Any]) -> str:
    """What `write_line` writes."""
    return _json(body, separators=(",", ":"))


def ask(question: str) -> bool:
    """A yes or no on the terminal. Ctrl-C there ends a run too, at once."""

    def leave(number: int, _frame: object) -> None:
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        ended = InterruptedRun("terminated", hint="nothing was done")
        ended.exit_code = ExitCode.TERMINATED
        raise ended

    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        # Typer leaves the question's last character to input(), which writes to stdout.
        with redirect_stdout(sys.stderr):
            return typer.confirm(question, err=True)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def emit(table: Table, form: Format, *, empty: str = "") -> None:
    """The table in the format asked for; `empty` is said on a terminal when there are no rows."""
    match form:
        case Format.JSON:
            write_json(table.kind, {"rows": list(table.rows)}, version=table.version)
        case Format.NDJSON:
            for row in table.rows:
                write_line(row)
        case Format.CSV:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(table.columns)
            for row in table.rows:
                writer.writerow([_csv_cell(row.get(column)) for column in table.columns])
        case Format.TEXT:
            lines = _lines(table)
            if any(True for _ in lines()):
                _text_table([column.replace("_", " ") for column in table.columns], lines)
            elif empty and sys.stdout.isatty():
                say(empty)


def _lines(table: Table) -> Callable[[], Iterable[list[str]]]:
    """The rows as text, for every time that they are asked for."""

    def lines() -> Iterator[list[str]]:
        for row in table.rows:
            yield [plain(_cell(row.get(column))) for column in table.columns]

    if not isinstance(table.rows, (Iterator, Sequence)):
        return lines
    held = list(lines())
    return lambda: held


def _text_table(header: list[str], lines: Callable[[], Iterable[list[str]]]) -> None:
    widths = [len(cell) for cell in header]
    for line in lines():
        widths = [
            max(width, min(len(cell), _WIDEST)) for width, cell in zip(widths, line, strict=True)
        ]
    for line in chain([header], lines()):
        padded = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        write(padded.rstrip())


def chosen(form: Format, json_flag: bool) -> Format:
    """`--json` is short for `--format json`."""
    return Format.JSON if json_flag else form
