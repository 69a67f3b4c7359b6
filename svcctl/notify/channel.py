"""The contract of a way that messages go: what it takes, and how it fails."""

from dataclasses import dataclass
from typing import Protocol

from svcctl.errors import SvcctlError
from svcctl.text import visible

_LONGEST_SUBJECT = 200


@dataclass(frozen=True, slots=True)
class Letter:
    """One message. `key` is its own for ever: who gets it twice can tell.

    to: addresses. username: whom it is about, None for the operators. created_at: when it happened.
    """

    key: str
    to: tuple[str, ...]
    username: str | None
    level: str
    subject: str
    body: str
    created_at: str


class Refused(SvcctlError):
    """The message will never be taken, for its recipient's or its own sake."""


class Later(SvcctlError):
    """The message is not taken now; others may be."""


class Outage(SvcctlError):
    """Nothing can be sent now. What was not sent must be kept."""


class Channel(Protocol):
    """A way that messages go."""

    def send(self, letter: Letter) -> str | None:
        """Hand one over; returns what was wrong nevertheless, such as one of two addresses.

        Raises Refused, Later and Outage.
        """

    def check(self) -> None:
        """Look whether it is there and takes us; nothing is sent. Raises Outage."""

    def close(self) -> None:
        """End it, whatever state it is in."""


def line(text: str, longest: int = _LONGEST_SUBJECT) -> str:
    """The text as one line: without control, bidi and other invisible characters, and not long."""
    shown = visible(text)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def lines(text: str) -> str:
    """The same for text of several lines, each at most 500 characters."""
    return "\n".join(line(one, 500) for one in text.split("\n"))
