"""What undos put back, and until when runs leave it so."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.decide import decide
from svcctl.model import Account, Operation, UndoPin, User, Verb, to_json
from svcctl.store import undo as undo_rows
from svcctl.store.census import stream
from svcctl.store.database import Connection
from svcctl.tasks.task import SYNC

_REMOVALS = frozenset({Verb.DISABLE, Verb.DELETE})


def basis(hook: ServiceHook, user: User) -> str:
    """A fingerprint of what the policy goes by for the user, and of what it wants for that.

    Of the user's attributes only what comes of them counts: a source may write something into them
    at every pull.
    """
    from hashlib import sha256

    inputs = {
        "active": user.active,
        "state": user.state,
        "groups": user.groups,
        "superuser": user.superuser,
        "allowed": _asked(lambda: bool(hook.service_active_for_user(user))),
        "wanted": _asked(lambda: sorted(hook.groups_for(user))),
        "nickname": _asked(lambda: hook.nickname_for(user)),
    }
    return sha256(to_json(inputs).encode()).hexdigest()[:32]


def _asked(question: Callable[[], Any]) -> Any:
    try:
        return question()
    except Exception:  # noqa: BLE001 - a hook is foreign code, and that it fails is an answer
        return None


@dataclass(slots=True)
class Pins:
    """The pins of some users' accounts, by row id: those that stand, and those that have ended."""

    standing: dict[int, UndoPin] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)

    def allowed(
        self, account: Account, operations: tuple[Operation, ...], *, asked_for: bool = False
    ) -> tuple[Operation, ...]:
        """What runs may do. asked_for: a user's own word, which takes the account away at least."""
        pin = self.standing.get(account.id or 0)
        if pin is None:
            return operations
        return tuple(
            operation
            for operation in operations
            if not pin.left_alone(operation.verb) or (asked_for and operation.verb in _REMOVALS)
        )

    def as_kept(self, account: Account, intended: Account) -> Account:
        """The account as it should be, where what an undo put back is right as it is."""
        pin = self.standing.get(account.id or 0)
        if pin is not None and pin.left_alone(Verb.CHANGE_GROUPS):
            intended = replace(intended, groups=account.groups)
        if pin is not None and pin.left_alone(Verb.SET_NICKNAME):
            intended = replace(intended, nickname=account.nickname)
        return intended


def look(
    connection: Connection,
    hooks: Mapping[str, ServiceHook],
    users: frozenset[int] | None,
    states: Mapping[int, str] | None,
    verified: Mapping[int, UndoPin] | None = None,
) -> Pins:
    """Which pins of these users (None: everybody) stand.

    states: see `stream`. verified: pins as verification found them, not written yet.
    """
    found = Pins()
    by_user: dict[int, list[tuple[int, str, UndoPin]]] = {}
    for id_, user_id, service, pin in undo_rows.pinned(connection, hooks):
        if users is None or user_id in users:
            by_user.setdefault(user_id, []).append((id_, service, (verified or {}).get(id_, pin)))
    if not by_user:
        return found
    for user, _ in stream(connection, frozenset(by_user), (), states=states):
        for id_, service, pin in by_user[user.id]:
            if pin.basis == basis(hooks[service], user):
                found.standing[id_] = pin
            else:
                found.ended.add(id_)
    return found


def needed(hook: ServiceHook, user: User, left: Account, *, at: str) -> bool:
    """Whether the policy would change the account again that an undo leaves so."""
    try:
        return bool(decide(hook, user, left, SYNC.decide, at=at))
    except Exception:  # noqa: BLE001 - it cannot be told, and what was put back is to stay
        return True
