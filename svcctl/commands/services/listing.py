"""`svcctl services list`."""

import typer

from svcctl.commands.options import Format, FormatOption, JsonOption
from svcctl.commands.output import Table, chosen, emit
from svcctl.commands.services.about import about, about_unusable, for_table, live, standing, tell
from svcctl.commands.session import open_session
from svcctl.errors import ExitCode

COLUMNS = ("service", "title", "hook", "package", "version", "create", "can", "accounts", "status")


def list_(ctx: typer.Context, form: FormatOption = Format.TEXT, json: JsonOption = False) -> None:
    """Every service, also those that left the configuration and still have accounts."""
    from svcctl.store.runs import paused
    from svcctl.store.services import by_status

    form = chosen(form, json)
    with open_session(ctx, read_only=True) as session:
        with session.database.read() as connection:
            accounts, pauses = by_status(connection), paused(connection)
        hooks = session.hooks()
        rows = []
        for name, table in session.settings.services.items():
            said = (
                about(hooks.loaded[name])
                if name in hooks.loaded
                else about_unusable(
                    name, "failed", hook=str(table["hook"]), error=hooks.failed[name]
                )
            )
            rows.append({**said, **standing(name, accounts, pauses)})
        rows.extend(
            {**about_unusable(name, "unmanaged"), **standing(name, accounts, pauses)}
            for name in accounts
            if name not in session.settings.services and live(accounts[name])
        )
    if form in (Format.TEXT, Format.CSV):
        rows = [for_table(row) for row in rows]
    emit(Table("services", COLUMNS, rows), form, empty="no service is configured")
    for error in hooks.failed.values():
        tell(error)
    if hooks.failed:
        raise typer.Exit(int(ExitCode.CONFIG))
