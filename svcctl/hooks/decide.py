"""Asking a hook: each operation is folded into the account before the next one is decided."""

from collections.abc import Callable, Iterable, Iterator

from svcctl.errors import HookError
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import VERBS
from svcctl.model import Account, Operation, User, effect
from svcctl.tripwire import asking


def decide(
    hook: ServiceHook,
    user: User,
    account: Account,
    decision: Callable[[ServiceHook, User], Iterable[Operation]],
    *,
    at: str,
) -> tuple[Operation, ...]:
    """The operations that the hook yields about one user, each folded before the next is asked for.

    `at` is the moment of the plan. Raises HookError when the hook breaks its contract.
    """
    view = hook._accounts  # noqa: SLF001 - the engine owns the view that `account()` reads
    view.clear()
    view[user.id] = account
    operations = []
    try:
        for operation in checked(hook, decision(hook, user)):
            if operation.user_id != user.id:
                raise HookError(
                    f"services.{hook.name}: an operation for user {operation.user_id} "
                    f"in a decision about {user.username}",
                    hint="a decision is about the user that it was given",
                )
            view[user.id] = effect(view[user.id], operation, at=at)
            operations.append(operation)
    finally:
        view.clear()
    return tuple(operations)


def checked(hook: ServiceHook, operations: Iterable[Operation]) -> Iterator[Operation]:
    unfinished = hook._unfinished  # noqa: SLF001
    unfinished.clear()
    asking(hook.name)
    for operation in operations:
        if not isinstance(operation, Operation):
            raise HookError(
                f"services.{hook.name}: a decision yielded {type(operation).__name__}",
                hint="yield what self.operation(...) returns",
            )
        if operation.verb.value not in VERBS or not hook.can(operation.verb):
            manager = hook.manager_class.__name__
            raise HookError(
                f"services.{hook.name}: {manager} has no {operation.verb.value}",
                hint="define it in the manager, or do not yield it",
            )
        yield operation
    dropped = next((mark[0] for mark in unfinished if mark), None)
    unfinished.clear()
    if dropped:
        raise HookError(
            f"services.{hook.name}: {dropped} was called and its operations were dropped",
            hint=f"write: yield from self.{dropped}(user)",
        )
