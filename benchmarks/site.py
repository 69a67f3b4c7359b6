"""A big site: users, services and groups in a database, all in step; a service in memory."""

import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from svcctl.config.load import load
from svcctl.config.service import HookConfig
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import Created, GroupChange, Manager, NewAccount
from svcctl.model import to_json
from svcctl.store.database import Database
from svcctl.store.migrate import upgrade
from svcctl.store.standing import store_rules
from svcctl.store.tables import accounts, groups, memberships, users

MOMENT = "2026-01-01T00:00:00Z"
GROUPS = 50


class MemoryManager(Manager):
    """Does nothing, after `latency` seconds."""

    concurrency = 64
    stores_external_id = True

    def __init__(self, latency: float) -> None:
        self.latency = latency
        self.calls = 0
        self._lock = threading.Lock()

    def _work(self) -> None:
        if self.latency:
            time.sleep(self.latency)

    def create_account(self, new: NewAccount) -> Created:
        self._work()
        with self._lock:
            self.calls += 1
            return Created(f"{new.name}-{self.calls}", new.name)

    def delete_account(self, uid: str) -> None:
        self._work()

    def enable_account(self, uid: str) -> None:
        self._work()

    def disable_account(self, uid: str) -> None:
        self._work()

    def set_nickname(self, uid: str, nickname: str) -> None:
        self._work()

    def change_groups(self, uid: str, add: frozenset[str], remove: frozenset[str]) -> GroupChange:
        self._work()
        return GroupChange(add, remove)


class MemoryConfig(HookConfig):
    latency: float = 0.0


class MemoryHook(ServiceHook):
    """Keeps every default."""

    config_class = MemoryConfig
    manager_class = MemoryManager


class OverriddenHook(MemoryHook):
    """Decides by itself, so that no shortcut applies."""

    def service_active_for_user(self, user: Any) -> bool:
        return bool(user.active and user.state == "Member")

    def groups_for(self, user: Any) -> frozenset[str]:
        return frozenset(user.groups)

    def nickname_for(self, user: Any) -> str | None:
        return user.username  # type: ignore[no-any-return]


def build(
    folder: Path,
    people: int,
    services: int,
    per_user: int = 5,
    *,
    hook: str = "benchmarks.site:MemoryHook",
    linked: bool = True,
    more: str = "",
) -> Database:
    """Write configuration and database; with `linked`, every user has every account, in step."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = "\n".join(
        f'[services.s{n}]\nhook = "{hook}"\ncreate = "auto"\naccess.states = ["Member"]\n{more}'
        for n in range(services)
    )
    (folder / "svcctl.toml").write_text(
        f'[states.Member]\npriority = 100\ngroups = ["g0", "g1"]\n{tables}', encoding="utf-8"
    )
    settings = load(folder / "svcctl.toml")
    database = Database(settings.database_url)
    upgrade(database)
    with database.write() as connection:
        connection.execute(insert(groups), [{"id": g + 1, "name": f"g{g}"} for g in range(GROUPS)])
        store_rules(connection, settings.state_rules())
        for start in range(1, people + 1, 20_000):
            ids = range(start, min(start + 20_000, people + 1))
            connection.execute(
                insert(users),
                [
                    {
                        "id": i,
                        "username": f"user{i}",
                        "state": "Member",
                        "attributes": to_json({"corp_ticker": f"C{i % 97}"}),
                        "created_at": MOMENT,
                        "updated_at": MOMENT,
                    }
                    for i in ids
                ],
            )
            connection.execute(
                insert(memberships),
                [{"user_id": i, "group_id": g + 1} for i in ids for g in of(i, per_user)],
            )
            if linked:
                connection.execute(
                    insert(accounts),
                    [
                        {
                            "user_id": i,
                            "service": f"s{s}",
                            "status": "active",
                            "uid": f"u{i}",
                            "name": f"user{i}",
                            "name_key": f"user{i}",
                            "groups": to_json({f"g{g}" for g in of(i, per_user)}),
                            "nickname": f"user{i}",
                            "created_at": MOMENT,
                            "updated_at": MOMENT,
                        }
                        for i in ids
                        for s in range(services)
                    ],
                )
    with database.read() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return database


def of(user: int, count: int) -> list[int]:
    """The numbers of a user's groups: nearly every user has a combination of its own."""
    return [0, *sorted(random.Random(user).sample(range(1, GROUPS), count - 1))]


if __name__ == "__main__":
    build(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
