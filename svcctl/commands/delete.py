"""`svcctl delete`."""

from typing import Annotated

import typer

from svcctl.commands.completion import complete_users
from svcctl.commands.options import (
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

NamedUsers = Annotated[
    list[str],
    typer.Argument(metavar="USER", help="Usernames, or @FILE.", autocompletion=complete_users),
]
NotifyOption = Annotated[bool, typer.Option("--notify", help="Tell the users.")]


@app.command()
def delete(
    ctx: typer.Context,
    users: NamedUsers,
    notify: NotifyOption = False,
    service: ServiceOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    lock_timeout: LockTimeoutOption = "0s",
    max_runtime: MaxRuntimeOption = None,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Remove the accounts of these users on purpose, as each service's `removal` says.

    The limits accept exactly the users named. Where policy would give the account back, it is
    pinned: `accounts create` or `accounts enable` ends that.
    """
    from svcctl.tasks.task import delete as removal

    asked = Asked(
        users,
        services=service,
        dry_run=dry_run,
        yes=yes,
        lock_timeout=lock_timeout,
        max_runtime=max_runtime,
        form=chosen(form, json),
    )
    run_command(ctx, removal(notify=notify), asked, "delete", untouched=True)
