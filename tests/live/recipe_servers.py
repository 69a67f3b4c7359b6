"""The recipes that are tried: for each the server that it is for, and a way to look at it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from svcctl.hooks.testing.server import NotStarted
from tests.live.database_remotes import (
    MariadbUsers,
    PostgresqlRoles,
    mariadb_users,
    postgresql_roles,
)
from tests.live.web_remotes import MediaWiki, Redmine, Remote, WordPress
from tests.live.web_servers import Web, mediawiki, redmine, wordpress

FOLDER = Path(__file__).parents[2] / "docs" / "recipes"
SERVERS: Mapping[str, tuple[Callable[[], AbstractContextManager[Web]], type[Remote]]] = {
    "wordpress": (wordpress, WordPress),
    "mediawiki": (mediawiki, MediaWiki),
    "redmine": (redmine, Redmine),
    "postgresql": (postgresql_roles, PostgresqlRoles),
    "mariadb": (mariadb_users, MariadbUsers),
}


@contextmanager
def tried(name: str) -> Iterator[Remote]:
    """The server of a recipe, running."""
    start, kind = SERVERS[name]
    try:
        with start() as site:
            yield kind(site)
    except NotStarted as error:
        pytest.fail(str(error))


def recipe(remote: Remote, *edits: tuple[str, str]) -> str:
    """Its recipe with the addresses of this server, and more that is to be different."""
    text = (FOLDER / remote.recipe).read_text(encoding="utf-8")
    for old, new in (*remote.edits().items(), *edits):
        assert old in text, f"{remote.recipe} has no {old!r}"
        text = text.replace(old, new)
    return text
