"""Time as svcctl stores and reads it: UTC, ISO 8601 text, whole seconds; durations like `30d`."""

import functools
import re
from datetime import UTC, datetime, timedelta

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
LONGEST_BREAK = timedelta(days=1)
"""Nothing is put off for longer; what is was written by a clock that was wrong."""
_DURATION = re.compile(r"(\d{1,9})([smhdw])")


def now() -> datetime:
    """The current moment; the one place that asks the system clock for it."""
    return datetime.now(UTC)


def stamp(moment: datetime | None = None) -> str:
    """`2026-11-22T20:40:22Z`; sorts as text the way it sorts as time."""
    return _stamp(int((moment or now()).timestamp()))


@functools.lru_cache(maxsize=64)
def _stamp(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_stamp(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def is_due(until: str | None, at: datetime) -> bool:
    """Whether what was put off until then may be tried again at this moment."""
    return until is None or not stamp(at) < until <= stamp(at + LONGEST_BREAK)


def parse_duration(text: str) -> timedelta:
    """`90s`, `13m`, `2h`, `30d`, `4w`, or several joined (`1h30m`). Raises ValueError."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"not a duration: {text!r}; write it like 90s, 13m, 2h, 30d or 1h30m")
    return timedelta(seconds=sum(int(number) * _UNITS[unit] for number, unit in parts))
