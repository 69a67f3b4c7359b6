"""`svcctl plan`."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from svcctl.commands.options import (
    AcceptRemovalsOption,
    AllOption,
    FailedOption,
    Format,
    FormatOption,
    GroupOption,
    JsonOption,
    ServiceOption,
    StateOption,
    UsersArgument,
)
from svcctl.commands.output import chosen, say
from svcctl.commands.running import Asked, execute, finish, select
from svcctl.commands.session import Session, open_session

if TYPE_CHECKING:
    from svcctl.runs.planfile import PlanFile
    from svcctl.runs.report import Report
    from svcctl.store.census import Selection

app = typer.Typer()

OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Look at the planned accounts on their services, and save the plan for apply.",
    ),
]
CheckOption = Annotated[
    bool, typer.Option("--check", help="Exit 3 when there is anything to do, for monitoring.")
]


@app.command()
def plan(
    ctx: typer.Context,
    users: UsersArgument = None,
    everybody: AllOption = False,
    state: StateOption = None,
    group: GroupOption = None,
    failed: FailedOption = False,
    service: ServiceOption = None,
    check: CheckOption = False,
    out: OutOption = None,
    accept_removals: AcceptRemovalsOption = 0,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """What sync would do now, for everybody unless users are named.

    Nothing is written anywhere but in the FILE that --out names. `svcctl apply FILE` does exactly
    that plan, or nothing when the world has moved.
    """
    from svcctl.runs.planfile import draft
    from svcctl.tasks.task import SYNC

    narrow = bool(users or state or group or failed)
    asked = Asked(
        users,
        everybody or not narrow,
        state,
        group,
        failed,
        service,
        dry_run=True,
        accept_removals=accept_removals,
        form=chosen(form, json),
    )
    with ExitStack() as stack:
        session = stack.enter_context(open_session(ctx, read_only=True))
        selection = select(session, asked)
        if out is None:
            report = execute(session, SYNC, selection, asked, "plan")
        else:
            place = stack.enter_context(draft(out))
            report = execute(session, SYNC, selection, asked, "plan", look=True, force=True)
            saved = _plan_file(session, selection, asked, report)
            if saved is None:
                say(f"{out}: not written: not every planned account could be looked at")
            else:
                place.keep(saved)
        report.check = check
        finish(session, report, asked.form)


def _plan_file(
    session: Session, selection: "Selection", asked: Asked, report: "Report"
) -> "PlanFile | None":
    from svcctl.runs.engine import current_actor
    from svcctl.runs.planfile import Selected, plan_file
    from svcctl.store.people import names_of

    if report.binding is None:
        return None
    users = None
    if selection.user_ids is not None:
        with session.database.read() as connection:
            users = sorted(names_of(connection, selection.user_ids).values())
    return plan_file(
        report,
        session.hooks(report.binding.versions).loaded,
        Selected(users=users, state=selection.state, group=selection.group),
        asked.services or None,
        accept_removals=asked.accept_removals,
        by=current_actor(),
    )
