"""`svcctl accounts link`, `unlink`, `refresh` and `hold`: our records of accounts."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from svcctl.commands.accounts.names import NamedUsers, OneService, OneUser
from svcctl.commands.options import (
    AllOption,
    DryRunOption,
    Format,
    FormatOption,
    JsonOption,
    ServiceOption,
    UsersArgument,
)
from svcctl.commands.output import Table, chosen, emit, say
from svcctl.commands.running import user_ids
from svcctl.commands.session import Session, open_session

if TYPE_CHECKING:
    from svcctl.runs.engine import Site
    from svcctl.runs.records import Change

LINKED = ("service", "user", "account", "status", "groups", "nickname")


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
    emit(Table("linked", LINKED, [row]), chosen(form, json))


def unlink(
    ctx: typer.Context, user: OneUser, service: OneService, dry_run: DryRunOption = False
) -> None:
    """Let an account go: it stays on the service and is svcctl's no more.

    Also where a create is unknown, and a look at the service showed that there is none of svcctl's:
    `accounts create` makes one then.
    """
    from svcctl.runs.link import unlink as let_go

    with open_session(ctx) as session:
        freed = let_go(_site(session, service), user, service, dry_run=dry_run)
    would = "would be" if dry_run else "is"
    if freed.account.absent:
        say(f"{service}: {user} {would} taken to have no account; svcctl accounts create makes one")
    else:
        say(f"{service}: {freed.account.name} {would} no longer linked to {user}")


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
