"""Whether services still show what is to be undone; what they do not is left alone."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from svcctl.errors import ExitCode, SvcctlError
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import Manager
from svcctl.model import Verb
from svcctl.runs.lane import Stop, external_id
from svcctl.runs.listing import listed, unlisted
from svcctl.runs.look import ABSENT, NOT_LISTED, Shown, look
from svcctl.runs.plan import Plan, PlannedAccount, Problem


def leave_changed(
    plan: Plan, hooks: Mapping[str, ServiceHook], managers: Callable[[str], Manager], stop: Stop
) -> None:
    """Take accounts out of the plan that are not as we know them; it is said first.

    Nothing is left of a service that does not answer. Where the manager cannot look, our record
    has to do.
    """
    shown, unseen = look(plan, hooks, managers, stop)
    _drop(plan, unseen)
    _drop(plan, list(_read_groups(plan, hooks, managers, shown)))
    kept = []
    for planned in plan.accounts:
        account = planned.account
        seen = shown.get((account.service, account.user_id))
        otherwise = "; ".join(_differences(planned, hooks[account.service], seen))
        if otherwise:
            hint = f"svcctl accounts refresh {planned.username} --service {account.service}"
            text = f"cannot undo: the service shows that {otherwise}"
            plan.first.append(
                Problem(account.service, text, ExitCode.FAILED, planned.username, hint)
            )
        else:
            kept.append(planned)
    plan.accounts = kept


def _drop(plan: Plan, unread: list[Problem]) -> None:
    plan.problems.extend(unread)
    for problem in unread:
        plan.drop(problem.service)


def _read_groups(
    plan: Plan,
    hooks: Mapping[str, ServiceHook],
    managers: Callable[[str], Manager],
    shown: Shown,
) -> Iterator[Problem]:
    """The groups that are to be undone and that no account shows by itself, from the listing.

    SCIM servers that tell groups by their members only are such.
    """
    untold: dict[str, dict[str, tuple[str, int]]] = {}
    for planned in plan.accounts:
        account = planned.account
        key = account.service, account.user_id
        changes = any(operation.verb is Verb.CHANGE_GROUPS for operation in planned.operations)
        seen = shown[key]
        if changes and isinstance(seen, dict) and seen["groups"] == NOT_LISTED and account.uid:
            untold.setdefault(account.service, {})[account.uid] = key
    for service, keys in untold.items():
        if not hooks[service].can("list_accounts"):
            continue
        try:
            for page in listed(managers(service)):
                for remote in page:
                    if remote.uid in keys and remote.groups is not None:
                        shown[keys[remote.uid]]["groups"] = sorted(remote.groups)
        except SvcctlError as error:
            yield unlisted(service, error)


def _differences(planned: PlannedAccount, hook: ServiceHook, seen: Any) -> Iterator[str]:
    account = planned.account
    if seen is None:
        return
    if seen == ABSENT:
        yield "there is no such account"
        return
    if seen["active"] != account.active:
        yield f"the account is {'active' if seen['active'] else 'disabled'}"
    if any(operation.verb in (Verb.DISABLE, Verb.DELETE) for operation in planned.operations):
        key = hook.username_rule.key
        if key(seen["name"]) != key(account.name):
            yield f"its name is {seen['name']!r}"
        if seen["external_id"] not in (None, external_id(account)):
            yield "it has the key of somebody else"
    for operation in planned.operations:
        if operation.verb is Verb.SET_NICKNAME and seen["nickname"] != NOT_LISTED:
            if seen["nickname"] != account.nickname:
                yield f"the nickname is {seen['nickname']!r}"
        elif operation.verb is Verb.CHANGE_GROUPS and seen["groups"] != NOT_LISTED:
            there = frozenset(seen["groups"])
            if lost := sorted(frozenset(operation.args["remove"]) - there):
                yield f"it is in {', '.join(lost)} no more"
            if back := sorted(frozenset(operation.args["add"]) & there):
                yield f"it is in {', '.join(back)} again"
