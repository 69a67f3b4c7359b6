"""Hooks as other people write them: wrong, hostile, or merely unusual. Named as `module:Class`."""

import socket
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from svcctl.hooks.manager import Manager
from svcctl.hooks.sandbox import SandboxConfig, SandboxHook, SandboxManager
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

    manager_class = NoPasswordManager

    def create_user(self, user: User) -> Iterator[Operation]:
        yield from super().create_user(user)
        yield self.operation(Verb.SET_PASSWORD, user, "a first password")


class DialingHook(SandboxHook):
    """Asks the network while it decides, and swallows the refusal."""

    def groups_for(self, user: User) -> frozenset[str]:
        try:
            socket.create_connection(("127.0.0.1", 9), timeout=0.1)
        except Exception:  # noqa: BLE001, S110 - as careless code does
            pass
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


__all__ = ["Iterable", "SandboxConfig", "SandboxManager"]
