"""What the worst neighbour would write: texts, values and bytes to be read."""

import random
from typing import Any

from hypothesis import strategies as st

WORST = (
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\u202egnp.exe",
    "\u2066a\u2069",
    "a\u200bb",
    "\x00",
    "\x7f",
    "\x9b31m",
    "\r\nX-Header: 1",
    "a\nb",
    "=1+1",
    "+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "[red]x[/red]",
    "[/]",
    "[link=http://x]y",
    "{0.__class__}",
    "{username.__class__}",
    "{username!r}",
    "{username:>99999999}",
    "{__import__('os')}",
    "{{}}",
    "{",
    "}",
    "%s%n%(x)s",
    "$(id)",
    "`id`",
    "'; DROP TABLE users; --",
    "../../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "~root",
    "-rf",
    "--yes",
    "@/etc/passwd",
    "a:b",
    "*)(uid=*",
    "cn=x,dc=y",
    "\ufeff",
    "\ufb01",
    "\u0130",
    "e\u0301" * 20,
    "\U000e0041",
    "\ud800",
    "a" * 300,
    "x" * 70_000,
    "",
    " ",
    "null",
    "NaN",
    "1e999",
    "None",
)
TEXT = st.one_of(st.sampled_from(WORST), st.text(max_size=12))
"""Surrogates among it: whoever writes a file of it says how."""
SCALAR = st.one_of(
    TEXT,
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.none(),
    st.floats(),
    st.sampled_from([0, -1, 2**31, 2**63, 10**30]),
)
VALUE: st.SearchStrategy[Any] = st.recursive(
    SCALAR,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)


def spoiled(whole: bytes, dice: random.Random) -> bytes:
    """Some bytes of it cut out, put in, turned over or said again."""
    spoilt = bytearray(whole)
    for _ in range(dice.randint(0, 4)):
        at = dice.randrange(len(spoilt) + 1)
        match dice.randrange(5):
            case 0:
                del spoilt[at : at + dice.randint(1, 20)]
            case 1:
                spoilt[at:at] = bytes(dice.randrange(256) for _ in range(dice.randint(1, 4)))
            case 2:
                spoilt[at:at] = dice.choice(WORST).encode("utf-8", "surrogatepass")[:200]
            case 3:
                spoilt[at:at] = spoilt[at : at + dice.randint(1, 60)]
            case _:
                del spoilt[at:]
    return bytes(spoilt)


def replaced(tree: Any, value: Any, dice: random.Random) -> Any:
    """The same tree with another value, or a further key, somewhere in it."""
    if isinstance(tree, dict) and tree and dice.random() < 0.85:
        key = dice.choice(list(tree))
        if dice.random() < 0.1:
            return {**tree, dice.choice(WORST): value}
        if dice.random() < 0.1:
            return {name: item for name, item in tree.items() if name != key}
        return {**tree, key: replaced(tree[key], value, dice)}
    if isinstance(tree, list) and tree and dice.random() < 0.85:
        at = dice.randrange(len(tree))
        return [*tree[:at], replaced(tree[at], value, dice), *tree[at + 1 :]]
    return value
