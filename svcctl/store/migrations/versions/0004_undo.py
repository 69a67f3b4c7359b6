"""undo: what an undo put back stays so for a while, and is found by what it undid"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("accounts", sa.Column("undo_pin", TEXT, nullable=True))
    partial_index("accounts_undo_pin", "accounts", "service", "undo_pin IS NOT NULL")
    partial_index("operations_undo", "operations", "undo_of", "undo_of IS NOT NULL")


def partial_index(name: str, table: str, column: str, where: str) -> None:
    op.create_index(
        name, table, [column], sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )
