"""New users and new names. A name that belongs to someone else is a conflict, never a takeover."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Row, bindparam, insert, select, update

from svcctl.directory.person import Person
from svcctl.directory.states import choose
from svcctl.errors import SourceError
from svcctl.model import to_json
from svcctl.store.chunks import chunks
from svcctl.store.pull.moves import Moves
from svcctl.store.pull.work import Work
from svcctl.store.tables import users


class Newcomers:
    """Inserts and renames. Names that pass from one user of the source to another go at the end."""

    def __init__(self, work: Work, moves: Moves) -> None:
        self._work = work
        self._moves = moves
        self._renames: dict[int, Person] = {}
        self._waiting: list[Person] = []

    def rename(self, present: Iterable[tuple[Row[Any], Person]]) -> None:
        """Note who has another name now; `settle` gives it."""
        for row, person in present:
            if person.username != row.username:
                self._renames[row.id] = person
                self._work.diff.renamed.add((row.username, person.username))

    def insert(self, people: Sequence[Person]) -> None:
        """Add these users, but let those wait whose name another user of the source still has."""
        holders = self._holders(people)
        free = []
        for person in people:
            holder = holders.get(person.username)
            if holder is None:
                free.append(person)
            elif holder.source == self._work.source and not holder.removed_at:
                self._waiting.append(person)
            else:
                raise self._conflict(person, holder)
        self._add(free)

    def settle(self) -> None:
        """Give the new names, by way of names that nobody has, and add those who waited for one."""
        for people in (list(self._renames.values()), self._waiting):
            for part in chunks(people):
                holders = self._holders(part)
                for person in part:
                    holder = holders.get(person.username)
                    if holder is not None and holder.id not in self._renames:
                        raise self._conflict(person, holder)
        if self._renames:
            ids = list(self._renames)
            self._name([(id_, f"\x1frenamed-{id_}") for id_ in ids])
            self._name([(id_, person.username) for id_, person in self._renames.items()])
            self._work.diff.touch(ids)
        for part in chunks(self._waiting):
            self._add(part)

    def _name(self, names: Iterable[tuple[int, str]]) -> None:
        values = {"username": bindparam("b_name"), "updated_at": self._work.moment}
        self._work.connection.execute(
            update(users).where(users.c.id == bindparam("b_id")).values(values),
            [{"b_id": id_, "b_name": name} for id_, name in names],
        )

    def _holders(self, people: Iterable[Person]) -> dict[str, Any]:
        statement = select(
            users.c.id, users.c.username, users.c.source, users.c.source_id, users.c.removed_at
        ).where(users.c.username.in_([person.username for person in people]))
        return {row.username: row for row in self._work.connection.execute(statement).all()}

    def _add(self, people: Sequence[Person]) -> None:
        if not people:
            return
        work = self._work
        work.connection.execute(insert(users), [self._row(person) for person in people])
        added = select(users.c.id, users.c.source_id).where(
            users.c.source == work.source,
            users.c.source_id.in_([person.source_id for person in people]),
        )
        ids = {source_id: id_ for id_, source_id in work.connection.execute(added).all()}
        self._moves.enter((ids[person.source_id], person) for person in people)
        work.diff.newly(ids.values())
        for person in people:
            work.diff.added.add(person.username)

    def _row(self, person: Person) -> dict[str, Any]:
        active = person.active is not False
        attributes = {key: value for key, value in person.attributes.items() if value is not None}
        state = choose(
            self._work.rules,
            username=person.username,
            active=active,
            groups=person.groups or (),
            attributes=attributes,
        )
        return {
            "username": person.username,
            "source": self._work.source,
            "source_id": person.source_id,
            "enabled": active,
            "active": active,
            "state": state,
            "attributes": to_json(attributes),
            "created_at": self._work.moment,
            "updated_at": self._work.moment,
        }

    def _conflict(self, person: Person, holder: Row[Any]) -> SourceError:
        source = self._work.source
        who = f"{source}: the username {person.username!r} of id {person.source_id!r}"
        forget = f"svcctl users forget {holder.username}"
        if holder.source is None:
            return SourceError(
                f"{who} belongs to an operator's own user",
                hint=f"rename one of them; if the source's shall take its place: {forget}",
            )
        if holder.source != source:
            return SourceError(
                f"{who} belongs to a user of the source {holder.source} (id {holder.source_id!r})",
                hint="the same username in two sources: rename one, or read it from one only",
            )
        return SourceError(
            f"{who} belongs to the user with id {holder.source_id!r} of the same source",
            hint=f"if that person has left for good, free the name: {forget}",
        )
