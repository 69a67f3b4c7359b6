"""`svcctl holds`: what a safety limit stopped, and the word of a person about it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from svcctl.commands.completion import complete_runs
from svcctl.commands.options import (
    DryRunOption,
    Format,
    FormatOption,
    JsonOption,
    LockTimeoutOption,
    ServiceOption,
    YesOption,
)
from svcctl.commands.output import Table, chosen, emit, say
from svcctl.commands.running import Asked, execute, finish
from svcctl.commands.session import Session, open_session

if TYPE_CHECKING:
    from svcctl.runs.report import Report

app = typer.Typer(no_args_is_help=True, help="Operations that a safety limit stopped.")

RunOption = Annotated[
    int | None,
    typer.Option("--run", help="Only what this run held.", autocompletion=complete_runs),
]
RunArgument = Annotated[
    int, typer.Argument(metavar="RUN", help="The run that held them.", autocompletion=complete_runs)
]
COLUMNS = ("run", "service", "user", "account", "operation", "since", "reason")


@app.command("list")
def list_(
    ctx: typer.Context,
    service: ServiceOption = None,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """What is held, per run and service."""
    from svcctl.store.holds import summary

    with open_session(ctx, read_only=True) as session, session.database.read() as connection:
        rows = summary(connection, service)
    columns = ("run", "service", "accounts", "since", "command", "actor", "reason")
    emit(Table("holds", columns, rows), chosen(form, json), empty="nothing is held")


@app.command()
def show(
    ctx: typer.Context,
    run: RunOption = None,
    service: ServiceOption = None,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Every held operation."""
    from svcctl.store.holds import held

    with open_session(ctx, read_only=True) as session, session.database.read() as connection:
        rows = held(connection, services=service, run_id=run)
    emit(Table("held", COLUMNS, rows), chosen(form, json), empty="nothing is held")


@app.command()
def approve(
    ctx: typer.Context,
    run: RunArgument,
    service: ServiceOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    lock_timeout: LockTimeoutOption = "0s",
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Look at the held accounts again, and remove those that still have to go.

    Nothing is taken from the old plan: who has access again by now keeps the account, unless the
    user left by a pipeline, or an undo was held. Accounts that were not held are not touched.
    """
    from svcctl.store.census import Selection
    from svcctl.store.holds import held
    from svcctl.store.operations import PIPELINE
    from svcctl.tasks.task import AFTER_CHANGE, pipeline

    asked = Asked(
        services=service,
        dry_run=dry_run,
        yes=yes,
        lock_timeout=lock_timeout,
        form=chosen(form, json),
    )
    with open_session(ctx, read_only=dry_run) as session:
        with session.database.read() as connection:
            rows = held(connection, services=service, run_id=run)
        _require(rows, run)
        if rows[0]["undo_of"] is not None:
            report = _undo(session, _on(asked, rows), rows, run)
            finish(session, report, asked.form)
            return
        task = AFTER_CHANGE
        if str(rows[0]["command"]).startswith(PIPELINE):
            delete = frozenset({"delete"})
            task = pipeline("holds approve", {str(row["service"]): delete for row in rows})
        report = execute(
            session,
            task,
            Selection(frozenset(row["user_id"] for row in rows)),
            _on(asked, rows),
            f"holds approve {run}",
            approved=frozenset(row["account_id"] for row in rows),
            only=frozenset(row["account_id"] for row in rows),
        )
        finish(session, report, asked.form)


@app.command()
def reject(
    ctx: typer.Context,
    run: RunArgument,
    service: ServiceOption = None,
    dry_run: DryRunOption = False,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Keep the held accounts: they are pinned, so that no run removes them until you unpin them."""
    from svcctl.runs.engine import current_actor
    from svcctl.store.holds import held
    from svcctl.store.holds import reject as refuse

    with open_session(ctx, read_only=dry_run) as session:
        with session.database.read() as connection:
            rows = held(connection, services=service, run_id=run)
        _require(rows, run)
        if not dry_run:
            with session.database.write() as connection:
                refuse(connection, rows, actor=current_actor())
    emit(Table("held", COLUMNS, rows), chosen(form, json))
    say(
        f"{len(rows)} operations {'would be ' if dry_run else ''}rejected; "
        "the accounts are pinned (svcctl accounts hold --release ends that)"
    )


def _require(rows: list[dict[str, object]], run: int) -> None:
    from svcctl.errors import UsageError

    if not rows:
        raise UsageError(f"run {run} holds nothing", hint="see: svcctl holds list")


def _undo(session: Session, asked: Asked, rows: list[dict[str, Any]], run: int) -> "Report":
    """What an undo was held with is still to be undone, where it still stands."""
    from svcctl.commands.undo import take_back
    from svcctl.runs.undo import Wanted
    from svcctl.store.undo import runs_of

    with session.database.read() as connection:
        (undone,) = set(runs_of(connection, [row["undo_of"] for row in rows]).values())
    accounts = frozenset(row["account_id"] for row in rows)
    wanted = Wanted(undone, accounts)
    return take_back(
        session, asked, wanted, asked.services or [], f"holds approve {run}", approved=accounts
    )


def _on(asked: Asked, rows: list[dict[str, object]]) -> Asked:
    from dataclasses import replace

    return replace(asked, services=sorted({str(row["service"]) for row in rows}))
