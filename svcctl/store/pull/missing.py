"""Directory continuity: who vanished from a source, and whether that many are believed."""

from array import array
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, bindparam, func, select, update

from svcctl.directory.person import Person
from svcctl.errors import SourceError
from svcctl.limits import allowance
from svcctl.store.chunks import chunks
from svcctl.store.pull.work import Work
from svcctl.store.standing import MISSING_PULLS
from svcctl.store.tables import users

_PAGE = 5000
_COLUMNS = (
    users.c.id,
    users.c.username,
    users.c.source_id,
    users.c.enabled,
    users.c.attributes,
    users.c.origins,
    users.c.missing_pulls,
    users.c.removed_at,
)

Known = tuple[Any, Person]
"""A person with the row of `_COLUMNS` that is the user of that id, or None."""


class Continuity:
    """Which users of the source were seen in this pull, and what becomes of the others."""

    def __init__(self, work: Work) -> None:
        self._work = work
        # One byte per user, where a set of ids would take a hundred.
        last = work.connection.scalar(select(func.max(users.c.id))) or 0
        self._seen = bytearray(last + 1)
        self._population = self._count(users.c.missing_pulls == 0)
        self._expected = self._count(users.c.missing_pulls < MISSING_PULLS)

    def _count(self, condition: ColumnElement[bool]) -> int:
        statement = select(func.count()).where(
            users.c.source == self._work.source, users.c.removed_at.is_(None), condition
        )
        return self._work.connection.scalar(statement) or 0

    def known(self, batch: Sequence[Person]) -> list[Known]:
        """Each person with the user of that id in the source, who counts as seen from now on."""
        statement = select(*_COLUMNS).where(
            users.c.source == self._work.source,
            users.c.source_id.in_([person.source_id for person in batch]),
        )
        rows = {row.source_id: row for row in self._work.connection.execute(statement).all()}
        for row in rows.values():
            self._seen[row.id] = 1
            if row.removed_at:
                self._work.diff.removed.add(row.username)
            elif row.missing_pulls < MISSING_PULLS:
                self._expected -= 1
        return [(rows.get(person.source_id), person) for person in batch]

    def settle(self, limit: int | str | None, accepted: int | None) -> None:
        """Count the pulls that users are missing from. Raises SourceError if too many vanished."""
        vanished, again = array("q"), array("q")
        names: list[str] = []
        for id_, username, missing in self._unseen():
            (again if missing else vanished).append(id_)
            if not missing and len(names) < 3:
                names.append(username)
            tally = self._work.diff.lost if missing else self._work.diff.missing
            tally.add(username)
        covered = accepted is not None and len(vanished) <= accepted
        if not covered:
            self._refuse(len(vanished), names, limit)
        else:
            self._work.diff.lose_missing()
        self._mark(vanished, MISSING_PULLS if covered else 1)
        self._mark(again, MISSING_PULLS)

    def _refuse(self, count: int, names: Sequence[str], limit: int | str | None) -> None:
        allowed = allowance(self._population, limit)
        if count > allowed:
            more = ", …" if count > len(names) else ""
            raise SourceError(
                f"{self._work.source}: {count:,} of {self._population:,} users have vanished "
                f"({', '.join(names)}{more}); at most {allowed:,} may at once",
                hint="check the source; if they have really left: "
                f"svcctl directory pull --source {self._work.source} --accept-missing {count}",
            )

    def _unseen(self) -> Iterator[tuple[int, str, int]]:
        last, end = 0, len(self._seen)
        if not self._expected:
            return
        statement = (
            select(users.c.id, users.c.username, users.c.missing_pulls)
            .where(
                users.c.source == self._work.source,
                users.c.removed_at.is_(None),
                users.c.missing_pulls < MISSING_PULLS,
                users.c.id < end,
            )
            .order_by(users.c.id)
            .limit(_PAGE)
        )
        while page := self._work.connection.execute(statement.where(users.c.id > last)).all():
            last = page[-1].id
            for id_, username, missing in page:
                if not self._seen[id_]:
                    yield id_, username, missing

    def _mark(self, ids: "array[int]", pulls: int) -> None:
        self._work.diff.touch(ids)
        for part in chunks(ids):
            self._work.connection.execute(
                update(users)
                .where(users.c.id.in_(part))
                .values(missing_pulls=bindparam("b_pulls"), updated_at=self._work.moment),
                {"b_pulls": pulls},
            )
