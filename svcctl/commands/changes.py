"""Changes of the directory: made, shown, and followed by what they mean for accounts."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from svcctl.commands.options import Format
from svcctl.commands.output import Table, ask, emit, plain, say, write, write_json, write_line
from svcctl.commands.session import Session

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from svcctl.config.settings import Settings
    from svcctl.tasks.edits import Change

SyncOption = Annotated[
    bool,
    typer.Option("--sync/--no-sync", help="Bring the accounts of these users in step at once."),
]


def edit(
    session: Session,
    make: Callable[["Connection", "Settings"], list["Change"]],
    form: Format,
    *,
    dry_run: bool,
    sync: bool = True,
    yes: bool = False,
    lock_timeout: str = "0s",
) -> None:
    """Make the changes in one transaction, show them, then bring the users' accounts in step.

    A dry run makes them too, plans what would follow, and takes everything back.
    """
    from svcctl.commands.follow import follow_up
    from svcctl.commands.running import Asked

    asked = Asked(dry_run=dry_run, yes=yes, lock_timeout=lock_timeout, form=form)
    asked.check()
    with session.database.write(keep=not dry_run) as connection:
        changes = make(connection, session.settings)
        ids = [change.user_id for change in changes]
        follows = sync and bool(ids) and bool(session.settings.services)
        if dry_run:
            _show(changes, form, dry_run=True, follows=follows)
            if follows:
                follow_up(session, ids, asked, connection=connection)
            return
    _show(changes, form, dry_run=False, follows=follows)
    if follows:
        follow_up(session, ids, asked)


def confirm(question: str, *, yes: bool, dry_run: bool) -> None:
    """Ask on a terminal; raises Exit when the answer is no."""
    if yes or dry_run or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    if not ask(question):
        say("nothing was done")
        raise typer.Exit(1)


def shown(value: Any) -> str:
    """A value as text: strings as they are, nothing as `(none)`, the rest as JSON."""
    from svcctl.model import to_json

    if value is None:
        return "(none)"
    return value if isinstance(value, str) else to_json(value)


def sentence(username: str, what: str, fields: dict[str, tuple[Any, Any]]) -> str:
    """`ada: added; state: (none) -> Member`."""
    parts = [] if what == "changed" and fields else [what]
    parts += [
        f"{key.removeprefix('attributes.')}: {shown(before)} -> {shown(after)}"
        for key, (before, after) in fields.items()
    ]
    return f"{username}: {'; '.join(parts)}"


def _show(changes: Sequence["Change"], form: Format, *, dry_run: bool, follows: bool) -> None:
    """One answer on stdout: where a report follows that is one document, this is said on stderr."""
    rows = [
        {"user": change.username, "change": change.what, "fields": change.fields}
        for change in changes
    ]
    if form is Format.NDJSON:
        for row in rows:
            write_line({"event": "change", "dry_run": dry_run, **row})
    elif form is Format.JSON and not follows:
        write_json("changes", {"dry_run": dry_run, "changes": rows})
    elif form is Format.CSV and not follows:
        cells = [
            {
                **row,
                "fields": sentence(change.username, "changed", change.fields).partition(": ")[2],
            }
            for row, change in zip(rows, changes, strict=True)
        ]
        emit(Table("changes", ("user", "change", "fields"), cells), form)
    else:
        tell = write if form is Format.TEXT or not follows else say
        for change in changes:
            tell(plain(sentence(change.username, change.what, change.fields)))
    if not changes:
        say("nothing to change")
    elif dry_run:
        say("dry run: nothing was written")
