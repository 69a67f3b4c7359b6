"""Looking at accounts on their service, and remembering what is there: local records only."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from svcctl.clock import stamp
from svcctl.errors import NotFound, UsageError
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import Manager, RemoteAccount
from svcctl.hooks.registry import build_manager
from svcctl.model import OPEN, Account, RecordVerb
from svcctl.runs import records
from svcctl.runs.engine import Site
from svcctl.runs.link import hook_of
from svcctl.runs.listing import listed
from svcctl.runs.planner import managed_groups
from svcctl.store import accounts as account_rows
from svcctl.store import operations as operation_rows
from svcctl.store.people import names_of


@dataclass(slots=True)
class Refreshed:
    """The records that changed; users whose account is gone, and users who were left alone.

    left: an earlier operation on their account is open; the next run looks at it first.
    """

    changes: list[records.Change] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def refresh(
    site: Site, service: str, user_ids: frozenset[int] | None, *, dry_run: bool
) -> Refreshed:
    """Take over the status, name, nickname and managed groups that the service shows.

    user_ids: None for everybody. That an account is gone is taken over only for users who are
    named: of everybody's it may be the list that is wrong. Raises a ManagerError, and then nothing
    is taken over.
    """
    hook = hook_of(site, service)
    command = f"accounts refresh {service}"
    found = Refreshed()
    with records.alone(site.database, service, command, dry_run=dry_run):
        with site.database.read() as connection:
            where = {} if user_ids is None else {"user_id": user_ids}
            accounts = [
                account
                for account in account_rows.find(connection, service=service, **where)
                if not account.absent
            ]
            names = names_of(connection, [account.user_id for account in accounts])
            busy = {
                row.account_id
                for row in operation_rows.unfinished(connection, [service])
                if row.status in OPEN
            }
            managed = managed_groups(connection, hook)
        manager = build_manager(hook)
        try:
            for account, remote in _looked_at(hook, manager, accounts, user_ids):
                name = names[account.user_id]
                if account.id in busy:
                    found.left.append(name)
                    continue
                if remote is None:
                    found.missing.append(name)
                if remote is None and user_ids is None:
                    continue
                now = records.gone(account)
                if remote is not None:
                    now = records.as_shown(account, remote, managed, stamp())
                if now != account:
                    change = records.Change(name, account, now, "as the service shows it")
                    found.changes.append(change)
        finally:
            with suppress(Exception):  # foreign code, and all is read by now
                manager.close()
        if found.changes and not dry_run:
            with site.database.write() as connection:
                records.write(connection, hook, RecordVerb.REFRESH, found.changes, command=command)
    return found


def _looked_at(
    hook: ServiceHook,
    manager: Manager,
    accounts: Iterable[Account],
    user_ids: frozenset[int] | None,
) -> Iterator[tuple[Account, RemoteAccount | None]]:
    """Each account as the service shows it, None where it is gone; everybody's are listed."""
    can_get, can_list = hook.can("get_account"), hook.can("list_accounts")
    if not (can_get or can_list):
        raise UsageError(
            f"services.{hook.name}: {hook.manager_class.__name__} cannot look at accounts",
            hint="see what it can do: svcctl services list",
        )
    if can_list and (user_ids is None or not can_get):
        ours = {account.uid: account for account in accounts}
        for page in listed(manager):
            for remote in page:
                if (account := ours.pop(remote.uid, None)) is not None:
                    yield account, remote
        yield from ((account, None) for account in ours.values())
        return
    for account in accounts:
        try:
            yield account, manager.get_account(account.uid or "")
        except NotFound:
            yield account, None
