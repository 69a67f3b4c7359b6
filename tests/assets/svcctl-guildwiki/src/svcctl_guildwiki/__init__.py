"""guildwiki: a wiki that keeps its accounts in a JSON file, for officers only."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from svcctl.config.service import HookConfig
from svcctl.errors import Conflict, NotFound, Transient
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import Created, Manager, NewAccount, RemoteAccount
from svcctl.model import User

Accounts = dict[str, dict[str, object]]


class GuildwikiConfig(HookConfig):
    pages: Path


class GuildwikiManager(Manager):
    def __init__(self, pages: Path) -> None:
        self.pages = pages

    def list_accounts(self) -> Iterator[RemoteAccount]:
        for name in self._load():
            yield RemoteAccount(uid=name, name=name)

    def create_account(self, new: NewAccount) -> Created:
        with self._changed() as accounts:
            if new.name in accounts:
                raise Conflict(f"{new.name}: taken")
            accounts[new.name] = dict(new.attributes)
        return Created(uid=new.name, name=new.name)

    def delete_account(self, uid: str) -> None:
        with self._changed() as accounts:
            if uid not in accounts:
                raise NotFound(f"{uid}: no such account")
            del accounts[uid]

    def _load(self) -> Accounts:
        try:
            accounts: Accounts = json.loads(self.pages.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise Transient(f"{self.pages}: {error}") from error
        return accounts

    @contextmanager
    def _changed(self) -> Iterator[Accounts]:
        with FileLock(f"{self.pages}.lock"):
            accounts = self._load()
            yield accounts
            fresh = self.pages.with_suffix(".new")
            fresh.write_text(json.dumps(accounts), encoding="utf-8")
            fresh.replace(self.pages)


class GuildwikiHook(ServiceHook):
    config_class = GuildwikiConfig
    manager_class = GuildwikiManager

    def service_active_for_user(self, user: User) -> bool:
        return user.active and user.attributes.get("rank") == "officer"

    def explain_access(self, user: User) -> str:
        return f"rank is {user.attributes.get('rank', 'unknown')}, the wiki is for officers"
