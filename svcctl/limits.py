"""How many may lose something at once before a person has to say yes: the default and overrides."""

import re

_BANDS = ((100, 20), (900, 10), (9_000, 5))
_REST = 2
_LIMIT = re.compile(r"(\d{1,9})\s*(%?)")


def allowance(population: int, limit: int | str | None = None) -> int:
    """How many of `population` may go without a word; never all of them.

    The default is 20 % of the first 100, 10 % of the next 900, 5 % of the next 9,000 and 2 % of the
    rest, and at least 1, so it never falls as a site grows. `limit` overrides it: a number (`12`,
    `"12"`) or a share (`"15%"`). Raises ValueError for anything else.
    """
    allowed = max(1, _default(population)) if limit is None else _given(population, limit)
    return max(0, min(allowed, population - 1))


def _default(population: int) -> int:
    hundredths, left = 0, population
    for size, percent in _BANDS:
        band = min(left, size)
        hundredths += band * percent
        left -= band
    return (hundredths + left * _REST) // 100


def _given(population: int, limit: int | str) -> int:
    match = _LIMIT.fullmatch(str(limit).strip())
    if match is None or (match[2] and int(match[1]) > 100):
        raise ValueError(f'not a limit: {limit!r}; write a number ("12") or a share ("15%")')
    number = int(match[1])
    return population * number // 100 if match[2] else number
