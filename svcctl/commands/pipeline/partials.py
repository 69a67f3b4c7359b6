"""`svcctl pipeline partials`, `resume` and `abort`: runs that paused."""

import sys
from typing import Annotated, Any

import typer

from svcctl.commands.completion import complete_partials
from svcctl.commands.options import DryRunOption, Format, FormatOption, JsonOption, YesOption
from svcctl.commands.output import Table, ask, chosen, emit, say, write, write_json
from svcctl.commands.pipeline.options import (
    SetOption,
    TraceOption,
    UserOption,
    given_values,
    make_runner,
)
from svcctl.commands.pipeline.render import finish
from svcctl.commands.session import open_session

PartialArgument = Annotated[
    str,
    typer.Argument(
        metavar="ID|TOKEN",
        help="A paused run: its id, or the token that somebody was given.",
        autocompletion=complete_partials,
    ),
]
COLUMNS = ("id", "pipeline", "step", "user", "backend", "created_at", "expires_at", "why", "needs")


def partials(
    ctx: typer.Context, form: FormatOption = Format.TEXT, json: JsonOption = False
) -> None:
    """Runs that paused: what each waits for. Tokens and what was saved are never shown."""
    from svcctl.store.partials import listing

    with open_session(ctx, read_only=True) as session, session.database.read() as connection:
        rows = listing(connection)
    emit(Table("partials", COLUMNS, rows), chosen(form, json), empty="no run is paused")


def resume(
    ctx: typer.Context,
    partial: PartialArgument,
    values: SetOption = None,
    user: UserOption = None,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes",
            help="Go on although the pipeline has other steps now.",
            allow_from_autoenv=False,
        ),
    ] = False,
    dry_run: DryRunOption = False,
    trace: TraceOption = False,
    yes: YesOption = False,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Go on with a paused run, at the step that paused; only one can.

    By its id it is the operator's own word. By a token it is somebody outside: that has to be meant
    by the step, and confirmed.
    """

    def confirm(row: Any) -> bool:
        if yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
            return yes
        return ask(f"Go on with {row.pipeline} at {row.step}, which {row.actor} began?")

    given = given_values(values)
    with open_session(ctx) as session:
        runner = make_runner(session, dry_run=dry_run, command="pipeline resume")
        outcome = runner.resume(
            partial, given, username=user, accept_changes=accept_changes, confirm=confirm
        )
        finish(session, outcome, chosen(form, json), trace=trace)


def abort(
    ctx: typer.Context,
    partial: PartialArgument,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Give a paused run up. What its steps kept before the pause stays."""
    with open_session(ctx) as session:
        row = make_runner(session, dry_run=dry_run, command="pipeline abort").abort(partial)
    body = {"id": row.id, "pipeline": row.pipeline, "step": row.step, "dry_run": dry_run}
    if json:
        write_json("pipeline-abort", body)
    else:
        write(f"partial {row.id} of {row.pipeline} at {row.step}: given up")
        if dry_run:
            say("dry run: nothing was written")
