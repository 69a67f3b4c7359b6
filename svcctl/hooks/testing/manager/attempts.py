"""Calls that are made while the service fails: what they are, and what may come of them."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from svcctl.errors import ManagerError
from svcctl.hooks.manager import Manager
from svcctl.hooks.testing.faults import KINDS, RETRY_AFTER, Faults
from svcctl.hooks.testing.manager.subject import Accounts, Connect, Subject

NONE = frozenset[str]()
MOST = 40
"""More exchanges than any one call should need."""
TELLING = frozenset({"error", "lost"})


@dataclass(slots=True)
class Attempt:
    """A call on an account that was made ready for it.

    right: whether what it returned, and what the service shows then, are what they should be.
    once: whether doing it again is not the same (create, delete). undo: what must not be left over.
    """

    what: str
    call: Callable[[Manager], Any]
    right: Callable[[Any], bool]
    once: bool = False
    undo: Callable[[], object] = lambda: None

    def fails_well(self, connect: Connect, faults: Faults, kind: str, nth: int, end: float) -> bool:
        """Whether the fault struck; fails the test unless the error fits, or the answer is right.

        end: seconds in which the manager must have given up.
        """
        here = f"{self.what}, {kind} at exchange {nth}"
        error: ManagerError | None = None
        answer: Any = None
        # A fresh one: what was told to wait an hour is of no use any more.
        manager = connect()
        begun = time.monotonic()
        with faults.strike(kind, nth) as strike:
            try:
                answer = self.call(manager)
            except ManagerError as raised:
                error = raised
            except NotImplementedError:
                raise
            except Exception as raised:
                raise AssertionError(
                    f"{here}: a manager raises ManagerErrors and nothing else, this is "
                    f"{type(raised).__name__}: {raised}"
                ) from raised
        took = time.monotonic() - begun
        if not strike.happened:
            if error is not None:
                raise AssertionError(f"{here}: nothing went wrong; it raised {error!r}") from error
            return False
        assert took < end, f"{here}: it took {took:.0f} s to give up"
        if error is None:
            assert self.right(answer), f"{here}: said yes ({answer!r}), and it is not so"
            return True
        wanted = " or ".join(one.__name__ for one in KINDS[kind])
        assert isinstance(error, KINDS[kind]), f"{here}: must raise {wanted}, not {error!r}"
        if kind == "limited" and nth == 1:
            assert error.retry_after == pytest.approx(RETRY_AFTER, abs=5), (
                f"{here}: it was asked to wait {RETRY_AFTER:.0f} s, and retry_after is "
                f"{error.retry_after}"
            )
        return True

    def again(self, manager: Manager, kind: str, nth: int) -> None:
        """As the engine does it when the service answers again: what is not done is repeated."""
        answer = None
        if not (self.once and self.right(None)):
            try:
                answer = self.call(manager)
            except ManagerError as error:
                raise AssertionError(
                    f"{self.what}: cannot be repeated after {kind} at exchange {nth}: {error!r}"
                ) from error
        assert self.right(answer), (
            f"{self.what}: repeated after {kind} at exchange {nth}, and it is not so"
        )


def everywhere(what: str, kinds: Iterable[str], strikes: Callable[[str, int], bool]) -> None:
    """Let each kind of fault strike, and tell `strikes` where; it says whether it did.

    Those that are most telling strike at every exchange with the service that a call needs, the
    others at the first, the middle and the last.
    """
    kinds = sorted(kinds, key=lambda kind: (kind not in TELLING, kind))
    last = 0
    for kind in kinds:
        if kind in TELLING or not last:
            last = 0
            while strikes(kind, last + 1):
                last += 1
                assert last < MOST, f"{what}: needs more than {MOST} exchanges with the service"
            assert last, f"{what}: no fault struck; does the manager go through `faults`?"
        else:
            for nth in sorted({1, (1 + last) // 2, last}):
                strikes(kind, nth)


def reading(read: str, manager: Manager, accounts: Accounts) -> Attempt:
    """A read while there is an account; right is what it says when nothing is wrong."""
    made = accounts.new("ada")
    calls: dict[str, Callable[[Manager], Any]] = {
        "check": lambda one: one.check(),
        "list_accounts": lambda one: {each.uid: each for each in one.list_accounts()}.get(made.uid),
        "get_account": lambda one: one.get_account(made.uid),
        "find_account": lambda one: one.find_account(made.asked.external_id, made.name),
        "list_groups": lambda one: sorted(one.list_groups()),
    }
    expected = calls[read](manager)
    return Attempt(read, calls[read], lambda answer: bool(answer == expected))


def doing(
    verb: str, subject: Subject, manager: Manager, accounts: Accounts, groups: tuple[str, ...]
) -> Attempt:
    """A verb on an account of which it is not true yet."""
    if verb == "create_account":
        asked = accounts.ask("ada")
        return Attempt(
            verb,
            lambda one: accounts.remember(one.create_account(asked).uid),
            lambda _: accounts.taken(asked),
            once=True,
        )
    uid = accounts.new("ada").uid
    if verb == "enable_account" and subject.can(manager, "disable_account"):
        manager.disable_account(uid)
    if verb == "change_groups":
        manager.change_groups(uid, frozenset(groups[:1]), NONE)
    leave, join = frozenset(groups[:1]), frozenset(groups[1:2])
    password = accounts.ask().password
    attempts = {
        "disable_account": Attempt(
            verb, lambda one: one.disable_account(uid), lambda _: not accounts.look(uid).active
        ),
        "enable_account": Attempt(
            verb, lambda one: one.enable_account(uid), lambda _: accounts.look(uid).active
        ),
        "delete_account": Attempt(
            verb, lambda one: one.delete_account(uid), lambda _: accounts.gone(uid), once=True
        ),
        "set_password": Attempt(verb, lambda one: one.set_password(uid, password), lambda _: True),
        "set_nickname": Attempt(
            verb,
            lambda one: one.set_nickname(uid, "Countess"),
            lambda _: accounts.look(uid).nickname in (None, "Countess"),
        ),
        "change_groups": Attempt(
            verb,
            lambda one: one.change_groups(uid, join, leave),
            lambda _: join <= accounts.groups(uid) and not leave & accounts.groups(uid),
            # Some services keep the members that they have no account of any more.
            undo=lambda: manager.change_groups(uid, NONE, join),
        ),
    }
    return attempts[verb]
