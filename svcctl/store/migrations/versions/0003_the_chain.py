"""the hash chain over what was recorded"""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

from svcctl.store.chain.append import MANY, append, digests
from svcctl.store.chain.digest import OPERATIONS, RUNS, new_salt

revision = "0003"
down_revision = "0002"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
ENDED = "status IN ('done', 'failed', 'skipped', 'superseded')"


def text(name: str, default: str | None = None, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, TEXT, nullable=nullable, server_default=default)


def upgrade() -> None:
    for table in ("runs", "operations"):
        op.add_column(table, text("salt", ""))
        op.add_column(table, text("commitment", nullable=True))
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        text("at"),
        text("content"),
        text("head"),
        sa.PrimaryKeyConstraint("id", name="audit_pk"),
    )
    if not op.get_context().as_sql:
        chain_what_is_there(op.get_bind())


def chain_what_is_there(connection: sa.Connection) -> None:
    """What ended before is named as it is now; whether it was changed earlier, nobody can tell."""
    for table in ("runs", "operations"):
        statement = sa.text(f"UPDATE {table} SET salt = :salt WHERE id = :id")  # noqa: S608 - constants
        for ids in parts(connection, table, "true"):
            connection.execute(statement, [{"id": id_, "salt": new_salt()} for id_ in ids])
    ended = {RUNS: "ended_at IS NOT NULL", OPERATIONS: ENDED}
    older = {
        kind.name: connection.scalar(sa.text(f"SELECT count(*) FROM {kind.name} WHERE {condition}"))  # noqa: S608 - constants
        for kind, condition in ended.items()
    }
    append(connection, {"begins": new_salt(), "older": older})
    for kind, condition in ended.items():
        for ids in parts(connection, kind.name, condition):
            append(connection, {kind.name: digests(connection, kind, ids)})


def parts(connection: sa.Connection, table: str, condition: str) -> Iterator[list[int]]:
    query = sa.text(
        f"SELECT id FROM {table} WHERE {condition} AND id > :last ORDER BY id LIMIT {MANY}"  # noqa: S608 - constants
    )
    last = 0
    while ids := list(connection.scalars(query, {"last": last})):
        yield ids
        last = ids[-1]
