"""Linking an existing remote account to a user, and letting one go: local records only.

Nothing is written to the service. Both are recorded as runs of their own.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from svcctl.clock import stamp
from svcctl.errors import Conflict, LockedError, NotFound, UsageError
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import Manager, RemoteAccount, capabilities
from svcctl.hooks.registry import build_manager
from svcctl.locks import Locks
from svcctl.model import NOTHING, Account, AccountStatus
from svcctl.runs.engine import Site, current_actor
from svcctl.runs.planner import managed_groups
from svcctl.store import accounts as account_rows
from svcctl.store import operations as operation_rows
from svcctl.store import runs as run_rows
from svcctl.store.database import Connection
from svcctl.store.people import find_present


@dataclass(frozen=True, slots=True)
class Linked:
    """The account as it stands now, and whose it is."""

    username: str
    account: Account


def link(
    site: Site, username: str, service: str, *, uid: str | None, name: str | None, dry_run: bool
) -> Linked:
    """Make an account that exists on the service the user's.

    Raises NotFound, Conflict or UsageError.
    """
    hook = _hook(site, service)
    manager = build_manager(hook)
    try:
        remote = _find(manager, hook, uid, name)
    finally:
        manager.close()
    with (
        _alone(site, service, f"accounts link {username}", dry_run=dry_run),
        site.database.write(keep=not dry_run) as connection,
    ):
        user = find_present(connection, username)
        mine = account_rows.find(connection, service=service, user_id=user.id)
        if mine and not mine[0].absent:
            raise UsageError(
                f"{username} has the account {mine[0].name} on {service} already",
                hint="let it go first: svcctl accounts unlink",
            )
        owner = account_rows.by_uid(connection, service, [remote.uid]).get(remote.uid)
        if owner is not None:
            raise Conflict(
                f"{remote.name} (uid {remote.uid}) on {service} is linked to another user",
                hint="let it go first: svcctl accounts unlink",
            )
        account_id = mine[0].id if mine else None
        if account_id is None:
            account_id = account_rows.reserve(connection, [(service, user.id)])[service, user.id]
        account = _taken_over(connection, hook, remote, account_id, user.id)
        _record(connection, account, hook, f"accounts link {username} {service}")
    return Linked(username, account)


def unlink(site: Site, username: str, service: str, *, dry_run: bool) -> Linked:
    """Forget whose account it is; on the service it stays as it is, and is ours no more."""
    hook = _hook(site, service)
    with (
        _alone(site, service, f"accounts unlink {username}", dry_run=dry_run),
        site.database.write(keep=not dry_run) as connection,
    ):
        user = find_present(connection, username)
        mine = account_rows.find(connection, service=service, user_id=user.id)
        if not mine or mine[0].absent:
            raise UsageError(f"{username} has no account on {service}")
        free = replace(
            mine[0],
            status=AccountStatus.ABSENT,
            uid=None,
            groups=frozenset(),
            nickname="",
            data=NOTHING,
            disabled_at=None,
            pin=f"unlinked by {current_actor()}",
        )
        _record(connection, free, hook, f"accounts unlink {username} {service}")
    return Linked(username, mine[0])


def _hook(site: Site, service: str) -> ServiceHook:
    if service in site.hooks.failed:
        raise site.hooks.failed[service]
    if service not in site.hooks.loaded:
        known = ", ".join(sorted(site.settings.services)) or "none"
        raise UsageError(f"no service {service!r}", hint=f"configured: {known}")
    return site.hooks.loaded[service]


def _find(manager: Manager, hook: ServiceHook, uid: str | None, name: str | None) -> RemoteAccount:
    can = capabilities(type(manager))
    if uid is not None and "get_account" in can:
        return manager.get_account(uid)
    if name is not None and "find_account" in can:
        found = manager.find_account("", name)
        if found is not None:
            return found
        raise NotFound(f"{hook.name}: no account named {name!r}")
    raise UsageError(
        f"services.{hook.name}: {hook.manager_class.__name__} cannot look an account up that way",
        hint="give the other of --uid and --name",
    )


def _taken_over(
    connection: Connection, hook: ServiceHook, remote: RemoteAccount, account_id: int, user_id: int
) -> Account:
    return Account(
        service=hook.name,
        user_id=user_id,
        id=account_id,
        status=AccountStatus.ACTIVE if remote.active else AccountStatus.DISABLED,
        uid=remote.uid,
        name=remote.name,
        groups=(remote.groups or frozenset()) & managed_groups(connection, hook),
        nickname=remote.nickname or "",
        data=remote.data,
        disabled_at=None if remote.active else stamp(),
    )


def _record(connection: Connection, account: Account, hook: ServiceHook, command: str) -> None:
    open_now = operation_rows.unfinished(connection, [hook.name])
    operation_rows.supersede(
        connection, (row.id for row in open_now if row.account_id == account.id)
    )
    account_rows.write(
        connection, [account_rows.written(account, hook.username_rule.key(account.name))]
    )
    run_id = run_rows.begin(
        connection,
        command=command,
        actor=current_actor(),
        host=socket.gethostname(),
        pid=os.getpid(),
    )
    run_rows.end(connection, run_id, exit_code=0, summary={"account": account.name})


@contextmanager
def _alone(site: Site, service: str, holder: str, *, dry_run: bool) -> Iterator[None]:
    """The service's lock, for the time of one change; a dry run takes none."""
    if dry_run:
        yield
        return
    with Locks(site.database, timeout=0, holder=holder) as locks:
        _, busy = locks.acquire([service])
        if busy:
            raise LockedError(
                f"{service}: another run is at work: {busy[service]}",
                hint="try again when it has finished",
            )
        yield
