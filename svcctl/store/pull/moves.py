"""Memberships that a source gives and takes. What an operator said of one is left alone."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Row, Text, bindparam, cast, delete, func, insert, select

from svcctl.directory.person import Person
from svcctl.store.census import group_names
from svcctl.store.groups import ensure
from svcctl.store.pull.work import Work
from svcctl.store.tables import memberships

_REMEMBERED = 20_000


class Moves:
    """Who enters and who leaves which group."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._ids: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._combinations: dict[frozenset[str], frozenset[int]] = {}
        self._texts: dict[str, frozenset[int]] = {}

    def meet(self, batch: Iterable[Person]) -> None:
        """Make the groups that these people are in, where they do not exist yet."""
        combinations = {person.groups for person in batch if person.groups}
        named = frozenset[str]().union(*combinations)
        if unknown := named - self._ids.keys():
            self._ids |= ensure(self._work.connection, unknown, self._work.source)

    def enter(self, newcomers: Iterable[tuple[int, Person]]) -> None:
        """The first memberships of new users."""
        rows = [
            self._row(user_id, group_id)
            for user_id, person in newcomers
            if person.groups
            for group_id in self._group_ids(person.groups)
        ]
        if rows:
            self._work.connection.execute(insert(memberships), rows)

    def compare(self, present: Sequence[tuple[Row[Any], Person]]) -> None:
        """Write what differs between the source's memberships and those that came from it."""
        spoken = {row.id: person for row, person in present if person.groups is not None}
        if not spoken:
            return
        held = self._held(spoken)
        entering: list[tuple[int, int]] = []
        leaving: list[tuple[int, int]] = []
        for user_id, person in spoken.items():
            had = self._held_ids(held.get(user_id, ""))
            wanted = self._group_ids(person.groups or frozenset())
            if had != wanted:
                leaving += [(user_id, group_id) for group_id in had - wanted]
                entering += [(user_id, group_id) for group_id in wanted - had]
        if entering:
            taken = self._of_others({user_id for user_id, _ in entering})
            entering = [pair for pair in entering if pair not in taken]
        self._write(entering, leaving, spoken)

    def _held(self, user_ids: Iterable[int]) -> dict[int, str]:
        """The source's groups of each user as one text: a fifth of the rows to look at."""
        statement = (
            select(
                memberships.c.user_id,
                func.aggregate_strings(cast(memberships.c.group_id, Text), ","),
            )
            .where(
                memberships.c.user_id.in_(list(user_ids)),
                memberships.c.origin == self._work.source,
            )
            .group_by(memberships.c.user_id)
        )
        return dict(self._work.connection.execute(statement).all())

    def _of_others(self, user_ids: Iterable[int]) -> set[tuple[int, int]]:
        """What operators said of these users, yes or no, and what other sources did."""
        statement = select(memberships.c.user_id, memberships.c.group_id).where(
            memberships.c.user_id.in_(list(user_ids)),
            memberships.c.origin != self._work.source,
        )
        return set(self._work.connection.execute(statement).all())

    def _write(
        self,
        entering: Sequence[tuple[int, int]],
        leaving: Sequence[tuple[int, int]],
        people: dict[int, Person],
    ) -> None:
        connection, diff = self._work.connection, self._work.diff
        if leaving:
            connection.execute(
                delete(memberships).where(
                    memberships.c.user_id == bindparam("b_user"),
                    memberships.c.group_id == bindparam("b_group"),
                ),
                [{"b_user": user_id, "b_group": group_id} for user_id, group_id in leaving],
            )
        if entering:
            connection.execute(insert(memberships), [self._row(*pair) for pair in entering])
        for tally, pairs in ((diff.joined, entering), (diff.left, leaving)):
            for user_id, group_id in pairs:
                tally.add((people[user_id].username, self._name(group_id)))
            diff.touch(user_id for user_id, _ in pairs)

    def _group_ids(self, names: frozenset[str]) -> frozenset[int]:
        ids = self._combinations.get(names)
        if ids is None:
            if len(self._combinations) > _REMEMBERED:
                self._combinations.clear()
            ids = self._combinations[names] = frozenset(self._ids[name] for name in names)
        return ids

    def _held_ids(self, text: str) -> frozenset[int]:
        ids = self._texts.get(text)
        if ids is None:
            if len(self._texts) > _REMEMBERED:
                self._texts.clear()
            ids = self._texts[text] = frozenset(int(part) for part in text.split(",") if part)
        return ids

    def _name(self, group_id: int) -> str:
        if group_id not in self._names:
            self._names = group_names(self._work.connection)
        return self._names[group_id]

    def _row(self, user_id: int, group_id: int) -> dict[str, Any]:
        return {
            "user_id": user_id,
            "group_id": group_id,
            "origin": self._work.source,
            "present": True,
        }
