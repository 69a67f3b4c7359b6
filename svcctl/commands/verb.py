"""What `validate`, `sync`, `sync-nickname` and `update-groups` share: all their options."""

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


def verb(name: str, task: str, description: str) -> typer.Typer:
    """The command that runs one of the constants of `svcctl.tasks.task` for selected users."""

    def command(
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
        from svcctl.tasks import task as tasks

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
        run_command(ctx, getattr(tasks, task), asked, name)

    app = typer.Typer()
    app.command(name, help=description)(command)
    return app
