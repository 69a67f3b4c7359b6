"""Hooks as other people write them: wrong, hostile, or merely unusual. Named as `module:Class`."""

import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from svcctl.errors import Denied, RateLimited, Transient
from svcctl.hooks.manager import Created, GroupChange, Manager, NewAccount, RateLimit, RemoteAccount
from svcctl.hooks.sandbox import SandboxHook, SandboxManager
from svcctl.model import Operation, User, Verb
from svcctl.names import NameRule


class ForgetfulHook(SandboxHook):
    """Ported from Alliance Auth line by line: calls and does not yield."""

    def validate_user(self, user: User) -> Any:
        if not self.service_active_for_user(user):
            self.delete_user(user, notify_user=True)


class MeddlingHook(SandboxHook):
    """Acts on somebody else."""

    def validate_user(self, user: User) -> Iterator[Operation]:
        for operation in super().validate_user(user):
            yield replace(operation, user_id=user.id + 1)


class TruthfulHook(SandboxHook):
    """Returns True, as Alliance Auth's delete_user does."""

    def delete_user(self, user: User, notify_user: bool = False) -> Any:  # noqa: FBT001, FBT002
        return True


class WordyHook(SandboxHook):
    """Yields something that is no operation."""

    def validate_user(self, user: User) -> Any:
        yield "delete_account"


class MoodyHook(SandboxHook):
    """Fails for one user."""

    def groups_for(self, user: User) -> frozenset[str]:
        if user.username == "bob":
            raise KeyError("no main character")
        return super().groups_for(user)


class NoPasswordManager(Manager):
    """Can make accounts and delete them, and no more."""

    def __init__(self, path: Path, **_: Any) -> None:
        self.path = path

    def create_account(self, new: Any) -> Any:
        raise AssertionError("never asked")

    def delete_account(self, uid: str) -> None:
        raise AssertionError("never asked")


class OverreachingHook(SandboxHook):
    """Yields a verb that its manager has not."""

    manager_class = NoPasswordManager  # type: ignore[assignment]

    def create_user(self, user: User) -> Iterator[Operation]:
        yield from super().create_user(user)
        yield self.operation(Verb.SET_PASSWORD, user, "a first password")


class DialingHook(SandboxHook):
    """Asks the network while it decides, and swallows the refusal."""

    def groups_for(self, user: User) -> frozenset[str]:
        with suppress(Exception):  # as careless code does
            socket.create_connection(("127.0.0.1", 9), timeout=0.1)
        return super().groups_for(user)


class NotingHook(SandboxHook):
    """Keeps a file of what it decided."""

    def groups_for(self, user: User) -> frozenset[str]:
        with open("decisions.txt", "a", encoding="utf-8") as file:  # noqa: PTH123
            file.write(user.username)
        return super().groups_for(user)


class CaselessHook(SandboxHook):
    """The service takes Ada and ada for the same name, and no blanks."""

    username_rule = NameRule(case_sensitive=False, replace={" ": "_"}, max_length=64)


class PickyHook(SandboxHook):
    """Group names of two characters or more, and a nickname that nobody may have."""

    group_rule = NameRule(min_length=2)
    nickname_rule = NameRule(min_length=0, reserved=frozenset({"root"}))


# Managers that do something odd. What they note is in NOTED, by method and moment.

NOTED: list[tuple[str, float]] = []


class NotingManager(SandboxManager):
    """Notes when each change of a nickname, each create and each look begins."""

    def set_nickname(self, uid: str, nickname: str) -> None:
        NOTED.append(("set_nickname", time.monotonic()))
        super().set_nickname(uid, nickname)

    def create_account(self, new: NewAccount) -> Created:
        NOTED.append(("create_account", time.monotonic()))
        return super().create_account(new)

    def find_account(self, external_id: str, name: str) -> RemoteAccount | None:
        NOTED.append(("find_account", time.monotonic()))
        return super().find_account(external_id, name)


class MeteredManager(SandboxManager):
    rate = RateLimit(20)

    def set_nickname(self, uid: str, nickname: str) -> None:
        NOTED.append(("set_nickname", time.monotonic()))


class MeteredHook(SandboxHook):
    """A service of twenty calls a second."""

    manager_class = MeteredManager


class BusyManager(SandboxManager):
    """The tenth change of a nickname is one too many."""

    lock = threading.Lock()

    def set_nickname(self, uid: str, nickname: str) -> None:
        with self.lock:
            NOTED.append(("set_nickname", time.monotonic()))
            number = len(NOTED)
        if number == 10:
            raise RateLimited("too many", retry_after=1.5)
        time.sleep(0.1)
        super().set_nickname(uid, nickname)


class BusyHook(SandboxHook):
    manager_class = BusyManager


class ClosedManager(NotingManager):
    """Come back in an hour."""

    def set_nickname(self, uid: str, nickname: str) -> None:
        NOTED.append(("set_nickname", time.monotonic()))
        raise RateLimited("closed", retry_after=3600)


class ClosedHook(SandboxHook):
    manager_class = ClosedManager


class NaggingManager(NotingManager):
    """Always wants a moment more."""

    def set_nickname(self, uid: str, nickname: str) -> None:
        NOTED.append(("set_nickname", time.monotonic()))
        raise RateLimited("not yet", retry_after=0.1)


class NaggingHook(SandboxHook):
    manager_class = NaggingManager


class MeetingManager(SandboxManager):
    """A nickname is only set when four are set at once; more than four is too many."""

    concurrency = 4
    meeting = threading.Barrier(4)
    present = 0
    most = 0
    lock = threading.Lock()

    def set_nickname(self, uid: str, nickname: str) -> None:
        cls = MeetingManager
        with cls.lock:
            cls.present += 1
            cls.most = max(cls.most, cls.present)
        try:
            cls.meeting.wait(timeout=20)
        except threading.BrokenBarrierError:
            raise Denied("nobody else came") from None
        finally:
            with cls.lock:
                cls.present -= 1
        super().set_nickname(uid, nickname)


class MeetingHook(SandboxHook):
    manager_class = MeetingManager


class SearchingManager(SandboxManager):
    """An account is only found when four are searched for at once."""

    concurrency = 4
    meeting = threading.Barrier(4)

    def find_account(self, external_id: str, name: str) -> RemoteAccount | None:
        try:
            SearchingManager.meeting.wait(timeout=5)
        except threading.BrokenBarrierError:
            raise Denied("nobody else came") from None
        return super().find_account(external_id, name)


class SearchingHook(SandboxHook):
    manager_class = SearchingManager


class UnsearchableManager(SandboxManager):
    find_account = Manager.find_account


class UnsearchableHook(SandboxHook):
    """Nothing can be looked for there."""

    manager_class = UnsearchableManager


class RenamingManager(SandboxManager):
    """Gives another name than was asked for, and says so in the answer only."""

    def create_account(self, new: NewAccount) -> Created:
        return super().create_account(replace(new, name=f"{new.name}_2"))


class RenamingHook(SandboxHook):
    manager_class = RenamingManager


class TakeoverManager(SandboxManager):
    """Like IPS4: who asks for a name that differs by case only is given the first one's account."""

    lock = threading.Lock()

    def create_account(self, new: NewAccount) -> Created:
        with self.lock:
            for account in self.accounts():
                if account.name.lower() == new.name.lower():
                    return Created(account.uid, new.name)
            return super().create_account(new)


class TakeoverHook(SandboxHook):
    manager_class = TakeoverManager


class Unsayable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


ODD = {
    "user00000": KeyError("id"),
    "user00001": SystemExit(3),
    "user00002": Unsayable(),
    "user00003": KeyboardInterrupt(),
}


class OddManager(SandboxManager):
    """Fails in ways that no contract knows, after it has done what was asked, for some."""

    def set_nickname(self, uid: str, nickname: str) -> None:
        super().set_nickname(uid, nickname)
        if nickname in ODD:
            raise ODD[nickname]


class OddHook(SandboxHook):
    manager_class = OddManager


class OddCreatingManager(SandboxManager):
    """Makes the account and then stumbles over its own answer, for some."""

    concurrency = 1

    def create_account(self, new: NewAccount) -> Created:
        created = super().create_account(new)
        if new.name in ODD:
            raise ODD[new.name]
        return created


class OddCreatingHook(SandboxHook):
    manager_class = OddCreatingManager


class OddReadingManager(SandboxManager):
    """Stumbles whenever it reads."""

    def find_account(self, external_id: str, name: str) -> RemoteAccount | None:
        raise LookupError("unexpected answer")

    def get_account(self, uid: str) -> RemoteAccount:
        raise LookupError("unexpected answer")

    def list_accounts(self) -> Iterator[RemoteAccount]:
        raise LookupError("unexpected answer")


class OddReadingHook(SandboxHook):
    manager_class = OddReadingManager


class UnbuildableManager(SandboxManager):
    def __init__(self, path: Path, **_: Any) -> None:
        raise ValueError(f"{path}: no")


class UnbuildableHook(SandboxHook):
    manager_class = UnbuildableManager


class UnclosableManager(SandboxManager):
    def close(self) -> None:
        super().close()
        raise ValueError("already closed")


class UnclosableHook(SandboxHook):
    manager_class = UnclosableManager


class SignallingManager(SandboxManager):
    """The third create is done, its answer is lost, and the operator has had enough."""

    made = 0

    def create_account(self, new: NewAccount) -> Created:
        created = super().create_account(new)
        cls = SignallingManager
        cls.made += 1
        if cls.made == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.3)
            raise Transient("no answer")
        return created


class SignallingHook(SandboxHook):
    manager_class = SignallingManager


class FullDiskManager(SandboxManager):
    """While the thirtieth nickname is set, svcctl's own database stops taking writes."""

    count = 0

    def set_nickname(self, uid: str, nickname: str) -> None:
        super().set_nickname(uid, nickname)
        cls = FullDiskManager
        cls.count += 1
        if cls.count == 30:
            with closing(sqlite3.connect("svcctl.db", timeout=30)) as own, own:
                own.execute(
                    "CREATE TRIGGER full BEFORE UPDATE ON operations"
                    " BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END"
                )


class FullDiskHook(SandboxHook):
    manager_class = FullDiskManager


class SecretiveManager(SandboxManager):
    """Shows accounts, and never their groups."""

    def list_accounts(self) -> Iterator[RemoteAccount]:
        for account in super().list_accounts():
            yield replace(account, groups=None)

    def get_account(self, uid: str) -> RemoteAccount:
        return replace(super().get_account(uid), groups=None)


class SecretiveHook(SandboxHook):
    manager_class = SecretiveManager


class PiecemealManager(SandboxManager):
    """Changes groups one after the other, as most services do, and tells them in its list only."""

    def get_account(self, uid: str) -> RemoteAccount:
        return replace(super().get_account(uid), groups=None)

    def change_groups(self, uid: str, add: frozenset[str], remove: frozenset[str]) -> GroupChange:
        for name in sorted(add):
            super().change_groups(uid, frozenset({name}), frozenset())
        for name in sorted(remove):
            super().change_groups(uid, frozenset(), frozenset({name}))
        return GroupChange(add, remove)


class PiecemealHook(SandboxHook):
    manager_class = PiecemealManager


class UnfinishedManager(SandboxManager):
    """Needs two requests for each verb; what was an answer lost is a second one refused."""

    @contextmanager
    def _second(self) -> Iterator[None]:
        try:
            yield
        except Transient as error:
            raise Denied("not allowed to look any more") from error

    def create_account(self, new: NewAccount) -> Created:
        with self._second():
            return super().create_account(new)

    def enable_account(self, uid: str) -> None:
        with self._second():
            super().enable_account(uid)

    def disable_account(self, uid: str) -> None:
        with self._second():
            super().disable_account(uid)


class UnfinishedHook(SandboxHook):
    manager_class = UnfinishedManager


class TwiceManager(SandboxManager):
    """The first page comes again when others have been read."""

    def list_accounts(self) -> Iterator[RemoteAccount]:
        first = list(super().list_accounts())
        yield from first
        for number in range(3000):
            yield RemoteAccount(f"foreign-{number}", f"foreign{number}", groups=frozenset())
        yield from first


class TwiceHook(SandboxHook):
    manager_class = TwiceManager


class BossyHook(SandboxHook):
    """Has an opinion on somebody who has no account."""

    def update_all_groups(self, users: Iterable[User]) -> Iterator[Operation]:
        yield self.operation(Verb.CHANGE_GROUPS, User(99, "nobody"), "so", add=["x"], remove=[])


class BrokenHook(SandboxHook):
    def update_all_groups(self, users: Iterable[User]) -> Iterator[Operation]:
        yield from super().update_all_groups([])
        raise ZeroDivisionError


class TogetherHook(SandboxHook):
    """Everybody into a group that is called after how many there are."""

    def update_all_groups(self, users: Iterable[User]) -> Iterator[Operation]:
        everybody = list(users)
        for user in everybody:
            name = f"of {len(everybody)}"
            yield self.operation(Verb.CHANGE_GROUPS, user, "counted", add=[name], remove=[])


class DyingManager(SandboxManager):
    """Kills the process where ENGINE_KILL says: `create_account after 3` is its third create."""

    concurrency = 1

    def __init__(self, path: Path, **settings: Any) -> None:
        self.where = tuple(os.environ.get("ENGINE_KILL", "never").split())
        self.count: dict[tuple[str, str], int] = {}
        self._die("build", "before")
        super().__init__(path, **settings)

    def _die(self, method: str, moment: str) -> None:
        self.count[method, moment] = self.count.get((method, moment), 0) + 1
        if self.where == (method, moment, str(self.count[method, moment])):
            os.kill(os.getpid(), signal.SIGKILL)

    def find_account(self, external_id: str, name: str) -> RemoteAccount | None:
        found = super().find_account(external_id, name)
        self._die("find_account", "after")
        return found

    def create_account(self, new: NewAccount) -> Created:
        self._die("create_account", "before")
        created = super().create_account(new)
        self._die("create_account", "after")
        return created

    def set_nickname(self, uid: str, nickname: str) -> None:
        self._die("set_nickname", "before")
        super().set_nickname(uid, nickname)
        self._die("set_nickname", "after")

    def change_groups(self, uid: str, add: frozenset[str], remove: frozenset[str]) -> GroupChange:
        done = super().change_groups(uid, add, remove)
        self._die("change_groups", "after")
        return done

    def disable_account(self, uid: str) -> None:
        super().disable_account(uid)
        self._die("disable_account", "after")

    def delete_account(self, uid: str) -> None:
        super().delete_account(uid)
        self._die("delete_account", "after")


class DyingHook(SandboxHook):
    manager_class = DyingManager


class SlowListManager(SandboxManager):
    """Lists accounts without their groups, which each of them shows."""

    def list_accounts(self) -> Iterator[RemoteAccount]:
        return (replace(one, groups=None) for one in super().list_accounts())


class SlowListHook(SandboxHook):
    manager_class = SlowListManager
