"""A task: which decisions a run asks a hook for, about whom, and what an operator meant by it."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from svcctl.hooks.contract import ServiceHook
from svcctl.model import Operation, User, Verb

Decide = Callable[[ServiceHook, User], Iterator[Operation]]


@dataclass(frozen=True, slots=True)
class Task:
    """One kind of run.

    decides: the verbs that it decides anew about every account it looks at; what earlier runs left
    open of other verbs stays.
    decides_access: it may create, enable, disable or delete; other tasks leave an account alone
    while such an operation on it is held.
    needs: the manager's verbs that make no sense to ask for where they are missing.
    on_purpose: an operator named the accounts: pinned accounts are included, removals are not
    counted against the limits, and the new status is pinned where policy would undo it.
    limited: its removals count all the same: a pipeline may run for anybody who comes along.
    undoes: it puts back what an earlier run changed, and pins that for a while.
    remote: "list" when the decisions look at what the service really lists.
    sieve: the decisions are among those whose default can be told to be settled without asking.
    """

    name: str
    decide: Decide
    decides: frozenset[Verb]
    decides_access: bool = False
    needs: tuple[Verb, ...] = ()
    on_purpose: bool = False
    limited: bool = False
    undoes: bool = False
    remote: Literal["none", "list"] = "none"
    sieve: frozenset[str] = frozenset()


def _validate(hook: ServiceHook, user: User) -> Iterator[Operation]:
    if hook.account(user).pin is None:
        yield from hook.validate_user(user)


def _create_where_opted_in(hook: ServiceHook, user: User) -> Iterator[Operation]:
    account = hook.account(user)
    if (
        account.absent
        and account.pin is None
        and hook.config.create == "auto"
        and hook.can(Verb.CREATE)
        and hook.service_active_for_user(user)
    ):
        yield from hook.create_user(user)


def _sync(hook: ServiceHook, user: User) -> Iterator[Operation]:
    yield from _validate(hook, user)
    yield from _create_where_opted_in(hook, user)
    yield from hook.update_groups(user)
    yield from hook.sync_nickname(user)


def _after_change(hook: ServiceHook, user: User) -> Iterator[Operation]:
    yield from _validate(hook, user)
    yield from hook.update_groups(user)
    yield from hook.sync_nickname(user)


def _create(hook: ServiceHook, user: User) -> Iterator[Operation]:
    if hook.account(user).absent and hook.service_active_for_user(user):
        yield from hook.create_user(user)


def _enable(hook: ServiceHook, user: User) -> Iterator[Operation]:
    if hook.account(user).disabled:
        yield hook.operation(Verb.ENABLE, user, "enabled by an operator")
        yield from hook.update_groups(user)
        yield from hook.sync_nickname(user)


def _disable(hook: ServiceHook, user: User) -> Iterator[Operation]:
    if hook.account(user).active:
        yield hook.operation(Verb.DISABLE, user, "disabled by an operator")


_REMOVALS = frozenset({Verb.DISABLE, Verb.DELETE})
_ACCESS = _REMOVALS | {Verb.ENABLE}
_CONTENT = frozenset({Verb.CHANGE_GROUPS, Verb.SET_NICKNAME})
_PASSWORD = frozenset({Verb.SET_PASSWORD})

VALIDATE = Task("validate", _validate, _ACCESS, decides_access=True, sieve=frozenset({"validate"}))
SYNC_NICKNAME = Task(
    "sync-nickname",
    lambda hook, user: hook.sync_nickname(user),
    frozenset({Verb.SET_NICKNAME}),
    needs=(Verb.SET_NICKNAME,),
    sieve=frozenset({"nickname"}),
)
UPDATE_GROUPS = Task(
    "update-groups",
    lambda hook, user: hook.update_groups(user),
    frozenset({Verb.CHANGE_GROUPS}),
    needs=(Verb.CHANGE_GROUPS,),
    sieve=frozenset({"groups"}),
)
UPDATE_ALL_GROUPS = Task(
    "update-all-groups",
    lambda hook, user: hook.update_groups(user),
    frozenset({Verb.CHANGE_GROUPS}),
    needs=(Verb.CHANGE_GROUPS,),
    remote="list",
    sieve=frozenset({"groups"}),
)
SYNC = Task(
    "sync",
    _sync,
    _ACCESS | {Verb.CREATE} | _CONTENT,
    decides_access=True,
    sieve=frozenset({"validate", "create", "groups", "nickname"}),
)
AFTER_CHANGE = Task("after a change", _after_change, _ACCESS | _CONTENT, decides_access=True)
CREATE = Task(
    "accounts create",
    _create,
    frozenset({Verb.CREATE}),
    decides_access=True,
    needs=(Verb.CREATE,),
    on_purpose=True,
)
ENABLE = Task(
    "accounts enable",
    _enable,
    frozenset({Verb.ENABLE}),
    decides_access=True,
    needs=(Verb.ENABLE,),
    on_purpose=True,
)
DISABLE = Task(
    "accounts disable",
    _disable,
    frozenset({Verb.DISABLE}),
    decides_access=True,
    needs=(Verb.DISABLE,),
    on_purpose=True,
)
SET_PASSWORD = Task(
    "accounts set-password",
    lambda hook, user: hook.set_password(user),
    _PASSWORD,
    needs=(Verb.SET_PASSWORD,),
)
RESET_PASSWORD = Task(
    "accounts reset-password",
    lambda hook, user: hook.reset_password(user),
    _PASSWORD,
    needs=(Verb.SET_PASSWORD,),
)


def delete(*, notify: bool) -> Task:
    """Remove accounts on purpose; the limits accept exactly those named."""
    return Task(
        "delete",
        lambda hook, user: hook.delete_user(user, notify_user=notify),
        _REMOVALS,
        decides_access=True,
        on_purpose=True,
    )


@dataclass(frozen=True, slots=True)
class Inverse:
    """What takes back one recorded operation. verb: None to take the account away altogether."""

    undo_of: int
    reason: str
    verb: Verb | None
    args: Mapping[str, Any]


def undo(name: str, inverses: Mapping[tuple[str, int], Sequence[Inverse]]) -> Task:
    """Take back what was done. inverses: by service and user id, in the order to be done."""

    def decide(hook: ServiceHook, user: User) -> Iterator[Operation]:
        for inverse in inverses.get((hook.name, user.id), ()):
            if inverse.verb is not None:
                operation = hook.operation(inverse.verb, user, inverse.reason, **inverse.args)
                yield replace(operation, undo_of=inverse.undo_of)
                continue
            for operation in hook.delete_user(user):
                yield replace(operation, reason=inverse.reason, undo_of=inverse.undo_of)

    return Task(
        name,
        decide,
        frozenset(),
        decides_access=True,
        on_purpose=True,
        limited=True,
        undoes=True,
    )


WISHES = ("activate", "delete", "groups", "nickname")
"""What steps of a pipeline may wish for on a service, in the order in which it is decided."""


def of_pipelines(pin: str | None) -> bool:
    """Whether a pipeline may decide about the account: no pin, or one by a pipeline."""
    return pin is None or pin.startswith("pipeline ")


def pipeline(name: str, wishes: Mapping[str, frozenset[str]]) -> Task:
    """What the steps of a pipeline wished for a user. wishes: service -> some of WISHES."""

    def decide(hook: ServiceHook, user: User) -> Iterator[Operation]:
        wished = wishes.get(hook.name, frozenset())
        free = of_pipelines(hook.account(user).pin)
        if "delete" in wished:
            if free:
                yield from hook.delete_user(user)
            return
        if "activate" in wished and free:
            yield from hook.validate_user(user)
            yield from _create(hook, user)
        if wished & {"activate", "groups"}:
            yield from hook.update_groups(user)
        if wished & {"activate", "nickname"}:
            yield from hook.sync_nickname(user)

    wished: frozenset[str] = frozenset().union(*wishes.values())
    decides = _CONTENT
    if wished & {"activate", "delete"}:
        decides = SYNC.decides
    return Task(
        f"pipeline {name}",
        decide,
        decides,
        decides_access=bool(wished & {"activate", "delete"}),
        on_purpose=bool(wished & {"activate", "delete"}),
        limited=True,
    )


def retry(creates: Container[tuple[str, int]]) -> Task:
    """What failed, decided anew.

    creates: the accounts, by service and user id, that an earlier operation was to create. It is
    an operator's word where `create` is manual, and where the account was pinned.
    """

    def decide(hook: ServiceHook, user: User) -> Iterator[Operation]:
        yield from _validate(hook, user)
        if (hook.name, user.id) in creates and hook.can(Verb.CREATE):
            yield from _create(hook, user)
        yield from hook.update_groups(user)
        yield from hook.sync_nickname(user)

    return Task("retry", decide, SYNC.decides, decides_access=True)
