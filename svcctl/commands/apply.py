"""`svcctl apply`."""

from pathlib import Path
from typing import Annotated

import typer

from svcctl.commands.options import (
    DryRunOption,
    Format,
    FormatOption,
    JsonOption,
    LockTimeoutOption,
    MaxRuntimeOption,
    YesOption,
)
from svcctl.commands.output import chosen
from svcctl.commands.running import Asked, execute, finish, reselect
from svcctl.commands.session import open_session

app = typer.Typer()

PlanArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="What svcctl plan --out FILE wrote.")
]


@app.command()
def apply(
    ctx: typer.Context,
    file: PlanArgument,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    lock_timeout: LockTimeoutOption = "0s",
    max_runtime: MaxRuntimeOption = None,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Exactly the plan of a file, or nothing.

    Everything is planned and looked at again. When anything is not as the plan says, the
    differences are shown, nothing is done, and the exit code is 1. The limits hold as ever.
    """
    from svcctl.runs.planfile import read
    from svcctl.tasks.task import SYNC

    plan = read(file)
    chosen_users = plan.selection
    asked = Asked(
        services=plan.services,
        dry_run=dry_run,
        yes=yes,
        accept_removals=plan.accept_removals,
        lock_timeout=lock_timeout,
        max_runtime=max_runtime,
        form=chosen(form, json),
    )
    with open_session(ctx, read_only=dry_run) as session:
        selection = reselect(
            session, chosen_users.users, state=chosen_users.state, group=chosen_users.group
        )
        report = execute(
            session, SYNC, selection, asked, "apply", bound=plan.binding(), look=True, force=True
        )
        finish(session, report, asked.form)
