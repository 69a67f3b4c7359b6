"""Several at once: threads, where the manager promises to be safe for them, and other processes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import pytest

from svcctl.errors import Conflict, ManagerError
from svcctl.hooks.manager import Manager
from svcctl.hooks.testing.manager.subject import Accounts, Connect, Made, Subject, needs

T = TypeVar("T")
NONE = frozenset[str]()
MOST = 8
ROUNDS = 3


class Threads(Subject):
    """What holds when several are at work."""

    @needs("create_account")
    def test_threads_do_not_mix_accounts_up(self, manager: Manager, accounts: Accounts) -> None:
        number = self._promised(manager)
        asked = [[accounts.ask(f"t{n}r{r}") for r in range(ROUNDS)] for n in range(number)]

        def life(n: int) -> list[Made]:
            made = []
            for one in asked[n]:
                created = manager.create_account(one)
                accounts.remember(created.uid)
                if self.can(manager, "set_nickname"):
                    manager.set_nickname(created.uid, f"nick of {one.name}")
                if self.can(manager, "disable_account"):
                    manager.disable_account(created.uid)
                made.append(Made(created.uid, one))
            return made

        for made in (one for lives in _at_once(number, life) for one in lives):
            shown = accounts.look(made.uid)
            assert shown.name == made.name, "a thread got the account of another"
            if self.can(manager, "set_nickname"):
                assert shown.nickname in (None, f"nick of {made.name}")
            if self.can(manager, "disable_account"):
                assert not shown.active, "a thread disabled the account of another"

    @needs("create_account", "change_groups")
    def test_threads_lose_no_member_of_a_group(
        self, manager: Manager, accounts: Accounts, groups: tuple[str, ...]
    ) -> None:
        number = self._promised(manager)
        made = [accounts.new(f"t{n}") for n in range(number)]
        first = frozenset(groups[:1])
        _at_once(number, lambda n: manager.change_groups(made[n].uid, first, NONE))
        for one in made:
            assert first <= accounts.groups(one.uid), "a member got lost among others"
        _at_once(number, lambda n: manager.change_groups(made[n].uid, NONE, first))
        for one in made:
            assert not first & accounts.groups(one.uid), "a member came back among others"

    @needs("create_account")
    def test_of_many_who_want_one_name_one_gets_it(
        self, opened: Connect, accounts: Accounts, manager: Manager
    ) -> None:
        """By managers of their own, as several programs would."""
        name = accounts.ask("ada").name
        managers = [opened() for _ in range(4)]
        asked = [accounts.ask_for(name) for _ in managers]

        def create(n: int) -> str | ManagerError:
            try:
                return managers[n].create_account(asked[n]).uid
            except ManagerError as error:
                return error

        ends = _at_once(len(managers), create)
        won = [end for end in ends if isinstance(end, str)]
        for uid in won:
            accounts.remember(uid)
        assert len(won) == 1, f"{len(won)} of {len(ends)} got the name {name}: {ends}"
        lost = [end for end in ends if not isinstance(end, (str, Conflict))]
        assert not lost, f"whoever comes too late is told Conflict, and not {lost}"
        if self.can(manager, "list_accounts"):
            named = [one.uid for one in manager.list_accounts() if one.name == name]
            assert named == won, "the accounts of others are left over"

    def _promised(self, manager: Manager) -> int:
        if manager.concurrency == 1:
            pytest.skip(f"{type(manager).__name__} promises no thread-safety: concurrency is 1")
        return min(manager.concurrency, MOST)


def _at_once(number: int, work: Callable[[int], T]) -> list[T]:
    """What so many threads come to that begin at the same moment."""
    ready = Barrier(number)

    def begin(n: int) -> T:
        ready.wait(10)
        return work(n)

    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(begin, range(number)))
