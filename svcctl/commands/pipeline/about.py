"""`svcctl pipeline list` and `show`."""

from typing import Any

import typer

from svcctl.commands.options import Format, FormatOption, JsonOption
from svcctl.commands.output import Table, chosen, emit, plain, write
from svcctl.commands.pipeline.options import PipelineArgument
from svcctl.commands.session import open_session

STEP_COLUMNS = ("step", "function", "needs", "gives", "settings", "pauses", "effects")


def list_(ctx: typer.Context, form: FormatOption = Format.TEXT, json: JsonOption = False) -> None:
    """The configured pipelines."""
    from svcctl.pipeline.definition import DEFAULT_STEPS

    with open_session(ctx, read_only=True) as session:
        rows = [
            {
                "name": name,
                "kind": pipeline.kind,
                "steps": list(pipeline.steps or DEFAULT_STEPS[pipeline.kind]),
                "default": pipeline.steps is None,
            }
            for name, pipeline in session.settings.pipelines.items()
        ]
    if (form := chosen(form, json)) in (Format.TEXT, Format.CSV):
        rows = [{**row, "steps": len(row["steps"])} for row in rows]  # type: ignore[arg-type]
    columns = ("name", "kind", "steps", "default")
    emit(Table("pipelines", columns, rows), form, empty="no pipeline is configured")


def show(
    ctx: typer.Context,
    pipeline: PipelineArgument,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """The steps of a pipeline: what each takes, gives and does."""
    from svcctl.pipeline.definition import definition

    with open_session(ctx, read_only=True) as session:
        found = definition(session.settings, pipeline)
        rows = [_row(step) for step in found.steps]
    form = chosen(form, json)
    if form is not Format.TEXT:
        emit(Table("pipeline", STEP_COLUMNS, rows), form)
    else:
        for number, row in enumerate(rows, 1):
            _tell(number, row)


def _tell(number: int, row: dict[str, Any]) -> None:
    write(plain(f"{number:2}. {row['step']}"))
    for label in ("about", "function", "needs", "takes", "gives", "settings", "waits for"):
        value = row["waits_for"] if label == "waits for" else row[label]
        if value:
            text = value if isinstance(value, str) else ", ".join(value)
            write(plain(f"      {label}: {text}" if label != "about" else f"      {text}"))
    if row["effects"]:
        write(plain(f"      does: {row['effects']}"))


def _row(step: Any) -> dict[str, Any]:
    import inspect

    from svcctl.pipeline.step import SURROUNDINGS

    declared = step.declaration
    required = [name for name in step.required if name not in SURROUNDINGS]
    consumes = declared.consumes if declared else frozenset()
    optional = (step.named | consumes) - set(required) - SURROUNDINGS
    about = (inspect.getdoc(step.function) or "").split("\n\n")[0].replace("\n", " ")
    return {
        "step": step.name,
        "function": f"{step.function.__module__}:{step.function.__qualname__}",
        "about": about,
        "needs": required,
        "takes": sorted(optional),
        "gives": sorted(declared.produces) if declared else None,
        "settings": list(declared.settings) if declared else None,
        "pauses": declared.pauses if declared else None,
        "waits_for": list(declared.needs) if declared else [],
        "effects": declared.effects if declared else "",
    }
