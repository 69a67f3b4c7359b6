"""A person as a source describes one, and what may be called a name."""

import unicodedata
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from svcctl.text import INVISIBLE

NAME_LENGTH = 255
TEXT_CHARACTERS = 1 << 20
FLAGS = {
    **dict.fromkeys(("", "yes", "true", "1", "y"), True),
    **dict.fromkeys(("no", "false", "0", "n"), False),
}
"""What a source may write for active and not active, in lower case; nothing means active."""


@dataclass(frozen=True, slots=True)
class Person:
    """One row of a source. `source_id` is what stays when the person is renamed.

    Unknown is not absent: `active` and `groups` are None, and an attribute is missing, where the
    source as a whole does not speak of them. An attribute that is None is one the person has not.
    """

    source_id: str
    username: str
    active: bool | None = None
    groups: frozenset[str] | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


Entries = Generator[tuple[int, Person], None, None]
"""The people of a source, each with the number of its line or row, by which it is found again."""


def tidy(name: str) -> str:
    """Without surrounding blanks, in Unicode's composed form: what looks equal is equal."""
    name = name.strip()
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def name_problem(name: str) -> str | None:
    """Why this cannot be the name of a user or a group (`is empty`), None when it can."""
    if not name:
        return "is empty"
    if len(name) > NAME_LENGTH:
        return f"is longer than {NAME_LENGTH} characters"
    if name.isascii() and name.isprintable():
        return None
    for char in name:
        if unicodedata.category(char) in INVISIBLE:
            return f"contains the control or invisible character U+{ord(char):04X}"
    return None


def text_problem(text: str) -> str | None:
    """Why this cannot be kept as an attribute (`contains …`), None when it can."""
    if len(text) > TEXT_CHARACTERS:
        return f"longer than {TEXT_CHARACTERS:,} characters"
    if "\0" in text:
        return "contains a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "contains half of a surrogate pair"
    return None
