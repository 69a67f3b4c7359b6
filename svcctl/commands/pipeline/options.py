"""What the commands about pipelines share: their options, and what makes a runner."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from svcctl.commands.attributes import strict_json
from svcctl.commands.completion import complete_pipelines, complete_users
from svcctl.commands.output import ask
from svcctl.commands.session import Session
from svcctl.errors import SourceError, UsageError

if TYPE_CHECKING:
    from svcctl.pipeline.run import Runner

MAX_RESPONSE = 4 * 1024 * 1024

PipelineArgument = Annotated[
    str,
    typer.Argument(
        metavar="PIPELINE", help="A configured pipeline.", autocompletion=complete_pipelines
    ),
]
PipelinesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PIPELINE",
        help="Configured pipelines; default: all.",
        autocompletion=complete_pipelines,
        show_default=False,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="K=V",
        help="A value for the steps, and in the request data; K:=JSON for what is not text.",
        show_default=False,
    ),
]
TraceOption = Annotated[
    bool, typer.Option("--trace", help="What each step read, changed and consulted, on stderr.")
]
UserOption = Annotated[
    str | None,
    typer.Option("--user", metavar="NAME", help="Who is logged in.", autocompletion=complete_users),
]


def given_values(texts: list[str] | None) -> dict[str, Any]:
    """`--set K=V` and `--set K:=JSON`. Raises UsageError."""
    found: dict[str, Any] = {}
    for text in texts or ():
        key, separator, value = text.partition("=")
        name = key.removesuffix(":")
        if not separator or not name.isidentifier():
            raise UsageError(
                f"--set {key}: not K=V" if separator else "--set: not K=V",
                hint="write it like verification_code=…",
            )
        found[name] = _decoded(name, value) if key.endswith(":") else value
    return found


def _decoded(name: str, text: str) -> Any:
    try:
        return strict_json(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--set {name}: not JSON", hint=f"text is --set {name}=…") from error


def read_response(place: str | None) -> dict[str, Any]:
    """The provider's response: a file, or `-` for standard input. Raises SourceError."""
    if place is None:
        return {}
    name = "standard input" if place == "-" else place
    try:
        if place == "-":
            content = sys.stdin.read(MAX_RESPONSE + 1)
        else:
            with Path(place).open(encoding="utf-8-sig") as file:
                content = file.read(MAX_RESPONSE + 1)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or "not UTF-8 text").lower()
        raise SourceError(f"{name}: cannot be read: {reason}", hint="a JSON object") from error
    if len(content) > MAX_RESPONSE:
        raise SourceError(f"{name}: more than {MAX_RESPONSE // 1024 // 1024} MiB")
    return decode_object(content, name)


def decode_object(content: str, place: str) -> dict[str, Any]:
    """A JSON object. Raises SourceError, which repeats nothing of it: it may hold tokens."""
    try:
        found = strict_json(content)
    except RecursionError:
        raise SourceError(f"{place}: nested too deeply") from None
    except ValueError as error:
        where = f"{error.lineno}:{error.colno}: " if isinstance(error, json.JSONDecodeError) else ""
        raise SourceError(
            f"{place}: {where}not JSON", hint="the provider's answer, as it came"
        ) from None
    if not isinstance(found, dict):
        raise SourceError(f"{place}: no JSON object but a {type(found).__name__}")
    return found


def make_runner(session: Session, *, dry_run: bool, command: str, **more: Any) -> "Runner":
    """What runs pipelines for this invocation."""
    from svcctl.pipeline.run import Runner

    return Runner(
        session.settings,
        session.database,
        session.hooks,
        dry_run=dry_run,
        ask=_ask,
        command=command,
        **more,
    )


def _ask(question: str) -> bool | None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    return ask(question)
