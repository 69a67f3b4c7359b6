"""`svcctl pipeline check` and `graph`."""

from typing import Annotated, Any

import typer

from svcctl.commands.options import Format, FormatOption, JsonOption
from svcctl.commands.output import Table, chosen, emit, say, write
from svcctl.commands.pipeline.options import PipelineArgument, PipelinesArgument
from svcctl.commands.session import Session, open_session
from svcctl.errors import ConfigError, ExitCode


def check(
    ctx: typer.Context,
    pipeline: PipelinesArgument = None,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """What can be said of pipelines without running them: what will fail, or do nothing.

    Names, inputs, order, settings, and what is allowed and probably not meant. Exit code 78 where
    something has to be mended.
    """
    with open_session(ctx, read_only=True) as session:
        names = list(dict.fromkeys(pipeline or session.settings.pipelines))
        rows = [row for name in names for row in _findings(session, name)]
    form = chosen(form, json)
    if form is Format.TEXT:
        for row in rows:
            parts = (row["pipeline"], row["severity"], row["step"], row["about"], row["message"])
            text = ": ".join(part for part in parts if part)
            say(f"{text}; {row['remedy']}" if row["remedy"] else text)
        if not rows and not ctx.obj.quiet:
            say("nothing to mend" if names else "no pipeline is configured")
    else:
        columns = ("pipeline", "severity", "step", "about", "message", "remedy")
        emit(Table("pipeline-check", columns, rows), form)
    if any(row["severity"] == "error" for row in rows):
        raise typer.Exit(int(ExitCode.CONFIG))


def graph(
    ctx: typer.Context,
    pipeline: PipelineArgument,
    dot: Annotated[bool, typer.Option("--dot", help="In Graphviz's DOT, not in Mermaid.")] = False,
) -> None:
    """A pipeline as a picture: its steps, and what flows between them."""
    from svcctl.pipeline import graph as graphs
    from svcctl.pipeline.definition import definition

    with open_session(ctx, read_only=True) as session:
        found = definition(session.settings, pipeline)
    picture = graphs.graph(found.steps, kind=found.pipeline.kind)
    draw = graphs.dot if dot else graphs.mermaid
    write(draw(picture).rstrip("\n"))


def _findings(session: Session, name: str) -> list[dict[str, Any]]:
    from svcctl.pipeline.check import check_pipeline
    from svcctl.pipeline.definition import definition

    settings = session.settings
    rows: list[dict[str, Any]] = []

    def add(severity: str, step: str, about: str, message: str, remedy: str) -> None:
        rows.append(
            {
                "pipeline": name,
                "severity": severity,
                "step": step,
                "about": about,
                "message": message,
                "remedy": remedy,
            }
        )

    try:
        found = check_pipeline(definition(settings, name), settings)
    except ConfigError as error:
        for text in error.problems:
            add("error", "", "", text, "")
        return rows
    for one in found:
        add(one.severity.value, one.step, one.about, one.message, one.remedy)
    return rows
