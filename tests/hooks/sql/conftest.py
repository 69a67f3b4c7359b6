"""`built(…)`: the manager of a configured sql service, and the database behind it."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from svcctl.config.load import load
from svcctl.hooks.registry import Hooks, build_manager, load_hooks
from svcctl.hooks.sql import SqlManager

TABLES = """
CREATE TABLE members (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE, hash TEXT NOT NULL,
    mail TEXT UNIQUE, shown TEXT NOT NULL DEFAULT '', banned INTEGER NOT NULL DEFAULT 0,
    ref TEXT UNIQUE
);
CREATE TABLE teams (name TEXT PRIMARY KEY);
CREATE TABLE memberships (member INTEGER NOT NULL, team TEXT NOT NULL, UNIQUE (member, team));
CREATE TABLE sessions (member INTEGER NOT NULL);
INSERT INTO members (id, name, hash) VALUES (1, 'admin', 'x');
INSERT INTO teams VALUES ('staff'), ('commanders'), ('theirs');
"""
CONFIG = """
[states.Member]
priority = 100
groups = ["staff"]

[services.forum]
hook = "sql"
database = "sqlite:///forum.db"
password_hash = { scheme = "bcrypt", options = { ident = "2y", rounds = 4 } }
access.states = ["Member"]
attributes = ["email"]
groups.map = { staff = "staff", fc = "commanders" }
username_rule = { case_sensitive = false }

[services.forum.statements]
list_accounts = "SELECT id AS uid, name, NOT banned AS active, shown AS nickname, ref AS external_id, mail AS email FROM members ORDER BY id"
get_account = "SELECT id AS uid, name, NOT banned AS active, shown AS nickname, ref AS external_id, mail AS email FROM members WHERE id = :uid"
find_account = "SELECT id AS uid, name, NOT banned AS active FROM members WHERE name = :name"
find_by_external_id = "SELECT id AS uid, name, NOT banned AS active, ref AS external_id FROM members WHERE ref = :external_id"
list_memberships = 'SELECT member AS uid, team AS "group" FROM memberships'
list_groups = "SELECT name FROM teams"
groups_of = "SELECT team FROM memberships WHERE member = :uid"
create_account = "INSERT INTO members (name, hash, mail, ref) VALUES (:name, :password_hash, :email, :external_id)"
enable_account = "UPDATE members SET banned = 0 WHERE id = :uid"
disable_account = [{ sql = "UPDATE members SET banned = 1 WHERE id = :uid", rows = 1 }, "DELETE FROM sessions WHERE member = :uid"]
delete_account = ["DELETE FROM memberships WHERE member = :uid", "DELETE FROM members WHERE id = :uid"]
set_password = "UPDATE members SET hash = :password_hash WHERE id = :uid"
set_nickname = "UPDATE members SET shown = :nickname WHERE id = :uid"
add_to_group = "INSERT INTO memberships (member, team) VALUES (:uid, :group)"
remove_from_group = "DELETE FROM memberships WHERE member = :uid AND team = :group"
"""  # noqa: E501 - TOML's strings of one line

Configured = Callable[..., Hooks]
Built = Callable[..., SqlManager]


class Forum:
    """The database of the service."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, script: str) -> None:
        with closing(sqlite3.connect(self.path)) as connection:
            connection.executescript(script)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def forum(tmp_path: Path) -> Forum:
    forum = Forum(tmp_path / "forum.db")
    forum.run(TABLES)
    return forum


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    """`configured(("old", "new"))`: the hooks of the changed configuration."""

    def load_it(*edits: tuple[str, str]) -> Hooks:
        text = CONFIG
        for old, new in edits:
            assert old in text
            text = text.replace(old, new, 1)
        (tmp_path / "svcctl.toml").write_text(text)
        return load_hooks(load(tmp_path / "svcctl.toml"))

    return load_it


@pytest.fixture
def built(forum: Forum, configured: Configured) -> Iterator[Built]:
    made: list[SqlManager] = []

    def build(*edits: tuple[str, str]) -> SqlManager:
        hooks = configured(*edits)
        assert hooks.problems == {}
        manager = build_manager(hooks.loaded["forum"])
        assert isinstance(manager, SqlManager)
        made.append(manager)
        return manager

    yield build
    for manager in made:
        manager.close()
