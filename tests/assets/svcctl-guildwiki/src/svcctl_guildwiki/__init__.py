"""guildwiki: a wiki that keeps its accounts in a JSON file, for officers only."""

import json
from collections.abc import Iterator
from pathlib import Path

from svcctl.config.service import HookConfig
from svcctl.errors import Conflict, NotFound
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import Created, Manager, NewAccount, RemoteAccount
from svcctl.model import User


class GuildwikiConfig(HookConfig):
    pages: Path


class GuildwikiManager(Manager):
    def __init__(self, pages: Path) -> None:
        self.pages = pages

    def list_accounts(self) -> Iterator[RemoteAccount]:
        for name in self._load():
            yield RemoteAccount(uid=name, name=name)

    def create_account(self, new: NewAccount) -> Created:
        accounts = self._load()
        if new.name in accounts:
            raise Conflict(f"{new.name}: taken")
        self._save(accounts | {new.name: dict(new.attributes)})
        return Created(uid=new.name, name=new.name)

    def delete_account(self, uid: str) -> None:
        accounts = self._load()
        if uid not in accounts:
            raise NotFound(f"{uid}: no such account")
        del accounts[uid]
        self._save(accounts)

    def _load(self) -> dict[str, dict[str, object]]:
        accounts: dict[str, dict[str, object]] = json.loads(self.pages.read_text())
        return accounts

    def _save(self, accounts: dict[str, dict[str, object]]) -> None:
        self.pages.write_text(json.dumps(accounts))


class GuildwikiHook(ServiceHook):
    config_class = GuildwikiConfig
    manager_class = GuildwikiManager

    def service_active_for_user(self, user: User) -> bool:
        return user.active and user.attributes.get("rank") == "officer"

    def explain_access(self, user: User) -> str:
        return f"rank is {user.attributes.get('rank', 'unknown')}, the wiki is for officers"
