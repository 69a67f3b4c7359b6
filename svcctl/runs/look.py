"""Looking: what the services show of the accounts that a plan is about, for a plan that binds."""

from collections.abc import Callable, Mapping
from typing import Any

from svcctl.errors import NotFound
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import Manager, RemoteAccount
from svcctl.model import Verb
from svcctl.runs.lane import Pacer, Stop, external_id, rate_of, width_of
from svcctl.runs.plan import Plan, PlannedAccount, Problem, unread

ABSENT = "absent"
NOT_LISTED = "not listed"

Shown = dict[tuple[str, int], Any]
"""What a service shows of a user's account, in JSON's types; None where it cannot be asked."""


def look(
    plan: Plan, hooks: Mapping[str, ServiceHook], managers: Callable[[str], Manager], stop: Stop
) -> tuple[Shown, list[Problem]]:
    """What is there of every planned account, and the services that did not say it.

    Reads only; many at once where the manager allows it. Incomplete when `stop` is asked for.
    """
    shown: Shown = {}
    problems: list[Problem] = []
    wanted: dict[str, list[PlannedAccount]] = {}
    for planned in plan.accounts:
        account = planned.account
        shown[account.service, account.user_id] = None
        if hooks[account.service].can("find_account" if account.absent else "get_account"):
            wanted.setdefault(account.service, []).append(planned)
    for service, accounts in wanted.items():
        try:
            manager = managers(service)
            found = _look_at_all(hooks[service], manager, accounts, stop)
        except Exception as error:  # noqa: BLE001 - a manager is foreign code
            problems.append(unread(service, error, "planned accounts could not be looked at"))
        else:
            shown.update(found)
    return shown, problems


def _look_at_all(
    hook: ServiceHook, manager: Manager, accounts: list[PlannedAccount], stop: Stop
) -> Shown:
    from concurrent.futures import ThreadPoolExecutor

    width = width_of(hook, manager, len(accounts))
    pacer = Pacer(rate_of(hook, manager))

    def one(planned: PlannedAccount) -> Any:
        return None if pacer.wait(stop) else _seen(manager, planned)

    pool = ThreadPoolExecutor(width, thread_name_prefix=f"{hook.name}-look")
    try:
        keys = [(hook.name, planned.account.user_id) for planned in accounts]
        return dict(zip(keys, pool.map(one, accounts), strict=True))
    finally:
        pool.shutdown(cancel_futures=True)


def _seen(manager: Manager, planned: PlannedAccount) -> Any:
    account = planned.account
    remote: RemoteAccount | None = None
    if account.uid is not None:
        try:
            remote = manager.get_account(account.uid)
        except NotFound:
            return ABSENT
    else:
        first = planned.operations[0]
        name = first.args["name"] if first.verb is Verb.CREATE else account.name
        remote = manager.find_account(external_id(account), name)
    if remote is None:
        return ABSENT
    return {
        "active": remote.active,
        "name": remote.name,
        "external_id": remote.external_id,
        "nickname": NOT_LISTED if remote.nickname is None else remote.nickname,
        "groups": NOT_LISTED if remote.groups is None else sorted(remote.groups),
    }
