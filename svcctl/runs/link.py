"""Linking an existing remote account to a user, and letting one go: local records only.

Nothing is written to the service.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from svcctl.clock import stamp
from svcctl.errors import Conflict, NotFound, SvcctlError, UsageError
from svcctl.hooks.contract import ServiceHook, defect
from svcctl.hooks.manager import Manager, RemoteAccount, capabilities
from svcctl.hooks.registry import build_manager
from svcctl.model import Account, AccountStatus, OperationStatus, RecordVerb, User
from svcctl.runs import records
from svcctl.runs.engine import Site, current_actor
from svcctl.runs.planner import managed_groups
from svcctl.store import accounts as account_rows
from svcctl.store import operations as operation_rows
from svcctl.store.database import Connection
from svcctl.store.dossier import as_hooks_see
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
    hook = hook_of(site, service)
    manager = build_manager(hook)
    try:
        remote = _find(manager, hook, uid, name)
    finally:
        manager.close()
    command = f"accounts link {username} {service}"
    with (
        records.alone(site.database, service, command, dry_run=dry_run),
        site.database.write(keep=not dry_run) as connection,
    ):
        id_ = find_present(connection, username).id
        user = as_hooks_see(connection, id_, site.settings.state_rules())
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
        before = mine[0] if mine else reserved(connection, service, [user.id])[user.id]
        assert before.id is not None
        account = taken_over(hook, user, before.id, remote, managed_groups(connection, hook))
        change = records.Change(username, before, account, "linked by an operator")
        records.write(connection, hook, RecordVerb.LINK, [change], command=command)
    return Linked(username, account)


def unlink(site: Site, username: str, service: str, *, dry_run: bool) -> Linked:
    """Forget whose account it is; on the service it stays as it is, and is ours no more.

    Where it is not known whether a create was done, whatever it made is not ours.
    """
    hook = hook_of(site, service)
    command = f"accounts unlink {username} {service}"
    with (
        records.alone(site.database, service, command, dry_run=dry_run),
        site.database.write(keep=not dry_run) as connection,
    ):
        user = find_present(connection, username)
        mine = account_rows.find(connection, service=service, user_id=user.id)
        if not mine or (mine[0].absent and not _doubtful(connection, mine[0])):
            raise UsageError(f"{username} has no account on {service}")
        free = replace(records.gone(mine[0]), pin=f"unlinked by {current_actor()}")
        change = records.Change(username, mine[0], free, "let go by an operator")
        records.write(connection, hook, RecordVerb.UNLINK, [change], command=command)
    return Linked(username, mine[0])


def _doubtful(connection: Connection, account: Account) -> bool:
    """Whether a create of this account waits for somebody who looks at the service."""
    assert account.id is not None
    opened = operation_rows.waiting(connection, account.id)
    return any(row["status"] == OperationStatus.UNKNOWN for row in opened)


def reserved(connection: Connection, service: str, user_ids: Iterable[int]) -> dict[int, Account]:
    """New rows for users who have none on the service yet, by user id."""
    rows = account_rows.reserve(connection, [(service, id_) for id_ in user_ids])
    return {id_: Account(service, id_, row_id) for (_, id_), row_id in rows.items()}


def hook_of(site: Site, service: str) -> ServiceHook:
    """The service's hook. Raises UsageError where there is no such service, else its HookError."""
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


def taken_over(
    hook: ServiceHook, user: User, account_id: int, remote: RemoteAccount, managed: frozenset[str]
) -> Account:
    """The record of an account that becomes the user's.

    Of its groups those count as ours that svcctl manages and the user should have. The others were
    there before, and no run takes them away because they were found; only `update-all-groups`,
    which makes the managed groups what they should be, does. Raises HookError.
    """
    groups = (remote.groups or frozenset()) & managed
    try:
        groups &= hook.groups_for(user) if groups else groups
    except SvcctlError:
        raise
    except Exception as error:
        raise defect(hook, error) from error
    return Account(
        service=hook.name,
        user_id=user.id,
        id=account_id,
        status=AccountStatus.ACTIVE if remote.active else AccountStatus.DISABLED,
        uid=remote.uid,
        name=remote.name,
        groups=groups,
        nickname=remote.nickname or "",
        data=remote.data,
        disabled_at=None if remote.active else stamp(),
    )
