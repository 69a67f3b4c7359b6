"""Text of others, made fit to be shown."""

import unicodedata

INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""The Unicode categories of control, bidi and other characters that do what nobody sees."""
_LINE = 300


def visible(text: str) -> str:
    """The text with a replacement character for each of those."""
    return "".join(
        char if unicodedata.category(char) not in INVISIBLE else "\N{REPLACEMENT CHARACTER}"
        for char in text
    )


def brief(text: str) -> str:
    """Remote text in one line, without what cannot be printed, cut off where it gets long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * _LINE]).split())
    return line if len(line) <= _LINE else f"{line[:_LINE]}…"
