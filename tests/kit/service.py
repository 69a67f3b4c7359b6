"""A service in memory and a manager that keeps the contract: what the broken ones differ from."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from svcctl.errors import (
    Conflict,
    Denied,
    Incomplete,
    Invalid,
    ManagerError,
    NotFound,
    RateLimited,
    Transient,
)
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import Created, GroupChange, Manager, NewAccount, RemoteAccount
from svcctl.hooks.testing import Faults, Strike
from svcctl.names import NameRule

T = TypeVar("T")
TOKEN = "the-token-of-the-manager"
GROUPS = ("staff", "officers", "guests")
PAGE = 4


class Broken(Exception):
    """What the network says instead of the service."""


@dataclass
class Service:
    """Accounts by uid, one exchange at a time. Names are the same in any case.

    lax: who is disabled is let in.
    """

    accounts: dict[str, RemoteAccount] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    numbers: int = 0
    lax: bool = False
    fault: str = ""
    left: int = 0
    strike: Strike = field(default_factory=Strike)

    def ask(self, token: str, act: Callable[[], T]) -> T:
        with self.lock:
            kind = ""
            if self.fault:
                self.left -= 1
                kind = self.fault if self.left <= 0 else ""
            if kind and kind != "short":
                self.strike.happened = True
                if kind not in ("lost", "garbled"):
                    raise Broken(kind)
            if token != TOKEN:
                raise Broken("denied")
            answer = act()
            if kind in ("lost", "garbled"):
                raise Broken(kind)
            return answer

    def named(self, name: str) -> RemoteAccount | None:
        wanted = name.casefold()
        found = (one for one in self.accounts.values() if one.name.casefold() == wanted)
        return next(found, None)

    def add(self, new: NewAccount) -> RemoteAccount:
        self.numbers += 1
        uid = f"uid-{self.numbers}"
        self.accounts[uid] = RemoteAccount(
            uid, new.name, external_id=new.external_id, groups=frozenset(), nickname=""
        )
        self.passwords[uid] = new.password
        return self.accounts[uid]

    def change(self, uid: str, **changes: Any) -> None:
        self.accounts[uid] = replace(self.accounts[uid], **changes)

    def page(self, start: int) -> tuple[list[RemoteAccount], int]:
        page = list(self.accounts.values())[start : start + PAGE]
        if self.fault == "short" and page:
            self.strike.happened = True
            page.pop()
        return page, len(self.accounts)

    def groups(self) -> tuple[list[str], int]:
        groups = list(GROUPS)
        if self.fault == "short":
            self.strike.happened = True
            groups.pop()
        return groups, len(GROUPS)

    def logs_in(self, name: str, password: str) -> bool:
        account = self.named(name)
        if account is None or self.passwords[account.uid] != password:
            return False
        return account.active or self.lax


class ServiceFaults(Faults):
    kinds = frozenset(
        {"refused", "error", "malformed", "limited", "denied", "lost", "garbled", "short"}
    )

    def __init__(self, service: Service) -> None:
        self._service = service

    @contextmanager
    def strike(self, kind: str, nth: int = 1) -> Iterator[Strike]:
        service = self._service
        service.fault, service.left, service.strike = kind, nth, Strike()
        yield service.strike
        service.fault = ""


ERRORS: Mapping[str, Callable[[], ManagerError]] = MappingProxyType(
    {
        "limited": lambda: RateLimited("429", retry_after=3600),
        "denied": lambda: Denied("401", hint="check the token"),
        **{
            kind: partial(Transient, kind)
            for kind in ("refused", "error", "malformed", "lost", "garbled")
        },
    }
)


class GoodManager(Manager):
    """Keeps every promise."""

    concurrency = 4
    stores_external_id = True

    def __init__(self, service: Service, token: str = TOKEN) -> None:
        self.service = service
        self.token = token

    def ask(self, act: Callable[[], T]) -> T:
        try:
            return self.service.ask(self.token, act)
        except Broken as broken:
            error = ERRORS[str(broken)]()
        raise error

    def check(self) -> None:
        self.ask(lambda: None)

    def list_accounts(self) -> Iterator[RemoteAccount]:
        start = 0
        while True:
            page, total = self.ask(partial(self.service.page, start))
            yield from page
            start += len(page)
            if start >= total:
                return
            if len(page) < PAGE:
                raise Incomplete(f"{start} of {total}")

    def get_account(self, uid: str) -> RemoteAccount:
        return self.ask(lambda: self.have(uid))

    def have(self, uid: str) -> RemoteAccount:
        if uid not in self.service.accounts:
            raise NotFound(f"no account {uid}")
        return self.service.accounts[uid]

    def find_account(self, external_id: str, name: str) -> RemoteAccount | None:
        return self.ask(lambda: self.by_key(external_id) or self.service.named(name))

    def by_key(self, external_id: str) -> RemoteAccount | None:
        everybody = self.service.accounts.values()
        return next((one for one in everybody if one.external_id == external_id), None)

    def list_groups(self) -> list[str]:
        groups, number = self.ask(self.service.groups)
        if len(groups) < number:
            raise Incomplete(f"{len(groups)} of {number} groups")
        return groups

    def create_account(self, new: NewAccount) -> Created:
        return self.ask(lambda: self.create(new))

    def create(self, new: NewAccount) -> Created:
        if self.service.named(new.name):
            raise Conflict(f"{new.name} is taken")
        account = self.service.add(new)
        return Created(account.uid, account.name)

    def change(self, uid: str, **changes: Any) -> None:
        def act() -> None:
            self.have(uid)
            self.service.change(uid, **changes)

        self.ask(act)

    def enable_account(self, uid: str) -> None:
        self.change(uid, active=True)

    def disable_account(self, uid: str) -> None:
        self.change(uid, active=False)

    def delete_account(self, uid: str) -> None:
        self.ask(lambda: self.service.accounts.pop(self.have(uid).uid))

    def set_password(self, uid: str, password: str) -> None:
        self.ask(lambda: self.service.passwords.update({self.have(uid).uid: password}))

    def set_nickname(self, uid: str, nickname: str) -> None:
        self.change(uid, nickname=nickname)

    def change_groups(self, uid: str, add: frozenset[str], remove: frozenset[str]) -> GroupChange:
        if unknown := add - set(GROUPS):
            self.get_account(uid)
            raise Invalid(f"no group {min(unknown)}")
        added = {name for name in sorted(add) if self.member(uid, name, wanted=True)}
        removed = {name for name in sorted(remove) if self.member(uid, name, wanted=False)}
        return GroupChange(frozenset(added), frozenset(removed))

    def member(self, uid: str, group: str, *, wanted: bool) -> bool:
        """Whether it took a change."""

        def act() -> bool:
            groups = self.have(uid).groups or frozenset()
            after = groups | {group} if wanted else groups - {group}
            self.service.change(uid, groups=after)
            return groups != after

        return self.ask(act)


class GoodHook(ServiceHook):
    manager_class = GoodManager
    username_rule = NameRule(case_sensitive=False, max_length=64)
    nickname_rule = NameRule(min_length=0, max_length=64)

    def manager_arguments(self) -> dict[str, Any]:
        return {**super().manager_arguments(), "service": Service()}
