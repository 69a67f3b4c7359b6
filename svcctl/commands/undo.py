"""`svcctl undo`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from svcctl.commands.completion import complete_runs
from svcctl.commands.options import (
    AcceptRemovalsOption,
    DryRunOption,
    Format,
    FormatOption,
    JsonOption,
    LockTimeoutOption,
    MaxRuntimeOption,
    ServiceOption,
    YesOption,
)
from svcctl.commands.output import chosen, say
from svcctl.commands.running import Asked, execute, finish
from svcctl.commands.session import Session, open_session

if TYPE_CHECKING:
    from svcctl.runs.report import Report
    from svcctl.runs.undo import Wanted

app = typer.Typer()

RunArgument = Annotated[
    int,
    typer.Argument(metavar="RUN", help="The run to undo.", autocompletion=complete_runs),
]


@app.command()
def undo(
    ctx: typer.Context,
    run: RunArgument,
    service: ServiceOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    accept_removals: AcceptRemovalsOption = 0,
    lock_timeout: LockTimeoutOption = "0s",
    max_runtime: MaxRuntimeOption = None,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Take back what a run really changed, where it still stands; what cannot be is said first.

    Newest first within an account. An account that the run created is disabled or deleted, as
    `removal` says. The limits hold as ever. What is put back is pinned until the user's state or
    groups change, or what the rules want.
    """
    from svcctl.runs.undo import Wanted

    asked = Asked(
        services=service,
        dry_run=dry_run,
        yes=yes,
        accept_removals=accept_removals,
        lock_timeout=lock_timeout,
        max_runtime=max_runtime,
        form=chosen(form, json),
    )
    with open_session(ctx, read_only=dry_run) as session:
        concerned = _concerned(session, run, service)
        wanted = Wanted(run, services=frozenset(service) if service else None)
        report = take_back(session, asked, wanted, concerned, f"undo {run}")
        if asked.form is Format.TEXT and not (report.changed or report.exit_code):
            say(f"run {run}: nothing to undo")
        finish(session, report, asked.form)


def take_back(
    session: Session,
    asked: Asked,
    wanted: "Wanted",
    services: Sequence[str],
    command: str,
    *,
    approved: frozenset[int] = frozenset(),
) -> "Report":
    """One run that undoes, on these services; what cannot be undone is said before it begins."""
    from dataclasses import replace

    from svcctl.commands.report import tell_first
    from svcctl.store.census import Selection
    from svcctl.tasks.task import undo as task

    spoken = asked.form in (Format.TEXT, Format.CSV)
    return execute(
        session,
        task(f"undo {wanted.run_id}", {}),
        Selection(frozenset()),
        replace(asked, services=list(services)),
        command,
        undo=wanted,
        approved=approved,
        force=True,
        first=tell_first if spoken else lambda _: None,
    )


def _concerned(session: Session, run: int, asked: list[str] | None) -> list[str]:
    """The configured services that the run did something on. Raises UsageError."""
    from svcctl.config.problems import suggest
    from svcctl.errors import UsageError
    from svcctl.store.operations import counted
    from svcctl.store.runs import find

    for name in asked or ():
        if name not in session.settings.services:
            raise UsageError(
                f"no service {name!r}", hint=suggest(name, session.settings.services) or None
            )
    with session.database.read() as connection:
        if find(connection, run) is None:
            raise UsageError(f"there is no run {run}", hint="see: svcctl history")
        there = counted(connection, [run]).get(run, {})
    return [
        name for name in session.settings.services if name in there and (not asked or name in asked)
    ]
