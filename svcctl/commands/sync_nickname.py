"""`svcctl sync-nickname`."""

import typer

from svcctl.commands.options import (
    AcceptRemovalsOption,
    AllOption,
    DryRunOption,
    FailedOption,
    Format,
    FormatOption,
    GroupOption,
    JsonOption,
    LockTimeoutOption,
    MaxRuntimeOption,
    ServiceOption,
    StateOption,
    UsersArgument,
    YesOption,
)
from svcctl.commands.output import chosen
from svcctl.commands.running import Asked, run_command

app = typer.Typer()


@app.command()
def sync_nickname(
    ctx: typer.Context,
    users: UsersArgument = None,
    everybody: AllOption = False,
    state: StateOption = None,
    group: GroupOption = None,
    failed: FailedOption = False,
    service: ServiceOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    accept_removals: AcceptRemovalsOption = 0,
    lock_timeout: LockTimeoutOption = "0s",
    max_runtime: MaxRuntimeOption = None,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Bring nicknames up to date with the name format."""
    from svcctl.tasks.task import SYNC_NICKNAME

    asked = Asked(
        users,
        everybody,
        state,
        group,
        failed,
        service,
        dry_run,
        yes,
        accept_removals,
        lock_timeout,
        max_runtime,
        chosen(form, json),
    )
    run_command(ctx, SYNC_NICKNAME, asked, "sync-nickname")
