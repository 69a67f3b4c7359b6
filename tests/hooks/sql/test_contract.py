"""The sql manager keeps the contract, on SQLite."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import ClassVar

import bcrypt
import pytest

from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.registry import build_manager
from svcctl.hooks.sql import SqlHook
from svcctl.hooks.testing import Connect, Faults, HookContract, LogsIn, ManagerContract, Strike
from svcctl.names import NameRule
from tests.hooks.sql.conftest import Configured, Forum


class ForumHook(SqlHook):
    """As the configuration has it, where the tests look for it."""

    username_rule = NameRule(case_sensitive=False)


class TestSqlManager(ManagerContract):
    hook_class = ForumHook
    patience = 3.0

    @pytest.fixture
    def connect(self, forum: Forum, configured: Configured) -> Connect:
        return lambda: build_manager(configured().loaded["forum"])

    @pytest.fixture
    def impatient(self, forum: Forum, configured: Configured) -> Connect:
        quick = (
            'database = "sqlite:///forum.db"',
            'database = "sqlite:///forum.db"\ntimeout = "0s"',
        )
        return lambda: build_manager(configured(quick).loaded["forum"])

    @pytest.fixture
    def groups(self) -> tuple[str, ...]:
        return ("staff", "commanders", "theirs")

    @pytest.fixture
    def faults(self, forum: Forum) -> Faults:
        return FileFaults(forum.path)

    @pytest.fixture
    def logs_in(self, forum: Forum) -> LogsIn:
        def logs_in(name: str, password: str) -> bool:
            with closing(sqlite3.connect(forum.path)) as link:
                query = "SELECT hash, banned FROM members WHERE name = ?"
                stored, banned = link.execute(query, (name,)).fetchone()
            return not banned and bcrypt.checkpw(password.encode(), stored.encode())

        return logs_in


class FileFaults(Faults):
    """A file that is gone, or kept by somebody else."""

    kinds = frozenset({"missing", "timeout"})

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def strike(self, kind: str, nth: int = 1) -> Iterator[Strike]:
        if nth > 1:
            yield Strike()
        elif kind == "missing":
            away = self._path.with_name("away")
            self._path.rename(away)
            yield Strike(happened=True)
            away.rename(self._path)
        else:
            with closing(sqlite3.connect(self._path, isolation_level=None)) as other:
                other.execute("BEGIN EXCLUSIVE")
                yield Strike(happened=True)


class TestSqlHook(HookContract):
    hook_class: ClassVar[type[ServiceHook]] = SqlHook
    settings = {
        "database": "sqlite:///forum.db",
        "statements": {
            "list_accounts": "SELECT 1 AS uid",
            "get_account": "SELECT :uid AS uid",
            "find_account": "SELECT :name AS name",
            "groups_of": "SELECT :uid",
            "create_account": "SELECT :name",
            "enable_account": "SELECT :uid",
            "disable_account": "SELECT :uid",
            "delete_account": "SELECT :uid",
            "set_password": "SELECT :password",
            "set_nickname": "SELECT :nickname",
            "add_to_group": "SELECT :group",
            "remove_from_group": "SELECT :group",
        },
    }
