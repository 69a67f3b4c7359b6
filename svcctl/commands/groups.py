"""`svcctl groups`: the groups of the local directory."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from svcctl.commands.changes import SyncOption, confirm, edit
from svcctl.commands.completion import complete_groups
from svcctl.commands.options import (
    DryRunOption,
    Format,
    FormatOption,
    JsonOption,
    LockTimeoutOption,
    YesOption,
)
from svcctl.commands.output import Table, chosen, emit, plain
from svcctl.commands.session import open_session
from svcctl.commands.users import NamedUsers

app = typer.Typer(no_args_is_help=True, help="The groups of the local directory.")

GroupArgument = Annotated[
    str, typer.Argument(metavar="GROUP", help="A group.", autocompletion=complete_groups)
]


@app.command("list")
def list_(ctx: typer.Context, form: FormatOption = Format.TEXT, json: JsonOption = False) -> None:
    """Groups, who made them, and how many users are in each."""
    from svcctl.store.groups import listing

    with open_session(ctx, read_only=True) as session, session.database.read() as connection:
        rows = listing(connection)
    table = Table("groups", ("name", "origin", "users"), rows)
    emit(table, chosen(form, json), empty="no groups yet")


@app.command()
def show(
    ctx: typer.Context,
    group: GroupArgument,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Who is in a group, and who is kept out of it by an operator."""
    from svcctl.store.groups import find_group, members

    with open_session(ctx, read_only=True) as session, session.database.read() as connection:
        rows = members(connection, find_group(connection, group).id)
    columns = ("username", "state", "active", "origin", "present")
    emit(Table("members", columns, rows), chosen(form, json), empty="nobody")


@app.command()
def add(
    ctx: typer.Context,
    group: GroupArgument,
    users: NamedUsers,
    sync: SyncOption = True,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    lock_timeout: LockTimeoutOption = "0s",
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Put users into a group, new or not; no source takes them out again."""
    from svcctl.tasks import edits

    _move(
        ctx,
        edits.put_in,
        group,
        users,
        chosen(form, json),
        dry_run=dry_run,
        sync=sync,
        yes=yes,
        lock_timeout=lock_timeout,
    )


@app.command()
def remove(
    ctx: typer.Context,
    group: GroupArgument,
    users: NamedUsers,
    sync: SyncOption = True,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    lock_timeout: LockTimeoutOption = "0s",
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Take users out of a group; no source puts them back."""
    from svcctl.tasks import edits

    _move(
        ctx,
        edits.take_out,
        group,
        users,
        chosen(form, json),
        dry_run=dry_run,
        sync=sync,
        yes=yes,
        lock_timeout=lock_timeout,
    )


@app.command()
def unset(
    ctx: typer.Context,
    group: GroupArgument,
    users: NamedUsers,
    sync: SyncOption = True,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    lock_timeout: LockTimeoutOption = "0s",
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Forget what operators said about users in a group; the next pull decides."""
    from svcctl.tasks import edits

    _move(
        ctx,
        edits.unset,
        group,
        users,
        chosen(form, json),
        dry_run=dry_run,
        sync=sync,
        yes=yes,
        lock_timeout=lock_timeout,
    )


@app.command()
def delete(
    ctx: typer.Context,
    group: GroupArgument,
    sync: SyncOption = True,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    lock_timeout: LockTimeoutOption = "0s",
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Delete a group; what it grants ends for everybody in it.

    A source that still names it makes it anew.
    """
    from svcctl.tasks import edits

    with open_session(ctx) as session:
        question = f"Delete {plain(group)}, and with that what it grants?"
        confirm(question, yes=yes, dry_run=dry_run)
        edit(
            session,
            lambda connection, settings: edits.delete_group(connection, settings, group),
            chosen(form, json),
            dry_run=dry_run,
            sync=sync,
            yes=yes,
            lock_timeout=lock_timeout,
        )


def _move(
    ctx: typer.Context,
    move: Callable[..., Any],
    group: str,
    users: list[str],
    form: Format,
    *,
    dry_run: bool,
    sync: bool,
    yes: bool,
    lock_timeout: str,
) -> None:
    from svcctl.commands.running import user_ids

    with open_session(ctx) as session:
        ids = user_ids(session, users)
        edit(
            session,
            lambda connection, settings: move(connection, settings, group, ids),
            form,
            dry_run=dry_run,
            sync=sync,
            yes=yes,
            lock_timeout=lock_timeout,
        )
