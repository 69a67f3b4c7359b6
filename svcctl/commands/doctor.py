"""`svcctl doctor`."""

from typing import Annotated, Any

import typer

from svcctl.commands.options import Format, FormatOption, JsonOption
from svcctl.commands.output import Table, chosen, emit
from svcctl.errors import UsageError, gravest

app = typer.Typer()

COLUMNS = ("result", "check", "subject", "message", "remedy")
OfflineOption = Annotated[
    bool, typer.Option("--offline", help="Ask no service, no source and no mail server.")
]
TimeoutOption = Annotated[
    str,
    typer.Option("--timeout", metavar="DURATION", help="How long they may take, all at once."),
]


@app.command()
def doctor(
    ctx: typer.Context,
    *,
    offline: OfflineOption = False,
    timeout: TimeoutOption = "30s",
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Look at everything that svcctl needs, and say what to do about what is not in order.

    Each line is ok, warn or fail. Nothing is changed. Exits 0 when nothing fails, else as a command
    would that needs it: 78 for the configuration, 74 for the database, 5 for a service or a source.
    """
    from svcctl.clock import parse_duration
    from svcctl.runs.doctor import diagnose

    try:
        seconds = parse_duration(timeout).total_seconds()
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--timeout: {error}") from None
    lines = list(diagnose(ctx.obj.config, offline=offline, seconds=seconds))
    rows: list[dict[str, Any]] = [
        {column: getattr(line, column) for column in COLUMNS} for line in lines
    ]
    emit(Table("doctor", COLUMNS, rows), chosen(form, json))
    if code := gravest(line.exit_code for line in lines):
        raise typer.Exit(code)
