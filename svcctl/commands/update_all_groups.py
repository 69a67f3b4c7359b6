"""`svcctl update-all-groups`."""

import typer

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
from svcctl.commands.output import chosen
from svcctl.commands.running import Asked, run_command

app = typer.Typer()


@app.command()
def update_all_groups(
    ctx: typer.Context,
    service: ServiceOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    accept_removals: AcceptRemovalsOption = 0,
    lock_timeout: LockTimeoutOption = "0s",
    max_runtime: MaxRuntimeOption = None,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Bring groups up to date with what each service really has.

    Reads the whole service first; a service that cannot be read completely is left alone (exit 5).
    """
    from svcctl.tasks.task import UPDATE_ALL_GROUPS

    asked = Asked(
        everybody=True,
        services=service,
        dry_run=dry_run,
        yes=yes,
        accept_removals=accept_removals,
        lock_timeout=lock_timeout,
        max_runtime=max_runtime,
        form=chosen(form, json),
    )
    run_command(ctx, UPDATE_ALL_GROUPS, asked, "update-all-groups")
