"""The manual pages: what the reference says, in the macros of man(7), which every man renders."""
# ruff: noqa: INP001 - a part of generate.py

import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

_ESCAPED = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"}
_WIDTH = 79
_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")


def escaped(text: str) -> str:
    """Text that means itself: nothing in it is a request, an escape or another dash."""
    return "".join(
        _ESCAPED.get(char, char if char.isascii() else f"\\[u{ord(char):04X}]") for char in text
    )


def line(text: str) -> str:
    """A paragraph of prose: code in bold, links as their words."""
    pieces = _CODE.split(_LINK.sub(r"\1", " ".join(text.split())))
    prose = "".join(
        f"\\fB{escaped(piece)}\\fR" if index % 2 else escaped(piece)
        for index, piece in enumerate(pieces)
    )
    lines = textwrap.wrap(prose, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"\\&{text}" if text.startswith(".") else text for text in lines)


def paragraphs(text: str) -> Iterator[str]:
    """Prose of several paragraphs."""
    for number, paragraph in enumerate(filter(str.strip, text.split("\n\n"))):
        if number:
            yield ".PP"
        yield line(paragraph)


def heading(text: str, macro: str = "SH") -> str:
    shown = escaped(text.upper() if macro == "SH" else text).replace('"', "\\(dq")
    return f'.{macro} "{shown}"'


def items(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A list of terms, each with what it means."""
    for term, meaning in pairs:
        yield ".TP"
        shown = escaped(term).replace("|", "|\\:")  # where a list of words may go on
        yield f"\\fB{shown}\\fR"
        yield line(meaning) or "\\&"


def page(name: str, section: int, summary: str, version: str, body: Iterable[str]) -> str:
    lines = [
        f'.TH "{escaped(name.upper())}" "{section}" "" "svcctl {version}"',
        ".nh",
        ".ad l",
        heading("Name"),
        f"{escaped(name)} \\- {line(summary)}",
        *body,
    ]
    return "\n".join(lines) + "\n"


def command(words: tuple[str, ...], one: Any, context: Any) -> Iterator[str]:
    """One command: how it is called, what it does, its arguments and options."""
    pieces = " ".join(one.collect_usage_pieces(context))
    if len(words) > 1:
        yield heading(" ".join(words), "SS")
    else:
        yield heading("Synopsis")
    yield f"\\fB{escaped(' '.join(words))}\\fR {escaped(pieces)}"
    yield heading("Description") if len(words) == 1 else ".PP"
    yield from paragraphs(str(one.help or ""))
    records = [parameter.get_help_record(context) for parameter in one.get_params(context)]
    if len(words) == 1:
        yield heading("Options")
    yield from items(record for record in records if record and "--help" not in record[0])
