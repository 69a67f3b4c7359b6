"""Names as people have them, and as nobody expects them."""

import unicodedata
from collections.abc import Mapping
from types import MappingProxyType

UNUSUAL: Mapping[str, str] = MappingProxyType(
    {
        "umlaut": "jürgen",
        "cyrillic": "Наталья",
        "chinese": "李小龙",
        "emoji": "ada😀",
        "combined": unicodedata.normalize("NFD", "zoë"),
        "quotes": 'o\'neil "the" `cat`',
        "slashes": "a/b\\c?d=e&f#g",
        "patterns": "100%_*(){}[]$1",
        "markup": "<b>&amp;",
        "address": "ada+x@example.org",
        "blanks": "ada  king",
        "upper": "ADA",
    }
)
LONG = "x" * 1000
