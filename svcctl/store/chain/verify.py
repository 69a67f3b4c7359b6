"""Whether the record is as it was written: every entry, and every row that it names."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from svcctl.store.chain.digest import DIED, KINDS, OPERATIONS, RUNS, Kind, digest, head, sealed
from svcctl.store.chain.links import Entry, Start, entries, start_of
from svcctl.store.chunks import chunks
from svcctl.store.tables import operations, runs, users

MANY = 100
"""So many findings are told one by one."""
_HEAD = re.compile(r"\b(\d{1,10}):([0-9a-f]{64})\b")
_USER = OPERATIONS.public.index("user_id")


@dataclass(frozen=True, slots=True)
class Finding:
    """What does not hold: an entry, an operation, a run or a kept head, and why."""

    subject: str
    problem: str


@dataclass(slots=True)
class Verdict:
    """What verifying came to.

    sealed: rows whose texts nothing proves any more, as a person in them was forgotten. left_out:
    rows that an export does not have. unproven: kept heads that are older than what was pruned.
    """

    start: Start
    entries: int = 0
    head: str = ""
    at: str = ""
    counts: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    sealed: int = 0
    left_out: int = 0
    unproven: int = 0
    findings: list[Finding] = field(default_factory=list)
    more: int = 0

    @property
    def holds(self) -> bool:
        return not self.findings


class Verifier:
    """Goes along a chain; remembers which rows were named, in a bit each."""

    def __init__(self, start: Start, kept: Iterable[tuple[int, str]] = ()) -> None:
        """kept: numbers of entries with the heads that they had, as `heads` reads them."""
        self.verdict = Verdict(start)
        self.named = {kind: Bits() for kind in KINDS}
        self.forgotten: dict[int, int] = {}
        self._last, self._head = start.entry, start.head
        self._kept: dict[int, set[str]] = {}
        for entry, said in kept:
            self._kept.setdefault(entry, set()).add(said)
        self._sealed_users: dict[int, str] = {}
        self._sealed_runs: set[int] = set()
        self._died: dict[int, Entry | None] = {}

    def find(self, subject: str, problem: str) -> None:
        if len(self.verdict.findings) < MANY:
            self.verdict.findings.append(Finding(subject, problem))
        else:
            self.verdict.more += 1

    def check(self, entry: Entry, *, may_lack: bool = False) -> None:
        """The next entry. may_lack: rows may be missing, as in an export of some users only."""
        if entry.id != self._last + 1:
            self.find(*_span(self._last + 1, entry.id - 1))
        elif head(self._head, entry.id, entry.at, entry.text) != entry.head:
            self.find(f"entry {entry.id}", "was changed, or took another one's place")
        if not entry.content:
            self.find(f"entry {entry.id}", "is not readable")
        died = {id_ for id_, _ in entry.content.get(DIED, [])}
        for kind in KINDS:
            for id_, said in entry.named(kind):
                self._row(entry, kind, id_, said, may_lack=may_lack, died=id_ in died)
        if forgotten := entry.content.get("forgotten"):
            self._forget(entry, [forgotten["user"]], forgotten["runs"])
        if pruned := entry.content.get("pruned"):
            self._forget(entry, pruned["forgotten"], pruned["sealed"])
        self._last, self._head = entry.id, entry.head
        self._compare(entry.id, entry.head)
        self.verdict.entries += 1
        self.verdict.at = entry.at

    def _row(
        self, entry: Entry, kind: Kind, id_: int, said: str, *, may_lack: bool, died: bool
    ) -> None:
        subject = f"{kind.noun} {id_}"
        if kind is RUNS and id_ in self._died and not died:
            if id_ in entry.rows.get(kind, {}):
                self.verdict.counts[kind] -= 1
            del self._died[id_]
        elif not self.named[kind].add(id_):
            self.find(subject, f"is named a second time by entry {entry.id}")
            return
        row = entry.rows.get(kind, {}).get(id_)
        if row is None:
            if may_lack:
                self.verdict.left_out += 1
            else:
                self.find(subject, f"is gone; entry {entry.id} of {entry.at} names it")
            return
        self.verdict.counts[kind] += 1
        changed = digest(kind, row) != said
        if kind is RUNS and died:
            self._died[id_] = entry if changed else None
        elif changed:
            self.find(subject, _changed(entry))
        if changed:
            return
        if sealed(row):
            self.verdict.sealed += 1
            if kind is RUNS:
                self._sealed_runs.add(id_)
            elif row[_USER] not in self.forgotten:
                self._sealed_users.setdefault(row[_USER], subject)

    def _forget(self, entry: Entry, users: Iterable[int], runs: Iterable[int]) -> None:
        for user in users:
            self.forgotten[user] = entry.id
            self._sealed_users.pop(user, None)
        self._sealed_runs.difference_update(runs)

    def _compare(self, entry: int, found: str) -> None:
        for kept in self._kept.pop(entry, ()):
            if kept != found:
                self.find(f"head {entry}", f"was {kept} when it was kept, and is {found}")

    def finish(self, *, empty: bool = False) -> Verdict:
        """What is known only when all entries were seen. empty: there may be none."""
        start = self.verdict.start
        self._compare(start.entry, start.head)
        for entry in sorted(self._kept):
            if entry < start.entry:
                self.verdict.unproven += 1
            else:
                self.find(f"head {entry}", f"was kept, and the chain ends at entry {self._last}")
        for run, changed in self._died.items():
            if changed is not None:
                self.find(f"run {run}", _changed(changed))
        if not self.verdict.entries and not empty:
            self.find("chain", "is gone: there is not one entry")
        for user, subject in self._sealed_users.items():
            self.find(subject, f"has lost its salt, and user {user} was not forgotten")
        for run in sorted(self._sealed_runs):
            self.find(f"run {run}", "has lost its salt, and nobody in it was forgotten")
        self.verdict.head = f"{self._last}:{self._head}"
        return self.verdict


class Bits:
    """A set of numbers, in pages of 4096."""

    def __init__(self) -> None:
        self._pages: dict[int, int] = {}

    def add(self, number: int) -> bool:
        """False if it was in."""
        page, bit = number >> 12, 1 << (number & 4095)
        bits = self._pages.get(page, 0)
        self._pages[page] = bits | bit
        return not bits & bit

    def __contains__(self, number: int) -> bool:
        return bool(self._pages.get(number >> 12, 0) & 1 << (number & 4095))


def _changed(entry: Entry) -> str:
    return f"was changed after {entry.at} (entry {entry.id})"


def _span(first: int, last: int) -> tuple[str, str]:
    if first > last:
        return f"entry {last + 1}", "is not in its place"
    return (
        (f"entry {first}", "is gone")
        if first == last
        else (f"entries {first} to {last}", "are gone")
    )


def heads(text: Iterable[str]) -> Iterator[tuple[int, str]]:
    """All heads, written like 17:3f…, that lines of text tell: an export, a mail, a log."""
    for line in text:
        for entry, said in _HEAD.findall(line):
            yield int(entry), said


def verify(connection: Connection, kept: Iterable[tuple[int, str]] = ()) -> Verdict:
    """The chain of the database, and every row that should be in it. Nothing is changed."""
    start = start_of(connection)
    verifier = Verifier(start, kept)
    for entry in entries(connection, start.entry):
        verifier.check(entry)
    for kind, ended in _ENDED.items():
        rows = connection.execute(ended.execution_options(yield_per=5000))
        for (id_,) in rows:
            if id_ not in verifier.named[kind]:
                verifier.find(f"{kind.noun} {id_}", "is not in the chain")
    for part in chunks(sorted(verifier.forgotten)):
        told = select(users.c.id, users.c.username).where(users.c.id.in_(part))
        for id_, username in connection.execute(told):
            if username != f"forgotten-{id_}":
                subject = f"entry {verifier.forgotten[id_]}"
                verifier.find(subject, f"says that user {id_} was forgotten, who is here")
    return verifier.finish()


_ENDED = {
    OPERATIONS: select(operations.c.id)
    .where(operations.c.status.in_(("done", "failed", "skipped", "superseded")))
    .order_by(operations.c.id),
    RUNS: select(runs.c.id).where(runs.c.ended_at.isnot(None)).order_by(runs.c.id),
}
