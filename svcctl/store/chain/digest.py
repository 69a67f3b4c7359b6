"""What the chain knows a row by: its digest, which says nothing of a person.

A digest is SHA-256 over what is public in the row and over a commitment to the rest, the texts in
which people are named. The commitment is SHA-256 over a random salt and these texts. Whoever is
forgotten loses the salt; the commitment that is kept in its place still proves the digest, and no
guess at a name can be tried against it. The form is described in docs/reference/output.md; it must
never change, or old entries would no longer verify.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

GENESIS = "0" * 64
"""The head before the first entry."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A table whose rows are in the chain: its columns, in the order in which they are digested."""

    name: str
    public: tuple[str, ...]
    private: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.public, *self.private, "salt", "commitment")

    @property
    def noun(self) -> str:
        return self.name.removesuffix("s")


OPERATIONS = Kind(
    "operations",
    (
        "id",
        "run_id",
        "service",
        "user_id",
        "account_id",
        "seq",
        "verb",
        "actor",
        "removal",
        "notify",
        "looked",
        "status",
        "attempts",
        "started_at",
        "ended_at",
        "undo_of",
    ),
    ("args", "before", "after", "reason", "error"),
)
RUNS = Kind(
    "runs",
    ("id", "actor", "host", "pid", "started_at", "ended_at", "exit_code"),
    ("command", "summary"),
)
KINDS = (OPERATIONS, RUNS)
DIED = "died"
"""What an entry calls runs that were found dead, which may be named again."""


def new_salt() -> str:
    return os.urandom(16).hex()


def digest(kind: Kind, row: Sequence[Any]) -> str:
    """The digest of a row, given as the values of `kind.columns`."""
    bound = row[-1] if sealed(row) else commitment(kind, row)
    return _sha256([kind.name, *row[: len(kind.public)], bound])


def commitment(kind: Kind, row: Sequence[Any]) -> str:
    """What binds the digest to the row's texts, as long as the salt is known."""
    return _sha256([row[-2], *row[len(kind.public) : -2]])


def sealed(row: Sequence[Any]) -> bool:
    """Whether the salt was destroyed: the texts are not those that were digested."""
    return not row[-2]


def head(previous: str, entry: int, at: str, content: str) -> str:
    """The head of an entry, which stands for all that came before it too."""
    return _sha256([previous, entry, at, content])


def _sha256(values: list[Any]) -> str:
    """Over the values as text with NUL between them, which none of them can hold.

    What is not there is empty, true is 1. (JSON takes twice the time, and each operation waits.)
    """
    texts = ["" if value is None else str(value) for value in values]
    return sha256("\0".join(texts).encode(errors="surrogatepass")).hexdigest()
