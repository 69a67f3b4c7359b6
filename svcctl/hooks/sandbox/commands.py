"""`svcctl service NAME …` for a sandbox: look at it, break it, heal it, act behind svcctl's back.

Imported only for these commands: nothing else in `svcctl.hooks` knows Typer.
"""

from collections.abc import Sequence
from typing import Annotated

import typer

from svcctl.errors import UsageError
from svcctl.hooks.sandbox import EXAMPLES, SandboxManager

app = typer.Typer(no_args_is_help=True, help="Look at a sandbox, break it, heal it.")

Verb = Annotated[
    str, typer.Argument(metavar="VERB", help="a manager's method, like create_account")
]


def _manager(context: typer.Context) -> SandboxManager:
    """The service of this hook, as the engine would build it; closed with the command."""
    hook = context.obj
    manager: SandboxManager = hook.manager_class(**hook.manager_arguments())
    context.call_on_close(manager.close)
    return manager


def _print(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """A plain table; names come from anywhere, so nothing unprintable goes out."""
    shown = [
        tuple(ascii(cell)[1:-1] if not cell.isprintable() else cell for cell in row) for row in rows
    ]
    table = [heads, *shown]
    widths = [max(len(row[column]) for row in table) for column in range(len(heads))]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


@app.command()
def show(context: typer.Context) -> None:
    """The accounts on the service."""
    rows = [
        (
            account.uid,
            account.name,
            "active" if account.active else "disabled",
            account.nickname or "",
            ", ".join(sorted(account.groups or ())),
            account.external_id or "",
        )
        for account in _manager(context).accounts()
    ]
    _print(("UID", "NAME", "STATUS", "NICKNAME", "GROUPS", "EXTERNAL ID"), rows)


@app.command()
def calls(context: typer.Context) -> None:
    """What was asked of the service, oldest first, and how it ended."""
    rows = [
        (str(call.number), call.at, call.method, call.uid, call.name, call.outcome)
        for call in _manager(context).calls()
    ]
    _print(("NO", "AT", "METHOD", "UID", "NAME", "OUTCOME"), rows)


@app.command("break")
def break_(
    context: typer.Context,
    verb: Verb,
    fault: Annotated[str, typer.Argument(metavar="FAULT", help=f"what goes wrong: {EXAMPLES}")],
) -> None:
    """Make a method fail from now on, for every process, whatever is configured."""
    try:
        _manager(context).break_method(verb, fault)
    except ValueError as error:
        raise UsageError(str(error)) from None


@app.command()
def heal(
    context: typer.Context, verb: Annotated[str | None, typer.Argument(metavar="VERB")] = None
) -> None:
    """Undo `break`, for one method or all; faults in the configuration stay."""
    _manager(context).heal(verb)


@app.command()
def drop(context: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Delete an account behind svcctl's back."""
    _manager(context).drop(name)
