"""Hooks that meet trouble: a secret that is not there, a service that answers with bad manners."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from svcctl.config.secrets import Secret
from svcctl.errors import Invalid
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import Created, NewAccount
from svcctl.hooks.sandbox import SandboxConfig, SandboxHook, SandboxManager
from svcctl.model import Operation, User

HOSTILE = "\x1b[31mred\x1b[0m \x9b2J\u202eesrever [bold]loud[/bold]\r\nERROR: all is lost\u2028"


class SecretiveConfig(SandboxConfig):
    token: Secret


class SecretiveManager(SandboxManager):
    def __init__(self, path: Path, *, token: str, **settings: Any) -> None:
        super().__init__(path, **settings)
        self.token = token


class SecretiveHook(ServiceHook):
    """Needs a token to do anything."""

    config: SecretiveConfig
    config_class = SecretiveConfig
    manager_class = SecretiveManager


class RudeManager(SandboxManager):
    def create_account(self, new: NewAccount) -> Created:
        if new.name == "bob":
            raise Invalid(f"sandbox: {HOSTILE}", hint=f"try {HOSTILE}")
        return super().create_account(new)


class RudeHook(SandboxHook):
    """Its service answers with whatever it likes, and it fails for eve."""

    manager_class = RudeManager

    def update_groups(self, user: User) -> Iterator[Operation]:
        if user.username == "eve":
            raise ValueError(HOSTILE)
        yield from super().update_groups(user)
