"""pipelines: associations, partials, codes, sealed messages"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def text(name: str, default: str | None = None, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, TEXT, nullable=nullable, server_default=default)


def upgrade() -> None:
    op.add_column("notifications", text("address", nullable=True))
    op.add_column("notifications", text("sealed", nullable=True))
    associations()
    partials()
    codes()


def associations() -> None:
    op.create_table(
        "associations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        text("provider"),
        text("uid"),
        text("id_key", ""),
        text("extra_data"),
        text("created_at"),
        text("updated_at"),
        sa.PrimaryKeyConstraint("id", name="associations_pk"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="associations_user_id_fk"),
    )
    op.create_index("associations_uid", "associations", ["provider", "uid"], unique=True)
    op.create_index("associations_user", "associations", ["user_id", "provider"])


def partials() -> None:
    op.create_table(
        "partials",
        text("id"),
        text("token_hash"),
        text("pipeline"),
        text("kind"),
        text("backend"),
        text("step"),
        text("fingerprint", "[]"),
        sa.Column("user_id", sa.Integer(), nullable=True),
        text("why", ""),
        text("needs", "[]"),
        sa.Column("external", sa.Boolean(), nullable=False),
        text("data"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        text("actor"),
        text("created_at"),
        text("expires_at"),
        sa.PrimaryKeyConstraint("id", name="partials_pk"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="partials_user_id_fk"),
    )
    op.create_index("partials_token", "partials", ["token_hash"], unique=True)
    op.create_index("partials_user", "partials", ["user_id"])
    op.create_index("partials_expiry", "partials", ["expires_at"])


def codes() -> None:
    op.create_table(
        "codes",
        sa.Column("id", sa.Integer(), nullable=False),
        text("code_hash"),
        text("email"),
        text("partial_id", nullable=True),
        text("verified_at", nullable=True),
        text("created_at"),
        text("expires_at"),
        sa.PrimaryKeyConstraint("id", name="codes_pk"),
    )
    op.create_index("codes_code", "codes", ["code_hash"], unique=True)
    op.create_index("codes_expiry", "codes", ["expires_at"])
