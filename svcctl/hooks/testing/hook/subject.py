"""What is asked: a hook with settings, users and accounts, and its decisions as the engine asks."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import product
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from svcctl.clock import stamp
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.decide import decide
from svcctl.model import Account, AccountStatus, Operation, User, Verb
from svcctl.names import NameRule
from svcctl.tripwire import tripwire

Decision = Callable[[ServiceHook, User], Iterable[Operation]]
DECISIONS: Mapping[str, Decision] = MappingProxyType(
    {
        "create_user": lambda hook, user: hook.create_user(user),
        "delete_user": lambda hook, user: hook.delete_user(user),
        "validate_user": lambda hook, user: hook.validate_user(user),
        "sync_nickname": lambda hook, user: hook.sync_nickname(user),
        "update_groups": lambda hook, user: hook.update_groups(user),
        "update_all_groups": lambda hook, user: hook.update_all_groups([user]),
        "set_password": lambda hook, user: hook.set_password(user),
        "reset_password": lambda hook, user: hook.reset_password(user),
    }
)
CONVERGING = ("create_user", "delete_user", "validate_user", "sync_nickname", "update_groups")
REMOVALS = frozenset({Verb.DISABLE, Verb.DELETE})
GRACE = timedelta(days=30)
ACCOUNTS = ("absent", "active", "disabled", "disabled long ago")
USERS = ("member", "stranger", "inactive")


class Subject:
    """What a subclass says of its hook; see HookContract."""

    hook_class: ClassVar[type[ServiceHook]]
    settings: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    member: ClassVar[User] = User(
        1,
        "ada",
        state="Member",
        groups=frozenset({"staff", "officers"}),
        attributes={"character_name": "Ada Lovelace", "email": "ada@example.org"},
    )
    stranger: ClassVar[User] = User(
        2,
        "kim",
        state="Guest",
        groups=frozenset({"staff"}),
        attributes={"character_name": "Kim Philby", "email": "kim@example.org"},
    )

    def hook(self, **settings: Any) -> ServiceHook:
        """The hook with these settings, besides `settings`."""
        given = {"hook": "under test", "access": {"states": ["Member"]}, **self.settings}
        config = self.hook_class.config_class.model_validate({**given, **settings})
        return self.hook_class("under_test", config)

    def user(self, who: str) -> User:
        """member, stranger, or the member made inactive."""
        who_is = {"member": self.member, "stranger": self.stranger}
        return who_is.get(who) or replace(self.member, active=False)

    def cases(self, hook: ServiceHook) -> list[tuple[str, str]]:
        """Everybody with every account that there can be: disabled only where that can be done."""
        can = hook.can(Verb.DISABLE) and hook.can(Verb.ENABLE)
        return list(product(USERS, ACCOUNTS if can else ACCOUNTS[:2]))

    def account(self, hook: ServiceHook, user: User, status: str = "active") -> Account:
        """An account of the user: absent, active, disabled, or disabled longer than GRACE."""
        if status == "absent":
            return Account(hook.name, user.id)
        disabled_at = None
        if status != "active":
            disabled_at = stamp(hook.now - (2 * GRACE if "ago" in status else timedelta(minutes=1)))
        return Account(
            hook.name,
            user.id,
            id=4711,
            status=AccountStatus.ACTIVE if status == "active" else AccountStatus.DISABLED,
            uid="uid-1",
            name=hook.username_for(user),
            disabled_at=disabled_at,
        )

    def decided(
        self, hook: ServiceHook, user: User, account: Account, decision: Decision
    ) -> tuple[Operation, ...]:
        """What the hook decides, as the engine asks for it. Raises HookError."""
        try:
            with tripwire(f"{self.hook_class.__name__} decides"):
                return decide(hook, user, account, decision, at=stamp(hook.now))
        except Exception as error:
            error.add_note(f"asked about {user.username}, whose account is {account.status}")
            raise

    def decided_for(
        self, hook: ServiceHook, who: str, status: str, decision: str
    ) -> tuple[Operation, ...]:
        user = self.user(who)
        account = self.account(hook, user, status)
        return self.decided(hook, user, account, DECISIONS[decision])


def verbs_of(operations: Iterable[Operation]) -> list[Verb]:
    return [operation.verb for operation in operations]


_NEEDED = MappingProxyType(
    {
        "create_user": Verb.CREATE,
        "sync_nickname": Verb.SET_NICKNAME,
        "update_groups": Verb.CHANGE_GROUPS,
        "update_all_groups": Verb.CHANGE_GROUPS,
        "set_password": Verb.SET_PASSWORD,
        "reset_password": Verb.SET_PASSWORD,
    }
)


def require(hook: ServiceHook, decision: str) -> None:
    """Skip the test of a decision that is for a verb which the manager lacks."""
    verb = _NEEDED.get(decision)
    if verb and not hook.can(verb):
        pytest.skip(f"{hook.manager_class.__name__} has no {verb.value}")


def require_removal(hook: ServiceHook, mode: str) -> None:
    verbs = (Verb.DISABLE, Verb.ENABLE) if mode == "disable" else (Verb.DELETE,)
    for verb in verbs:
        if not hook.can(verb):
            pytest.skip(f"{hook.manager_class.__name__} has no {verb.value}")


def fits(rule: NameRule, name: str) -> None:
    assert rule.apply(name) == name, f"the name rule makes {rule.apply(name)!r} of {name!r}"
