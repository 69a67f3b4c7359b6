"""Text of others, made fit to be shown."""

import unicodedata

INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""The Unicode categories of control, bidi and other characters that do what nobody sees."""


def visible(text: str) -> str:
    """The text with a replacement character for each of those."""
    return "".join(
        char if unicodedata.category(char) not in INVISIBLE else "\N{REPLACEMENT CHARACTER}"
        for char in text
    )
