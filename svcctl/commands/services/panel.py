"""`svcctl services panel`."""

from dataclasses import asdict
from typing import Annotated

import typer

from svcctl.commands.completion import complete_users
from svcctl.commands.options import Format, FormatOption, JsonOption
from svcctl.commands.output import Table, chosen, emit, write
from svcctl.commands.services.about import tell
from svcctl.commands.session import open_session
from svcctl.errors import ExitCode, UsageError

UserArgument = Annotated[
    str, typer.Argument(metavar="USER", help="A username.", autocompletion=complete_users)
]
HtmlOption = Annotated[bool, typer.Option("--html", help="The rows as an HTML table.")]
COLUMNS = ("service", "title", "username", "url", "status", "actions")


def panel(
    ctx: typer.Context,
    user: UserArgument,
    html: HtmlOption = False,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """The services page of a user: name, username, url and what the user may do."""
    from svcctl.store.dossier import as_hooks_see
    from svcctl.store.people import find_user
    from svcctl.tasks import panel as page

    form = chosen(form, json)
    if html and form is not Format.TEXT:
        raise UsageError("--html together with --format", hint="give one of them")
    with open_session(ctx, read_only=True) as session:
        hooks = session.hooks()
        with session.database.read() as connection:
            found = find_user(connection, user)
            person = as_hooks_see(connection, found.id, session.settings.state_rules())
            shown, failed = page.rows(connection, person, hooks.loaded)
        if html:
            write(page.html(shown, hooks.loaded))
        else:
            rows = [asdict(row) for row in shown.values()]
            emit(Table("panel", COLUMNS, rows), form, empty=f"no service for {user}")
    errors = [*hooks.failed.values(), *failed.values()]
    for error in errors:
        tell(error)
    if errors:
        raise typer.Exit(int(ExitCode.CONFIG))
