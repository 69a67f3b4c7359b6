"""`svcctl services check`."""

from typing import Annotated

import typer

from svcctl.commands.completion import complete_services
from svcctl.commands.options import Format, FormatOption, JsonOption
from svcctl.commands.output import Table, chosen, emit
from svcctl.commands.services.about import require
from svcctl.errors import ExitCode, gravest

NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME",
        help="Services; all that are configured without one.",
        autocompletion=complete_services,
        show_default=False,
    ),
]
COLUMNS = ("service", "result", "error", "hint")


def check(
    ctx: typer.Context,
    names: NamesArgument = None,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Ask each service whether it is there and lets svcctl do its work. Exits 5 if one does not."""
    from svcctl.config.load import load
    from svcctl.hooks.registry import load_hooks
    from svcctl.runs.doctor.remotes import ask

    settings = load(ctx.obj.config)
    require(settings, names or [])
    hooks = load_hooks(settings, names or None)
    rows, codes = [], []
    for name in names or settings.services:
        error = hooks.failed[name] if name in hooks.failed else ask(hooks.loaded[name])
        checkable = name in hooks.failed or hooks.loaded[name].can("check")
        rows.append(
            {
                "service": name,
                "result": "failed" if error else "ok" if checkable else "has no check",
                "error": error and error.message,
                "hint": error and error.hint,
            }
        )
        if error:
            codes.append(ExitCode.CONFIG if name in hooks.failed else ExitCode.INCOMPLETE)
    emit(Table("services.check", COLUMNS, rows), chosen(form, json))
    if codes:
        raise typer.Exit(int(gravest(codes)))
