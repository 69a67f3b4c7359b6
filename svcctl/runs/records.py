"""Our records of accounts, changed where nothing happens on the service: linked, let go, looked at.

What changes is written with a run and operations of its own, so that the history tells of it.
"""

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from svcctl.clock import stamp
from svcctl.errors import LockedError
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import RemoteAccount
from svcctl.locks import Locks
from svcctl.model import (
    NOTHING,
    Account,
    AccountStatus,
    OperationStatus,
    RecordVerb,
    difference,
    to_json,
)
from svcctl.runs.engine import current_actor
from svcctl.store import accounts as account_rows
from svcctl.store import operations as operation_rows
from svcctl.store import runs as run_rows
from svcctl.store.chunks import chunks
from svcctl.store.database import Connection, Database


@dataclass(frozen=True, slots=True)
class Change:
    """The record of one account before and after, and why it changed."""

    username: str
    before: Account
    after: Account
    reason: str


def as_shown(account: Account, remote: RemoteAccount, managed: frozenset[str], at: str) -> Account:
    """Our account as the service shows it; what it does not show is as we know it.

    Of its groups those count that svcctl manages or put there.
    """
    groups = account.groups
    if remote.groups is not None:
        groups = remote.groups & (managed | account.groups)
    return replace(
        account,
        status=AccountStatus.ACTIVE if remote.active else AccountStatus.DISABLED,
        disabled_at=None if remote.active else account.disabled_at or at,
        name=remote.name,
        groups=groups,
        nickname=account.nickname if remote.nickname is None else remote.nickname,
    )


def gone(account: Account) -> Account:
    """What remains of the record when there is no such account any more."""
    return replace(
        account,
        status=AccountStatus.ABSENT,
        uid=None,
        groups=frozenset(),
        nickname="",
        data=NOTHING,
        disabled_at=None,
    )


def write(
    connection: Connection,
    hook: ServiceHook,
    verb: RecordVerb,
    changes: Iterable[Change],
    *,
    command: str,
) -> int:
    """Write the accounts as they are now; how many. Open operations on them are superseded."""
    open_now = operation_rows.unfinished(connection, [hook.name])
    actor = current_actor()
    run_id = run_rows.begin(
        connection, command=command, actor=actor, host=socket.gethostname(), pid=os.getpid()
    )
    moment, count = stamp(), 0
    for part in chunks(changes):
        count += len(part)
        changed = {change.after.id for change in part}
        superseded = [row.id for row in open_now if row.account_id in changed]
        operation_rows.supersede(connection, superseded)
        account_rows.write(
            connection,
            [
                account_rows.written(change.after, hook.username_rule.key(change.after.name))
                for change in part
            ],
        )
        rows = [_row(change, verb, run_id, actor, moment) for change in part]
        operation_rows.journal(connection, rows)
    counts = {hook.name: {OperationStatus.DONE.value: count}} if count else {}
    run_rows.end(connection, run_id, exit_code=0, summary={"counts": counts})
    return count


def _row(change: Change, verb: RecordVerb, run_id: int, actor: str, moment: str) -> dict[str, Any]:
    old, new = difference(change.before, change.after)
    return {
        "run_id": run_id,
        "service": change.after.service,
        "user_id": change.after.user_id,
        "account_id": change.after.id,
        "seq": 0,
        "verb": verb.value,
        "args": to_json({"name": change.after.name or change.before.name}),
        "before": to_json(old),
        "after": to_json(new),
        "reason": change.reason,
        "actor": actor,
        "status": OperationStatus.DONE.value,
        "started_at": moment,
        "ended_at": moment,
    }


@contextmanager
def alone(database: Database, service: str, holder: str, *, dry_run: bool) -> Iterator[None]:
    """The service's lock, for the time of one change; a dry run takes none. Raises LockedError."""
    if dry_run:
        yield
        return
    with Locks(database, timeout=0, holder=holder) as locks:
        _, busy = locks.acquire([service])
        if busy:
            raise LockedError(
                f"{service}: another run is at work: {busy[service]}",
                hint="try again when it has finished",
            )
        yield
