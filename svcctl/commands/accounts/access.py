"""`svcctl accounts create`, `enable` and `disable`."""

import typer

from svcctl.commands.accounts.names import NamedUsers
from svcctl.commands.options import (
    AllOption,
    DryRunOption,
    Format,
    FormatOption,
    GroupOption,
    JsonOption,
    LockTimeoutOption,
    ServiceOption,
    StateOption,
    UsersArgument,
    YesOption,
)
from svcctl.commands.output import chosen
from svcctl.commands.running import Asked, execute, finish, run_command, select
from svcctl.commands.session import open_session
from svcctl.commands.untouched import tell_untouched


def create(
    ctx: typer.Context,
    users: UsersArgument = None,
    everybody: AllOption = False,
    state: StateOption = None,
    group: GroupOption = None,
    service: ServiceOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    lock_timeout: LockTimeoutOption = "0s",
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Create accounts for users who may have one; ends a pin that kept them from it."""
    from svcctl.tasks.task import CREATE

    asked = Asked(
        users,
        everybody,
        state,
        group,
        services=service,
        dry_run=dry_run,
        yes=yes,
        lock_timeout=lock_timeout,
        form=chosen(form, json),
    )
    with open_session(ctx, read_only=dry_run) as session:
        selection = select(session, asked)
        report = execute(session, CREATE, selection, asked, "accounts create")
        tell_untouched(session, report, asked, create=True)
        finish(session, report, asked.form)


def enable(
    ctx: typer.Context,
    users: NamedUsers,
    service: ServiceOption = None,
    dry_run: DryRunOption = False,
    lock_timeout: LockTimeoutOption = "0s",
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Enable disabled accounts; pinned where the policy alone would disable them again."""
    from svcctl.tasks.task import ENABLE

    asked = Asked(
        users,
        services=service,
        dry_run=dry_run,
        lock_timeout=lock_timeout,
        form=chosen(form, json),
    )
    run_command(ctx, ENABLE, asked, "accounts enable", untouched=True)


def disable(
    ctx: typer.Context,
    users: NamedUsers,
    service: ServiceOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    lock_timeout: LockTimeoutOption = "0s",
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Disable accounts; pinned where the policy alone would enable them again."""
    from svcctl.tasks.task import DISABLE

    asked = Asked(
        users,
        services=service,
        dry_run=dry_run,
        yes=yes,
        lock_timeout=lock_timeout,
        form=chosen(form, json),
    )
    run_command(ctx, DISABLE, asked, "accounts disable", untouched=True)
