"""`svcctl pipeline run`."""

from typing import Annotated

import typer

from svcctl.commands.completion import complete_backends, complete_steps
from svcctl.commands.options import DryRunOption, Format, FormatOption, JsonOption
from svcctl.commands.output import chosen
from svcctl.commands.pipeline.batch import run_batch
from svcctl.commands.pipeline.options import (
    PipelineArgument,
    SetOption,
    TraceOption,
    UserOption,
    given_values,
    make_runner,
    read_response,
)
from svcctl.commands.pipeline.render import finish
from svcctl.commands.session import open_session
from svcctl.errors import UsageError


def run(
    ctx: typer.Context,
    pipeline: PipelineArgument,
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend",
            "-b",
            metavar="NAME",
            help="The provider; need not be given where only one is configured.",
            autocompletion=complete_backends,
        ),
    ] = None,
    response: Annotated[
        str | None,
        typer.Option(
            "--response", "-r", metavar="FILE|-", help="The provider's response, a JSON object."
        ),
    ] = None,
    user: UserOption = None,
    values: SetOption = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="STEP",
            help="Stop after this step, and keep nothing.",
            autocompletion=complete_steps,
        ),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(
            "--batch",
            metavar="FILE|-",
            help="One run a line: a JSON object with response, user, backend, set.",
        ),
    ] = None,
    start: Annotated[
        int,
        typer.Option(
            "--from-line",
            metavar="N",
            min=1,
            help="With --batch: begin with this line, where an earlier batch stopped.",
        ),
    ] = 1,
    dry_run: DryRunOption = False,
    trace: TraceOption = False,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Run a pipeline on a provider's response. Everything is kept at the end, or nothing.

    Exit codes: 0 done, 6 paused (see: svcctl pipeline partials), 7 refused or ended early, 1
    failed. A dry run refuses what steps would do outside, and lists it.
    """
    form = chosen(form, json)
    if batch is not None:
        if response is not None or until is not None or user is not None:
            raise UsageError(
                "--batch together with --response, --user or --until",
                hint="a line of the batch has its own response and user",
            )
        run_batch(
            ctx,
            pipeline,
            batch,
            backend,
            given_values(values),
            start=start,
            dry_run=dry_run,
            form=form,
        )
        return
    from svcctl.pipeline.run import Start

    given = given_values(values)
    answer = read_response(response)
    with open_session(ctx) as session:
        runner = make_runner(session, dry_run=dry_run, command="pipeline run")
        outcome = runner.run(Start(pipeline, backend, answer, user, given, until))
        finish(session, outcome, form, trace=trace)
