"""How answers are written: text, versioned JSON, NDJSON, CSV. Remote text is never markup."""

import csv
import io
import json
import re
import signal
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import typer

from svcctl.commands.options import Format
from svcctl.errors import ExitCode, InterruptedRun
from svcctl.text import INVISIBLE, visible

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
    """Rows of one kind. `kind` and `version` name the JSON schema: `svcctl.users/1`."""

    kind: str
    columns: Sequence[str]
    rows: Iterable[Mapping[str, Any]]
    version: int = 1


def write(text: str) -> None:
    """One line (or more) of the answer."""
    typer.echo(text)


def say(text: str) -> None:
    """Talk: to stderr."""
    typer.echo(plain(text), err=True)


def write_json(kind: str, body: Mapping[str, Any], *, version: int = 1) -> None:
    """One JSON document: `{"schema": "svcctl.<kind>/<version>", …}`."""
    document = {"schema": f"svcctl.{kind}/{version}", **body}
    write(_json(document, indent=2))


def write_line(body: Mapping[str, Any]) -> None:
    """One NDJSON line."""
    write(_json(body, separators=(",", ":")))


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
            buffer = io.StringIO()
            writer = csv.writer(buffer, lineterminator="\n")
            writer.writerow(table.columns)
            for row in table.rows:
                writer.writerow([_csv_cell(row.get(column)) for column in table.columns])
            sys.stdout.write(buffer.getvalue())
        case Format.TEXT:
            rows = [
                [plain(_cell(row.get(column))) for column in table.columns] for row in table.rows
            ]
            if not rows:
                if empty and sys.stdout.isatty():
                    say(empty)
                return
            _text_table([column.replace("_", " ") for column in table.columns], rows)


def _text_table(header: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]
    for line in (header, *rows):
        padded = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        write(padded.rstrip())


def chosen(form: Format, json_flag: bool) -> Format:
    """`--json` is short for `--format json`."""
    return Format.JSON if json_flag else form
