"""the first schema"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def text(name: str, default: str | None = None, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, TEXT, nullable=nullable, server_default=default)


def key(name: str = "id") -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False)


def number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=nullable)


def flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=False)


def partial_index(
    name: str, table: str, columns: list[str], where: str, *, unique: bool = False
) -> None:
    condition = sa.text(where)
    op.create_index(
        name,
        table,
        columns,
        unique=unique,
        sqlite_where=condition,
        postgresql_where=condition,
    )


def upgrade() -> None:
    people()
    services()
    history()


def people() -> None:
    op.create_table(
        "users",
        key(),
        text("username"),
        text("source", nullable=True),
        text("source_id", nullable=True),
        flag("enabled"),
        flag("active"),
        flag("superuser"),
        text("state", ""),
        text("attributes", "{}"),
        text("origins", "{}"),
        number("missing_pulls"),
        text("removed_at", nullable=True),
        text("created_at"),
        text("updated_at"),
        sa.PrimaryKeyConstraint("id", name="users_pk"),
        sa.UniqueConstraint("username", name="users_username_uq"),
        sqlite_autoincrement=True,
    )
    op.create_index("users_source", "users", ["source", "source_id"], unique=True)
    op.create_index("users_standing", "users", ["active", "state"])
    op.create_table(
        "groups",
        key(),
        text("name"),
        text("origin", "operator"),
        sa.PrimaryKeyConstraint("id", name="groups_pk"),
        sa.UniqueConstraint("name", name="groups_name_uq"),
    )
    op.create_table(
        "memberships",
        key("user_id"),
        key("group_id"),
        text("origin", "operator"),
        flag("present"),
        sa.PrimaryKeyConstraint("user_id", "group_id", name="memberships_pk"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="memberships_user_id_fk", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["group_id"], ["groups.id"], name="memberships_group_id_fk", ondelete="CASCADE"
        ),
    )
    op.create_index("memberships_group", "memberships", ["group_id", "user_id"])
    op.create_table(
        "states",
        text("name"),
        number("priority"),
        text("rule", "{}"),
        sa.PrimaryKeyConstraint("name", name="states_pk"),
    )


def services() -> None:
    op.create_table(
        "accounts",
        key(),
        number("user_id"),
        text("service"),
        text("status", "absent"),
        text("uid", nullable=True),
        text("name", ""),
        text("name_key", ""),
        text("groups", "[]"),
        text("nickname", ""),
        text("data", "{}"),
        text("disabled_at", nullable=True),
        text("pin", nullable=True),
        text("created_at"),
        text("updated_at"),
        sa.CheckConstraint("status IN ('absent', 'active', 'disabled')", name="accounts_status"),
        sa.PrimaryKeyConstraint("id", name="accounts_pk"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="accounts_user_id_fk"),
    )
    op.create_index("accounts_user", "accounts", ["user_id", "service"], unique=True)
    op.create_index("accounts_standing", "accounts", ["service", "status", "user_id"])
    op.create_index("accounts_name", "accounts", ["service", "name_key"])
    partial_index("accounts_uid", "accounts", ["service", "uid"], "uid IS NOT NULL", unique=True)
    op.create_table(
        "paused_services",
        text("service"),
        text("since"),
        text("reason", ""),
        text("actor"),
        sa.PrimaryKeyConstraint("service", name="paused_services_pk"),
    )


def history() -> None:
    op.create_table(
        "runs",
        key(),
        text("command"),
        text("actor"),
        text("host"),
        number("pid"),
        text("started_at"),
        text("ended_at", nullable=True),
        number("exit_code", nullable=True),
        text("summary", "{}"),
        sa.PrimaryKeyConstraint("id", name="runs_pk"),
    )
    op.create_table(
        "operations",
        key(),
        number("run_id"),
        text("service"),
        number("user_id"),
        number("account_id"),
        number("seq"),
        text("verb"),
        text("args", "{}"),
        text("before", "{}"),
        text("after", "{}"),
        text("reason"),
        text("actor"),
        flag("removal"),
        flag("notify"),
        flag("looked"),
        text("status", "pending"),
        number("attempts"),
        text("next_attempt_at", nullable=True),
        text("started_at", nullable=True),
        text("ended_at", nullable=True),
        text("error", nullable=True),
        number("undo_of", nullable=True),
        sa.CheckConstraint(
            "status IN ('pending', 'running', 'unknown', 'held', 'done', 'failed', 'skipped',"
            " 'superseded')",
            name="operations_status",
        ),
        sa.PrimaryKeyConstraint("id", name="operations_pk"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="operations_run_id_fk"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="operations_user_id_fk"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="operations_account_id_fk"),
    )
    partial_index(
        "operations_open",
        "operations",
        ["account_id", "verb"],
        "status IN ('pending', 'running', 'unknown', 'held')",
        unique=True,
    )
    op.create_index("operations_account", "operations", ["account_id", "id"])
    op.create_index("operations_user", "operations", ["user_id", "id"])
    op.create_index("operations_run", "operations", ["run_id", "id"])
    partial_index(
        "operations_retry",
        "operations",
        ["service", "next_attempt_at"],
        "next_attempt_at IS NOT NULL",
    )
    partial_index(
        "operations_removals",
        "operations",
        ["service", "ended_at"],
        "removal AND status = 'done'",
    )
    op.create_table(
        "notifications",
        key(),
        number("user_id", nullable=True),
        number("operation_id", nullable=True),
        text("level", "info"),
        text("title"),
        text("message"),
        text("key"),
        text("command", nullable=True),
        text("trouble", "[]"),
        text("created_at"),
        text("sent_at", nullable=True),
        text("refused_at", nullable=True),
        number("attempts"),
        text("next_attempt_at", nullable=True),
        text("error", nullable=True),
        sa.PrimaryKeyConstraint("id", name="notifications_pk"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="notifications_user_id_fk"),
        sa.ForeignKeyConstraint(
            ["operation_id"], ["operations.id"], name="notifications_operation_id_fk"
        ),
    )
    partial_index(
        "notifications_waiting",
        "notifications",
        ["attempts", "id"],
        "sent_at IS NULL AND refused_at IS NULL",
    )
    partial_index(
        "notifications_command", "notifications", ["command", "id"], "command IS NOT NULL"
    )
