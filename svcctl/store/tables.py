"""The schema. Moments are ISO 8601 text in UTC, JSON is canonical text (`svcctl.model.to_json`).

Only standard SQL: the same tables run on SQLite and PostgreSQL. A change here needs a migration
under `store/migrations` and a new `SCHEMA` in `store/database.py`; a test compares the three.
"""

from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

TEXT = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that both kinds of database sort the way Python does."""

LARGEST_ID = 2**31 - 1
"""PostgreSQL's integers end here; asking it for a greater one is an error."""

_NAMES = {
    "pk": "%(table_name)s_pk",
    "fk": "%(table_name)s_%(column_0_name)s_fk",
    "uq": "%(table_name)s_%(column_0_name)s_uq",
}


class Row(SQLModel, registry=registry(metadata=MetaData(naming_convention=_NAMES))):
    """svcctl's own tables: SQLModel classes of other packages do not mix with them.

    Every constraint has a name, or no later migration could change it on SQLite. Partial indexes
    name their condition for SQLite alone: a word of PostgreSQL would load its dialect each time.
    """

    model_config = {"defer_build": True}


def _text(*, nullable: bool = False, default: str | None = None) -> Any:
    return Field(default=default, sa_column=Column(TEXT, nullable=nullable, server_default=default))


def _json(default: str) -> Any:
    return Field(
        default=default,
        sa_column=Column(TEXT, nullable=False, server_default=default, info={"json": default}),
    )


def _reference(target: str, *, nullable: bool = False, cascade: bool = False) -> Any:
    rule = "CASCADE" if cascade else None
    return Field(sa_column=Column(ForeignKey(target, ondelete=rule), nullable=nullable))


class UserRow(Row, table=True):
    """A person. `active` is effective: `enabled`, not removed, missing from less than two pulls."""

    __tablename__ = "users"
    __table_args__ = (
        Index("users_source", "source", "source_id", unique=True),
        Index("users_standing", "active", "state"),
        # An id is never given again: services know people by it (`NewAccount.external_id`).
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, primary_key=True)
    username: str = Field(sa_column=Column(TEXT, nullable=False, unique=True))
    source: str | None = _text(nullable=True)
    source_id: str | None = _text(nullable=True)
    enabled: bool = Field(default=True, nullable=False)
    active: bool = Field(default=True, nullable=False)
    superuser: bool = Field(default=False, nullable=False)
    state: str = _text(default="")
    attributes: str = _json("{}")
    origins: str = _json("{}")
    missing_pulls: int = Field(default=0, nullable=False)
    removed_at: str | None = _text(nullable=True)
    created_at: str = _text()
    updated_at: str = _text()


class GroupRow(Row, table=True):
    """A named set of users."""

    __tablename__ = "groups"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(sa_column=Column(TEXT, nullable=False, unique=True))
    origin: str = _text(default="operator")


class MembershipRow(Row, table=True):
    """A user in a group. `present` false is an operator's no, which a source does not overrule."""

    __tablename__ = "memberships"
    __table_args__ = (Index("memberships_group", "group_id", "user_id"),)

    user_id: int = Field(
        sa_column=Column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    )
    group_id: int = Field(
        sa_column=Column(ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True)
    )
    origin: str = _text(default="operator")
    present: bool = Field(default=True, nullable=False)


class StateRow(Row, table=True):
    """A state as its rule (canonical JSON) stood when users were last sorted into states."""

    __tablename__ = "states"

    name: str = Field(sa_column=Column(TEXT, primary_key=True))
    priority: int = Field(nullable=False)
    rule: str = _json("{}")


class AccountRow(Row, table=True):
    """One user on one service; `absent` rows are reserved or were deleted.

    `undo_pin` is a `model.UndoPin` in JSON.
    """

    __tablename__ = "accounts"
    __table_args__ = (
        Index("accounts_user", "user_id", "service", unique=True),
        Index("accounts_standing", "service", "status", "user_id"),
        Index(
            "accounts_uid",
            "service",
            "uid",
            unique=True,
            sqlite_where=text("uid IS NOT NULL"),
        ),
        Index("accounts_name", "service", "name_key"),
        Index(
            "accounts_undo_pin",
            "service",
            sqlite_where=text("undo_pin IS NOT NULL"),
        ),
        CheckConstraint("status IN ('absent', 'active', 'disabled')", name="accounts_status"),
    )

    id: int | None = Field(default=None, primary_key=True)
    user_id: int = _reference("users.id")
    service: str = _text()
    status: str = _text(default="absent")
    uid: str | None = _text(nullable=True)
    name: str = _text(default="")
    name_key: str = _text(default="")
    groups: str = _json("[]")
    nickname: str = _text(default="")
    data: str = _json("{}")
    disabled_at: str | None = _text(nullable=True)
    pin: str | None = _text(nullable=True)
    created_at: str = _text()
    updated_at: str = _text()
    undo_pin: str | None = _text(nullable=True)


class RunRow(Row, table=True):
    """One invocation that planned and perhaps applied operations; no `ended_at`: it never ended."""

    __tablename__ = "runs"

    id: int | None = Field(default=None, primary_key=True)
    command: str = _text()
    actor: str = _text()
    host: str = _text()
    pid: int = Field(nullable=False)
    started_at: str = _text()
    ended_at: str | None = _text(nullable=True)
    exit_code: int | None = Field(default=None, nullable=True)
    summary: str = _json("{}")
    salt: str = _text(default="")
    commitment: str | None = _text(nullable=True)


OPEN_OPERATION = "status IN ('pending', 'running', 'unknown', 'held')"
DONE_REMOVAL = "removal AND status = 'done'"
"""Word for word in queries too: with parameters in it, SQLite does not use a partial index."""


class OperationRow(Row, table=True):
    """One verb on one account: the plan, the queue, the audit log and the undo in one table."""

    __tablename__ = "operations"
    __table_args__ = (
        Index(
            "operations_open",
            "account_id",
            "verb",
            unique=True,
            sqlite_where=text(OPEN_OPERATION),
        ),
        Index("operations_account", "account_id", "id"),
        Index("operations_user", "user_id", "id"),
        Index("operations_run", "run_id", "id"),
        Index(
            "operations_retry",
            "service",
            "next_attempt_at",
            sqlite_where=text("next_attempt_at IS NOT NULL"),
        ),
        Index(
            "operations_removals",
            "service",
            "ended_at",
            sqlite_where=text(DONE_REMOVAL),
        ),
        Index(
            "operations_undo",
            "undo_of",
            sqlite_where=text("undo_of IS NOT NULL"),
        ),
        CheckConstraint(
            "status IN ('pending', 'running', 'unknown', 'held', 'done', 'failed', 'skipped',"
            " 'superseded')",
            name="operations_status",
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    run_id: int = _reference("runs.id")
    service: str = _text()
    user_id: int = _reference("users.id")
    account_id: int = _reference("accounts.id")
    seq: int = Field(nullable=False)
    verb: str = _text()
    args: str = _json("{}")
    before: str = _json("{}")
    after: str = _json("{}")
    reason: str = _text()
    actor: str = _text()
    removal: bool = Field(default=False, nullable=False)
    notify: bool = Field(default=False, nullable=False)
    looked: bool = Field(default=False, nullable=False)
    status: str = _text(default="pending")
    attempts: int = Field(default=0, nullable=False)
    next_attempt_at: str | None = _text(nullable=True)
    started_at: str | None = _text(nullable=True)
    ended_at: str | None = _text(nullable=True)
    error: str | None = _text(nullable=True)
    undo_of: int | None = Field(default=None, nullable=True)
    salt: str = _text(default="")
    commitment: str | None = _text(nullable=True)


class AuditRow(Row, table=True):
    """An entry of the hash chain, see `store.chain`. `content` is JSON, `head` hashes all so far.

    `salt` of a run or operation hides its texts in the digest; without it, `commitment` does.
    """

    __tablename__ = "audit"

    id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    at: str = _text()
    content: str = _text()
    head: str = _text()


WAITING_NOTIFICATION = "sent_at IS NULL AND refused_at IS NULL"
"""Word for word in queries too, as above."""


class NotificationRow(Row, table=True):
    """Something to tell a user, or the operators (no `user_id`); kept until it is sent or refused.

    `trouble` is what a notice to the operators tells of, as a JSON list, for the next one.
    `address` is where it goes when that is neither; `sealed`, encrypted, takes the message's place.
    """

    __tablename__ = "notifications"
    __table_args__ = (
        Index(
            "notifications_waiting",
            "attempts",
            "id",
            sqlite_where=text(WAITING_NOTIFICATION),
        ),
        Index(
            "notifications_command",
            "command",
            "id",
            sqlite_where=text("command IS NOT NULL"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    user_id: int | None = _reference("users.id", nullable=True)
    operation_id: int | None = _reference("operations.id", nullable=True)
    level: str = _text(default="info")
    title: str = _text()
    message: str = _text()
    key: str = _text()
    command: str | None = _text(nullable=True)
    trouble: str = _json("[]")
    created_at: str = _text()
    sent_at: str | None = _text(nullable=True)
    refused_at: str | None = _text(nullable=True)
    attempts: int = Field(default=0, nullable=False)
    next_attempt_at: str | None = _text(nullable=True)
    error: str | None = _text(nullable=True)
    address: str | None = _text(nullable=True)
    sealed: str | None = _text(nullable=True)


class AssociationRow(Row, table=True):
    """A provider's uid that belongs to a user; `extra_data` is encrypted JSON: it holds tokens."""

    __tablename__ = "associations"
    __table_args__ = (
        Index("associations_uid", "provider", "uid", unique=True),
        Index("associations_user", "user_id", "provider"),
    )

    id: int | None = Field(default=None, primary_key=True)
    user_id: int = _reference("users.id")
    provider: str = _text()
    uid: str = _text()
    id_key: str = _text(default="")
    extra_data: str = _text()
    created_at: str = _text()
    updated_at: str = _text()


class PartialRow(Row, table=True):
    """A pipeline run that paused. `data` is its encrypted context, `needs` a JSON list of names.

    `fingerprint` is the list of steps that the run began with, as JSON.
    """

    __tablename__ = "partials"
    __table_args__ = (
        Index("partials_token", "token_hash", unique=True),
        Index("partials_user", "user_id"),
        Index("partials_expiry", "expires_at"),
    )

    id: str = Field(sa_column=Column(TEXT, primary_key=True))
    token_hash: str = _text()
    pipeline: str = _text()
    kind: str = _text()
    backend: str = _text()
    step: str = _text()
    fingerprint: str = _json("[]")
    user_id: int | None = _reference("users.id", nullable=True)
    why: str = _text(default="")
    needs: str = _json("[]")
    external: bool = Field(default=False, nullable=False)
    data: str = _text()
    attempts: int = Field(default=0, nullable=False)
    actor: str = _text()
    created_at: str = _text()
    expires_at: str = _text()


class CodeRow(Row, table=True):
    """A code that was mailed to prove an address; only its hash is kept. Used once."""

    __tablename__ = "codes"
    __table_args__ = (
        Index("codes_code", "code_hash", unique=True),
        Index("codes_expiry", "expires_at"),
    )

    id: int | None = Field(default=None, primary_key=True)
    code_hash: str = _text()
    email: str = _text()
    partial_id: str | None = _text(nullable=True)
    verified_at: str | None = _text(nullable=True)
    created_at: str = _text()
    expires_at: str = _text()


class PullRow(Row, table=True):
    """A source, and when it was last taken over."""

    __tablename__ = "pulls"

    source: str = Field(sa_column=Column(TEXT, primary_key=True))
    at: str = _text()


class PausedRow(Row, table=True):
    """A service that an operator paused: planned for, never applied to."""

    __tablename__ = "paused_services"

    service: str = Field(sa_column=Column(TEXT, primary_key=True))
    since: str = _text()
    reason: str = _text(default="")
    actor: str = _text()


def _table(model: type[Row]) -> Table:
    table: Table = model.__table__  # type: ignore[attr-defined]
    return table


users = _table(UserRow)
groups = _table(GroupRow)
memberships = _table(MembershipRow)
states = _table(StateRow)
accounts = _table(AccountRow)
runs = _table(RunRow)
operations = _table(OperationRow)
audit = _table(AuditRow)
notifications = _table(NotificationRow)
paused_services = _table(PausedRow)
pulls = _table(PullRow)
associations = _table(AssociationRow)
partials = _table(PartialRow)
codes = _table(CodeRow)
metadata = Row.metadata
