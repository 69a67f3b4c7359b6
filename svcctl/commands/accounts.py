"""`svcctl accounts`: the accounts of users on services."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from svcctl.commands.completion import complete_services, complete_users
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
from svcctl.commands.output import Table, chosen, emit, say
from svcctl.commands.running import Asked, execute, finish, run_command, select, user_ids
from svcctl.commands.session import Session, open_session
from svcctl.commands.untouched import tell_untouched

if TYPE_CHECKING:
    from svcctl.runs.engine import Site
    from svcctl.runs.records import Change

app = typer.Typer(no_args_is_help=True, help="The accounts of users on services.")

OneUser = Annotated[
    str, typer.Argument(metavar="USER", help="A username.", autocompletion=complete_users)
]
NamedUsers = Annotated[
    list[str],
    typer.Argument(metavar="USER", help="Usernames, or @FILE.", autocompletion=complete_users),
]
OneService = Annotated[
    str,
    typer.Option("--service", "-s", help="The service.", autocompletion=complete_services),
]
StatusOption = Annotated[str | None, typer.Option("--status", help="active, disabled or absent.")]
FIELDS = (
    "service",
    "user",
    "account",
    "uid",
    "status",
    "groups",
    "nickname",
    "disabled_at",
    "pin",
    "created_at",
    "updated_at",
)
COLUMNS = ("service", "user", "account", "status", "groups", "nickname", "disabled_at", "pin")


@app.command("list")
def list_(
    ctx: typer.Context,
    users: UsersArgument = None,
    service: ServiceOption = None,
    status: StatusOption = None,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Accounts, of all users or of those named."""
    with open_session(ctx, read_only=True) as session:
        rows = _rows(session, users, service, status)
    emit(Table("accounts", COLUMNS, rows), chosen(form, json), empty="no accounts")


@app.command()
def show(
    ctx: typer.Context,
    user: OneUser,
    service: ServiceOption = None,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """One user's accounts, with uids and dates."""
    with open_session(ctx, read_only=True) as session:
        rows = _rows(session, [user], service, None)
    columns = ("service", "account", "uid", "status", "groups", "nickname", "created_at")
    emit(
        Table("account", (*columns, "updated_at", "disabled_at", "pin"), rows),
        chosen(form, json),
        empty="no accounts",
    )


def _rows(
    session: Session, users: list[str] | None, services: list[str] | None, status: str | None
) -> list[dict[str, object]]:
    from svcctl.errors import UsageError
    from svcctl.model import AccountStatus
    from svcctl.store.accounts import listing

    if status is not None and status not in set(AccountStatus):
        raise UsageError(
            f"--status: no such status: {status}", hint=f"one of: {', '.join(AccountStatus)}"
        )
    ids = user_ids(session, users) if users else None
    with session.database.read() as connection:
        rows = listing(connection, user_ids=ids, services=services, status=status)
    return [{field: row[field] for field in FIELDS} for row in rows]


@app.command()
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


@app.command()
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


@app.command()
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


@app.command("reset-password")
def reset_password(
    ctx: typer.Context,
    user: OneUser,
    service: OneService,
    dry_run: DryRunOption = False,
    lock_timeout: LockTimeoutOption = "0s",
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Set a new random password and show it, once."""
    from svcctl.tasks.task import RESET_PASSWORD

    asked = Asked(
        [user],
        services=[service],
        dry_run=dry_run,
        lock_timeout=lock_timeout,
        form=chosen(form, json),
    )
    with open_session(ctx, read_only=dry_run) as session:
        selection = select(session, asked)
        report = execute(session, RESET_PASSWORD, selection, asked, "accounts reset-password")
        if not report.changed:
            say(f"{user} has no active account on {service}")
        finish(session, report, asked.form)


@app.command("set-password")
def set_password(
    ctx: typer.Context,
    user: OneUser,
    service: OneService,
    dry_run: DryRunOption = False,
    lock_timeout: LockTimeoutOption = "0s",
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Set a password that is asked for, or read as one line from standard input."""
    from dataclasses import replace

    from svcctl.errors import UsageError
    from svcctl.tasks.task import SET_PASSWORD

    asked = Asked(
        [user],
        services=[service],
        dry_run=dry_run,
        lock_timeout=lock_timeout,
        form=chosen(form, json),
    )
    with open_session(ctx, read_only=dry_run) as session:
        selection = select(session, asked)
        password = "" if dry_run else _read_password()
        if not dry_run and len(password) < 8:
            raise UsageError("the password is too short", hint="8 characters at least")
        report = execute(
            session,
            SET_PASSWORD,
            selection,
            asked,
            "accounts set-password",
            passwords={(service, user): password},
        )
        if not report.changed:
            say(f"{user} has no active account on {service}")
        report = replace(report, passwords={})
        finish(session, report, asked.form)


def _read_password() -> str:
    if sys.stdin.isatty():
        answer: str = typer.prompt("password", hide_input=True, confirmation_prompt=True, err=True)
        return answer
    return sys.stdin.readline().rstrip("\r\n")


@app.command()
def link(
    ctx: typer.Context,
    user: OneUser,
    service: OneService,
    uid: Annotated[str | None, typer.Option("--uid", help="The service's own id.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The account's name there.")] = None,
    dry_run: DryRunOption = False,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Make an account that exists on the service this user's. Nothing changes on the service."""
    from svcctl.errors import UsageError
    from svcctl.runs.link import link as take

    if (uid is None) == (name is None):
        raise UsageError("which account?", hint="give one of --uid and --name")
    with open_session(ctx) as session:
        linked = take(_site(session, service), user, service, uid=uid, name=name, dry_run=dry_run)
    account = linked.account
    row = {
        "service": service,
        "user": user,
        "account": account.name,
        "status": account.status.value,
        "groups": account.groups,
        "nickname": account.nickname,
    }
    emit(Table("linked", COLUMNS[:6], [row]), chosen(form, json))


@app.command()
def unlink(
    ctx: typer.Context, user: OneUser, service: OneService, dry_run: DryRunOption = False
) -> None:
    """Let an account go: it stays on the service and is svcctl's no more."""
    from svcctl.runs.link import unlink as let_go

    with open_session(ctx) as session:
        freed = let_go(_site(session, service), user, service, dry_run=dry_run)
    would = "would be" if dry_run else "is"
    say(f"{service}: {freed.account.name} {would} no longer linked to {user}")


@app.command()
def refresh(
    ctx: typer.Context,
    service: OneService,
    users: UsersArgument = None,
    everybody: AllOption = False,
    dry_run: DryRunOption = False,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Look at accounts on the service, and remember what is there. Nothing changes on the service.

    Status, name, nickname and managed groups: what somebody changed there by hand, the next sync
    then brings in step. An account that is gone is forgotten only for users who are named.
    """
    from svcctl.errors import UsageError
    from svcctl.runs.refresh import refresh as look

    if bool(users) == everybody:
        raise UsageError("whose accounts?", hint="name users, or give --all")
    with open_session(ctx, read_only=dry_run) as session:
        ids = user_ids(session, users) if users else None
        found = look(_site(session, service), service, ids, dry_run=dry_run)
    rows = [
        {"service": service, "user": one.username, "account": one.before.name, **_differing(one)}
        for one in found.changes
    ]
    columns = ("service", "user", "account", "before", "after")
    emit(Table("refreshed", columns, rows), chosen(form, json), empty="all as remembered")
    for name in found.left:
        say(f"{service}: {name}: left alone: an earlier operation is open")
    if everybody:
        for name in found.missing:
            say(f"{service}: {name}: the account is not on the service; left as it is")
    if everybody and found.missing:
        say(f"hint: svcctl accounts refresh USER --service {service} takes note that one is gone")


def _differing(change: "Change") -> dict[str, Any]:
    from svcctl.model import difference

    before, after = difference(change.before, change.after)
    return {"before": before, "after": after}


@app.command()
def hold(
    ctx: typer.Context,
    users: NamedUsers,
    service: ServiceOption = None,
    reason: Annotated[str, typer.Option("--reason", help="Why.")] = "held",
    release: Annotated[bool, typer.Option("--release", help="Let runs decide again.")] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Pin accounts as they are: no run creates, enables, disables or deletes them."""
    from svcctl.runs.engine import current_actor
    from svcctl.store.accounts import listing, pin

    with open_session(ctx, read_only=dry_run) as session:
        ids = user_ids(session, users)
        with session.database.read() as connection:
            rows = listing(connection, user_ids=ids, services=service, status=None)
        if not dry_run:
            with session.database.write() as connection:
                text = None if release else f"{reason} by {current_actor()}"
                pin(connection, [row["id"] for row in rows], text)
    did = "released" if release else "pinned"
    say(f"{len(rows)} accounts {'would be ' if dry_run else ''}{did}")


def _site(session: Session, service: str) -> "Site":
    from svcctl.runs.engine import Site

    known = [service] if service in session.settings.services else []
    return Site(session.settings, session.database, session.hooks(known))
