"""What both kinds of database can hold as text: everything but NUL and halves of surrogate pairs.

Such characters come from command lines that are not UTF-8, and from what services answer.
"""

import re

_UNFIT = re.compile("[\0\ud800-\udfff]")


def fits(text: str) -> bool:
    """Whether the text can be in the database at all."""
    return _UNFIT.search(text) is None


def legible(text: str) -> str:
    """The text for people to read, with U+FFFD for what no database holds."""
    return _UNFIT.sub("\ufffd", text)
