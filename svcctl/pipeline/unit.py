"""The unit of work of a run: what steps read comes from the database, what they write waits here.

Nothing holds a lock while a step waits. `svcctl.pipeline.commit` writes everything at once.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from svcctl.clock import now
from svcctl.config.settings import Settings
from svcctl.directory.person import name_problem
from svcctl.directory.states import choose
from svcctl.errors import PipelineError, Refused
from svcctl.pipeline.user import Association, PipelineUser
from svcctl.store import associations, people
from svcctl.store.database import Connection, Database, Row
from svcctl.tripwire import allowed
from svcctl.vault import Vault


class Taken(Exception):
    """Somebody else has this uid or this name; social-core calls it an integrity error."""


def digest(secret: str) -> str:
    """How a token or a code is kept: found again, never read."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(slots=True)
class Code:
    """A code that proves an address. `code` is known to whom it is sent, and to nobody later."""

    code: str
    email: str
    verified: bool = False
    timestamp: Any = field(default_factory=now)
    expires_at: str = ""
    partial_id: str | None = None
    used: "list[Code]" = field(default_factory=list, repr=False)

    def verify(self) -> None:
        """It counts once."""
        self.verified = True
        self.used.append(self)

    def is_expired(self, seconds: float) -> bool:
        """Whether it is older than that."""
        return bool((now() - self.timestamp).total_seconds() > float(seconds))

    def save(self) -> None:
        """What changed is written with the run."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a step wants on services once the run is kept: `activate`, `delete`, `groups`, …"""

    what: str
    user: PipelineUser
    services: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Link:
    """An account of a service that a provider's uid has proved to be the user's."""

    user: PipelineUser
    service: str
    uid: str
    name: str


@dataclass(frozen=True, slots=True)
class Message:
    """Something to tell: a user, an address, or (neither) the operators. `secret` is sealed."""

    title: str
    text: str
    user: PipelineUser | None = None
    address: str | None = None
    secret: str | None = None

    @property
    def to(self) -> str:
        """Whom it goes to, in words."""
        return self.address or (self.user.username if self.user else "the operators")


class UnitOfWork:
    """What one run reads and will have written."""

    def __init__(
        self, database: Database, settings: Settings, vault: Vault, *, origin: str, dry_run: bool
    ) -> None:
        """origin: who gives memberships, like `pipeline:join`."""
        self.database = database
        self.settings = settings
        self.origin = origin
        self.dry_run = dry_run
        self.vault = vault
        self.added: list[PipelineUser] = []
        self.linked: list[Association] = []
        self.unlinked: list[Association] = []
        self.touched: list[Association] = []
        self.made_codes: list[Code] = []
        self.used_codes: list[Code] = []
        self.memberships: list[tuple[PipelineUser, str]] = []
        self.messages: list[Message] = []
        self.wishes: list[Wish] = []
        self.links: list[Link] = []
        self.kept_back: list[str] = []
        self._users: dict[int, PipelineUser] = {}
        self._uids: dict[int, tuple[str, str]] = {}
        self._connection: Connection | None = None

    # Reading

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees this moment, also while everything else is refused."""
        with allowed(), self.database.read() as connection:
            yield connection

    def user(self, pk: Any) -> PipelineUser | None:
        """The user with this id. Raises Refused for one who was removed."""
        known = self._users.get(pk)
        if known is not None:
            return known
        with self.reading() as connection:
            row = people.by_id(connection, pk) if isinstance(pk, int) else None
            return None if row is None else self._loaded(connection, row)

    def named(self, username: str) -> PipelineUser | None:
        """The user of this name, one of this run included. Raises Refused for a removed one."""
        for user in self._users.values():
            if user.username == username:
                return user
        with self.reading() as connection:
            row = people.by_name(connection, username)
            return None if row is None else self._loaded(connection, row)

    def is_taken(self, username: str) -> bool:
        """Whether somebody has, or had, this name."""
        if any(user.username == username for user in self._users.values()):
            return True
        with self.reading() as connection:
            return people.by_name(connection, username) is not None

    def with_email(self, email: str) -> list[PipelineUser]:
        """The users who were not removed and have this address, whatever its case."""
        with self.reading() as connection:
            rows = people.with_email(connection, email)
            found = {row.id: self._loaded(connection, row) for row in rows}
        wanted = email.lower()
        everybody = {**found, **{user.id: user for user in self._users.values()}}
        return [
            user
            for user in everybody.values()
            if isinstance(user.email, str) and user.email.lower() == wanted
        ]

    def _loaded(self, connection: Connection, row: Row[Any]) -> PipelineUser:
        if row.id in self._users:
            return self._users[row.id]
        if row.removed_at:
            raise Refused(
                f"{row.username} was removed at {row.removed_at}",
                hint=f"take the user back with: svcctl users add {row.username} --restore",
                code="user_removed",
            )
        held = people.memberships_of(connection, row.id)
        user = PipelineUser(
            row.id,
            {
                **json.loads(row.attributes),
                "username": row.username,
                "is_active": row.active,
            },
            self.settings.attributes,
            is_superuser=row.superuser,
            state=row.state,
            groups=frozenset(item["name"] for item in held if item["present"]),
            source=row.source,
        )
        self._users[row.id] = user
        return user

    def association(self, provider: str, uid: str) -> Association | None:
        """The association of this uid, as the run has it by now."""
        for one in self.linked:
            if (one.provider, one.uid) == (provider, uid):
                return one
        with self.reading() as connection:
            row = associations.find(connection, provider, uid)
        return None if row is None else self._known(row)

    def associations_of(
        self, user: PipelineUser, provider: str | None = None, id_: Any = None
    ) -> list[Association]:
        """The user's associations, as the run has them by now."""
        with self.reading() as connection:
            rows = associations.of_user(connection, user.id, provider, id_)
        stored = [one for one in map(self._known, rows) if one is not None]
        new = [
            one
            for one in self.linked
            if one.user == user and provider in (None, one.provider) and id_ is None
        ]
        return stored + new

    def associations_with(self, provider: str, id_key: str) -> list[Association]:
        """All associations with a provider under one identifier."""
        with self.reading() as connection:
            rows = list(associations.of_provider(connection, provider, id_key))
        return [one for one in map(self._known, rows) if one is not None]

    def _known(self, row: Row[Any]) -> Association | None:
        """None for one that this run has removed."""
        if any(one.id == row.id for one in self.unlinked):
            return None
        for one in self.touched:
            if one.id == row.id:
                return one
        one = self._association(row.provider, row.uid, row.id_key, row.user_id, row)
        self._uids[row.id] = (row.provider, row.uid)
        return one

    def _association(
        self, provider: str, uid: str, id_key: str, user_id: int, row: Row[Any] | None = None
    ) -> Association:
        def data() -> dict[str, Any]:
            if row is None:
                return {}
            with allowed():
                text = self.vault.unseal(row.extra_data, purpose(row.provider, row.uid))
            found: dict[str, Any] = json.loads(text)
            return found

        return Association(
            id_=None if row is None else row.id,
            provider=provider,
            uid=uid,
            id_key=id_key,
            user=lambda: self.user(user_id),
            extra_data=data,
            touched=self._touch,
        )

    # Writing, which waits

    def add_user(self, username: str, attributes: Mapping[str, Any]) -> PipelineUser:
        """A new user. Raises PipelineError for what cannot be kept, Taken for a name in use."""
        if problem := name_problem(username):
            raise PipelineError(
                f"the username {problem}", hint="get_username makes one that is allowed"
            )
        if self.is_taken(username):
            raise Taken(username)
        with allowed():
            if self.dry_run:
                with self.database.read() as connection:
                    pk = people.next_id(connection) + len(self.added)
            else:
                with self.database.write() as connection:
                    pk = people.reserve_id(connection)
        user = PipelineUser(
            pk,
            {**attributes, "username": username, "is_active": True},
            self.settings.attributes,
            new=True,
        )
        self._users[pk] = user
        self.added.append(user)
        return user

    def link(self, user: PipelineUser, provider: str, uid: str, id_key: str) -> Association:
        """Whose uid this is. Raises Taken where somebody has it."""
        if self.association(provider, uid) is not None:
            raise Taken(f"{provider} {uid}")
        one = self._association(provider, uid, id_key, user.id)
        self.linked.append(one)
        return one

    def unlink(self, association: Association) -> None:
        """Nobody's any more."""
        if association in self.linked and association.id is None:
            self.linked.remove(association)
        else:
            self.unlinked.append(association)

    def _touch(self, association: Association) -> None:
        if association.id is not None and association not in self.touched:
            self.touched.append(association)

    # What is derived

    def groups_of(self, user: PipelineUser) -> frozenset[str]:
        """The user's groups with those that this run gives."""
        given = {name for owner, name in self.memberships if owner == user}
        return frozenset(user.groups | given)

    def state_of(self, user: PipelineUser) -> str:
        """The state that the rules give the user as the run leaves them."""
        attributes = {
            name: value
            for name in self.settings.attributes
            if (value := getattr(user, name)) is not None
        }
        return choose(
            self.settings.state_rules(),
            username=user.username,
            active=bool(user.is_active),
            groups=self.groups_of(user),
            attributes=attributes,
        )

    def changed_users(self) -> dict[PipelineUser, dict[str, Any]]:
        """Users who were there before, and what of them changes; what is not ours is left out."""
        found = {}
        for user in self._users.values():
            if user in self.added:
                continue
            changes = self._ours(user, user.changes())
            if changes:
                found[user] = changes
        return found

    def _ours(self, user: PipelineUser, changes: dict[str, Any]) -> dict[str, Any]:
        """Without what an operator said, and what the user's source says."""
        if not changes:
            return changes
        with self.reading() as connection:
            row = people.by_id(connection, user.id)
            assert row is not None
        source = self.settings.directory.sources.get(row.source or "")
        owned = {
            key.removeprefix("attributes."): "an operator's" for key in json.loads(row.origins)
        }
        if row.source is not None:
            mapped = set(source.attributes.values()) if source is not None else set()
            for name in {"username", "is_active", *mapped}:
                owned.setdefault(name, f"the source {row.source}'s")
        for name in changes.keys() & owned.keys():
            told = f"{user.username}: {name} is {owned[name]}, and stays"
            if told not in self.kept_back:
                self.kept_back.append(told)
        return {name: value for name, value in changes.items() if name not in owned}


def purpose(provider: str, uid: str) -> str:
    return f"association {provider} {uid}"
