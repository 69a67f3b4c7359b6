"""What a check says: one thing about a pipeline that somebody should know."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """ERROR: it will fail, or not do what it is there for. WARNING: it may be meant."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a pipeline.

    step: as the configuration names it, "" for none in particular. about: the parameter or the
    setting, "" for none.
    """

    severity: Severity
    step: str
    about: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        text = ": ".join(part for part in (self.step, self.about, self.message) if part)
        return f"{text}; {self.remedy}" if self.remedy else text


def error(step: str, message: str, remedy: str = "", *, about: str = "") -> Finding:
    """Something that has to be mended."""
    return Finding(Severity.ERROR, step, about, message, remedy)


def warning(step: str, message: str, remedy: str = "", *, about: str = "") -> Finding:
    """Something that is allowed, and probably not meant."""
    return Finding(Severity.WARNING, step, about, message, remedy)


def listed(words: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`; each once."""
    *first, last = dict.fromkeys(words)
    return f"{', '.join(first)} and {last}" if first else last
