"""`svcctl plan`."""

from typing import Annotated

import typer

from svcctl.commands.options import (
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
from svcctl.commands.output import chosen
from svcctl.commands.running import Asked, execute, finish, select
from svcctl.commands.session import open_session

app = typer.Typer()

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
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """What sync would do now, for everybody unless users are named. Nothing is written anywhere."""
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
        form=chosen(form, json),
    )
    with open_session(ctx, read_only=True) as session:
        report = execute(session, SYNC, select(session, asked), asked, "plan")
        report.check = check
        finish(session, report, asked.form)
