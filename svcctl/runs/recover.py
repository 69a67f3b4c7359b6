"""Verification: what an earlier run left open is looked at before anything else happens to it.

A run that was killed leaves operations `running` (perhaps sent) and `pending` (perhaps sent, when
the machine lost power right after). An operation that is `unknown` waits until a look settles it.
"""

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, TypeGuard

from svcctl.clock import stamp
from svcctl.errors import NotFound
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import Manager, RemoteAccount, capabilities
from svcctl.model import (
    Account,
    AccountStatus,
    Operation,
    OperationStatus,
    Outcome,
    UndoPin,
    Verb,
    difference,
    effect,
)
from svcctl.runs.farewell import farewell
from svcctl.runs.lane import Pacer, Stop, external_id, is_ours, rate_of, renamed, width_of
from svcctl.runs.listing import listed
from svcctl.runs.plan import Problem, unread
from svcctl.store import accounts as account_rows
from svcctl.store import notifications as notification_rows
from svcctl.store import operations as operation_rows
from svcctl.store import undo as undo_rows
from svcctl.store.database import Connection
from svcctl.store.operations import Recorded
from svcctl.tripwire import allowed

_UNVERIFIED = "what an earlier run left open could not be verified"


@dataclass(slots=True)
class Verified:
    """What looking found; nothing is written until `write`, so that a dry run can look too.

    accounts: as they really are, by row id. unsettled: nothing may be planned for these.
    farewells: what users are still to be told, with the name that the account had.
    """

    accounts: dict[int, Account] = field(default_factory=dict)
    unsettled: set[int] = field(default_factory=set)
    settled: list[tuple[Recorded, OperationStatus, str]] = field(default_factory=list)
    done: list[tuple[Recorded, dict[str, Any], dict[str, Any]]] = field(default_factory=list)
    farewells: list[tuple[Recorded, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    suspicious: set[str] = field(default_factory=set)
    unended_runs: set[int] = field(default_factory=set)

    def rest(self, unfinished: Iterable[Recorded]) -> list[Recorded]:
        """What stays open, or waits for another attempt, when this is written."""
        done = {row.id for row, _, _ in self.done}
        settled = {row.id: status for row, status, _ in self.settled}
        left = [
            replace(row, status=settled.get(row.id, row.status))
            for row in unfinished
            if row.id not in done
        ]
        return [row for row in left if row.status is not OperationStatus.SUPERSEDED]

    def undo_pins(self, connection: Connection) -> dict[int, UndoPin]:
        """The pins of accounts on which an undo turns out to have put something back."""
        rows = [row for row, _, _ in self.done if row.undo_of is not None]
        pins = undo_rows.pins(connection, {row.account_id for row in rows})
        for row in rows:
            if row.account_id in pins:
                pins[row.account_id] = pins[row.account_id].keeping(row.verb)
        return pins

    def __bool__(self) -> bool:
        return bool(self.settled or self.done or self.unended_runs)


def verify(
    connection: Connection,
    unfinished: Iterable[Recorded],
    hooks: Mapping[str, ServiceHook],
    managers: Callable[[str], Manager],
    stop: Stop,
) -> Verified:
    """Look at every operation that may have been done without a record of it.

    Many at once where the manager allows it. What was looked at before a service failed counts;
    the rest is for a later run.
    """
    verified = Verified()
    unfinished = [row for row in unfinished if row.service in hooks]
    doubtful: dict[str, list[Recorded]] = {}
    for row in unfinished:
        if not row.run_ended:
            verified.unended_runs.add(row.run_id)
            verified.suspicious.add(row.service)
        if (
            row.status is OperationStatus.UNKNOWN
            or row.status is OperationStatus.RUNNING
            or (
                row.status is OperationStatus.PENDING
                and not row.run_ended
                and row.verb is Verb.CREATE
            )
        ):
            doubtful.setdefault(row.service, []).append(row)
    for service, rows in doubtful.items():
        accounts = account_rows.by_id(connection, {row.account_id for row in rows})
        left = {row.id: row.account_id for row in rows}
        try:
            manager = managers(service)
            with closing(_answers(hooks[service], manager, rows, accounts, stop)) as answers:
                for row, answer in answers:
                    account = verified.accounts.get(row.account_id, accounts[row.account_id])
                    if row.verb is Verb.CREATE:
                        _settle_create(
                            connection, verified, manager, hooks[service], row, account, answer
                        )
                    else:
                        _settle(verified, row, account, answer)
                    del left[row.id]
        except Exception as error:  # noqa: BLE001 - a manager is foreign code
            verified.problems.append(unread(service, error, _UNVERIFIED))
        verified.unsettled.update(left.values())
    return verified


class _Unseen(Enum):
    """What a look came to that showed no account."""

    GONE = "there is no such account"
    BLIND = "the manager cannot look"


_Answer = RemoteAccount | _Unseen


def _answers(
    hook: ServiceHook,
    manager: Manager,
    rows: list[Recorded],
    accounts: Mapping[int, Account],
    stop: Stop,
) -> Generator[tuple[Recorded, _Answer]]:
    """What the service shows for each row, in order; of those that were come to before `stop`.

    At the end it raises the first error there was; nothing was asked after that one.
    """
    from concurrent.futures import ThreadPoolExecutor

    pacer = Pacer(rate_of(hook, manager))
    can = capabilities(type(manager))
    errors: list[Exception] = []

    def one(row: Recorded) -> _Answer | None:
        with allowed():
            if errors or pacer.wait(stop) or errors:
                return None
            try:
                return _ask(manager, can, row, accounts[row.account_id])
            except Exception as error:  # noqa: BLE001 - raised when the others have been told
                errors.append(error)
                return None

    pool = ThreadPoolExecutor(
        width_of(hook, manager, len(rows)), thread_name_prefix=f"{hook.name}-look"
    )
    silent: dict[str, list[tuple[Recorded, RemoteAccount]]] = {}
    try:
        for row, answer in zip(rows, pool.map(one, rows), strict=True):
            if (
                row.verb is Verb.CHANGE_GROUPS
                and _says_no_groups(answer)
                and "list_accounts" in can
            ):
                silent.setdefault(answer.uid, []).append((row, answer))
            elif answer is not None:
                yield row, answer
    finally:
        pool.shutdown(cancel_futures=True)
    if silent and not errors:
        yield from _from_listing(manager, silent)
    if errors:
        raise errors[0]


def _says_no_groups(answer: _Answer | None) -> TypeGuard[RemoteAccount]:
    return isinstance(answer, RemoteAccount) and answer.groups is None


def _from_listing(
    manager: Manager, silent: dict[str, list[tuple[Recorded, RemoteAccount]]]
) -> Iterator[tuple[Recorded, _Answer]]:
    """Groups that an account by itself does not tell stand where all accounts are listed."""
    told = {
        remote.uid: remote
        for page in listed(manager)
        for remote in page
        if remote.uid in silent and remote.groups is not None
    }
    for uid, waiting in silent.items():
        for row, answer in waiting:
            yield row, told.get(uid, answer)


def _ask(manager: Manager, can: frozenset[str], row: Recorded, account: Account) -> _Answer:
    if row.verb is Verb.CREATE:
        if not account.absent or "find_account" not in can:
            return _Unseen.BLIND
        name = json.loads(row.args)["name"]
        return manager.find_account(external_id(account), name) or _Unseen.GONE
    if row.verb is Verb.SET_PASSWORD or account.uid is None or "get_account" not in can:
        return _Unseen.BLIND
    try:
        return manager.get_account(account.uid)
    except NotFound:
        return _Unseen.GONE


def _settle(verified: Verified, row: Recorded, account: Account, answer: _Answer) -> None:
    operation = _operation(row)
    if row.verb is Verb.SET_PASSWORD:
        verified.settled.append(
            (row, OperationStatus.FAILED, "interrupted; set the password again")
        )
    elif answer is _Unseen.BLIND:
        verified.settled.append(_not_done(row, "cannot be looked at"))
    elif answer is _Unseen.GONE:
        if row.verb in (Verb.DELETE, Verb.DISABLE):
            gone = effect(account, replace(operation, verb=Verb.DELETE))
            _done(verified, row, account, gone)
        else:
            verified.settled.append(
                (row, OperationStatus.FAILED, "the account is gone on the service")
            )
    else:
        after = effect(account, operation, at=stamp())
        real = _as_seen(account, after, answer)
        if _same(row.verb, real, after):
            _done(verified, row, account, after)
        else:
            if real != account:
                verified.accounts[row.account_id] = real
            verified.settled.append(_not_done(row, "not done"))


def _operation(row: Recorded) -> Operation:
    return Operation(row.verb, row.user_id, "", json.loads(row.args))


def _not_done(row: Recorded, why: str) -> tuple[Recorded, OperationStatus, str]:
    """What had failed before somebody looked goes on waiting for its next attempt."""
    if row.next_attempt_at is not None:
        return row, OperationStatus.FAILED, why
    return row, OperationStatus.SUPERSEDED, f"{why}; planned anew"


def _settle_create(
    connection: Connection,
    verified: Verified,
    manager: Manager,
    hook: ServiceHook,
    row: Recorded,
    account: Account,
    answer: _Answer,
) -> None:
    def settle(status: OperationStatus, text: str) -> None:
        if status is OperationStatus.UNKNOWN:
            verified.unsettled.add(row.account_id)
        verified.settled.append((row, status, text))

    operation = _operation(row)
    name = operation.args["name"]
    if not account.absent:
        settle(OperationStatus.SUPERSEDED, "the account exists")
        return
    if answer is _Unseen.BLIND:
        if row.status is OperationStatus.PENDING:
            settle(OperationStatus.SUPERSEDED, "planned anew")
        else:
            settle(
                OperationStatus.UNKNOWN,
                "the service cannot be searched: look there, then accounts link or unlink",
            )
        return
    if answer is _Unseen.GONE:
        settle(OperationStatus.SUPERSEDED, "not done; planned anew")
        return
    found = answer
    if is_ours(found, account, manager, looked=row.looked):
        if account_rows.by_uid(connection, hook.name, [found.uid]):
            settle(OperationStatus.FAILED, "the service shows another user's account")
        elif other := renamed(hook, name, found.name, found.uid):
            settle(OperationStatus.FAILED, other.message)
        else:
            outcome = Outcome(found.uid, found.data)
            _done(verified, row, account, effect(account, operation, outcome))
    elif manager.stores_external_id or row.status is OperationStatus.PENDING:
        settle(OperationStatus.SUPERSEDED, "the name is someone else's")
    else:
        text = f"an account named {found.name!r} exists and may be ours: link it or delete it"
        settle(OperationStatus.UNKNOWN, text)


def _done(verified: Verified, row: Recorded, before: Account, after: Account) -> None:
    old, new = difference(before, after)
    planned = json.loads(row.after)
    if "pin" in planned:
        after = replace(after, pin=planned["pin"])
        old["pin"], new["pin"] = before.pin, after.pin
    verified.accounts[row.account_id] = after
    verified.done.append((row, old, new))
    if row.notify:
        verified.farewells.append((row, before.name))


def _as_seen(account: Account, after: Account, remote: RemoteAccount) -> Account:
    """The account as the remote shows it, as far as that is ours to know."""
    status = AccountStatus.ACTIVE if remote.active else AccountStatus.DISABLED
    groups = account.groups
    if remote.groups is not None:
        groups = remote.groups & (account.groups | after.groups)
    nickname = account.nickname if remote.nickname is None else remote.nickname
    since = (account.disabled_at or stamp()) if status is AccountStatus.DISABLED else None
    return replace(account, status=status, groups=groups, nickname=nickname, disabled_at=since)


def _same(verb: Verb, real: Account, after: Account) -> bool:
    match verb:
        case Verb.ENABLE | Verb.DISABLE | Verb.DELETE:
            return real.status is after.status
        case Verb.CHANGE_GROUPS:
            return real.groups == after.groups
        case _:
            return real.nickname == after.nickname


def write(connection: Connection, verified: Verified, hooks: Mapping[str, ServiceHook]) -> None:
    """Take over what was found. The caller owns the transaction."""
    rows = [
        operation_rows.ended(
            row.id,
            status,
            attempts=row.attempts,
            error=text,
            next_attempt_at=row.next_attempt_at if status is OperationStatus.FAILED else None,
        )
        for row, status, text in verified.settled
    ]
    rows.extend(
        operation_rows.done(
            row.id, before=before, after=after, attempts=row.attempts + 1, note="verified"
        )
        for row, before, after in verified.done
    )
    notification_rows.add(
        connection,
        (
            farewell(
                hooks[row.service],
                row.verb,
                name,
                reason=row.reason,
                user_id=row.user_id,
                operation_id=row.id,
            )
            for row, name in verified.farewells
        ),
    )
    written = []
    for account in verified.accounts.values():
        rule = hooks[account.service].username_rule
        written.append(
            account_rows.written(account, rule.key(account.name) if account.name else "")
        )
    account_rows.write(connection, written)
    undo_rows.pin(connection, verified.undo_pins(connection))
    operation_rows.settle(connection, rows)
