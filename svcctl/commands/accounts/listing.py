"""`svcctl accounts list` and `show`."""

from typing import Annotated

import typer

from svcctl.commands.accounts.names import OneUser
from svcctl.commands.options import Format, FormatOption, JsonOption, ServiceOption, UsersArgument
from svcctl.commands.output import Table, chosen, emit
from svcctl.commands.running import user_ids
from svcctl.commands.session import Session, open_session

StatusOption = Annotated[str | None, typer.Option("--status", help="active, disabled or absent.")]
FIELDS = (
    "service",
    "user",
    "account",
    "uid",
    "status",
    "groups",
    "nickname",
    "disabled_at",
    "pin",
    "created_at",
    "updated_at",
)
COLUMNS = ("service", "user", "account", "status", "groups", "nickname", "disabled_at", "pin")


def list_(
    ctx: typer.Context,
    users: UsersArgument = None,
    service: ServiceOption = None,
    status: StatusOption = None,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Accounts, of all users or of those named."""
    with open_session(ctx, read_only=True) as session:
        rows = _rows(session, users, service, status)
    emit(Table("accounts", COLUMNS, rows), chosen(form, json), empty="no accounts")


def show(
    ctx: typer.Context,
    user: OneUser,
    service: ServiceOption = None,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """One user's accounts, with uids and dates."""
    with open_session(ctx, read_only=True) as session:
        rows = _rows(session, [user], service, None)
    columns = ("service", "account", "uid", "status", "groups", "nickname", "created_at")
    emit(
        Table("account", (*columns, "updated_at", "disabled_at", "pin"), rows),
        chosen(form, json),
        empty="no accounts",
    )


def _rows(
    session: Session, users: list[str] | None, services: list[str] | None, status: str | None
) -> list[dict[str, object]]:
    from svcctl.errors import UsageError
    from svcctl.model import AccountStatus
    from svcctl.store.accounts import listing

    if status is not None and status not in set(AccountStatus):
        raise UsageError(
            f"--status: no such status: {status}", hint=f"one of: {', '.join(AccountStatus)}"
        )
    ids = user_ids(session, users) if users else None
    with session.database.read() as connection:
        rows = listing(connection, user_ids=ids, services=services, status=status)
    return [{field: row[field] for field in FIELDS} for row in rows]
