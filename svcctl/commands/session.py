"""What a command needs at hand: settings, database, hooks; opened late, closed at the end."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import typer

from svcctl.config.load import load
from svcctl.config.settings import Settings

if TYPE_CHECKING:
    from svcctl.hooks.registry import Hooks
    from svcctl.store.database import Database


class Session:
    """One invocation's settings and database. `hooks()` imports only what is asked for."""

    def __init__(self, settings: Settings, invocation: Any, *, read_only: bool) -> None:
        self.settings = settings
        self.invocation = invocation
        self.read_only = read_only

    @cached_property
    def database(self) -> "Database":
        from svcctl.store.database import Database

        database = Database(self.settings.database_url, read_only=self.read_only)
        try:
            database.require_schema()
        except BaseException:
            database.close()
            raise
        return database

    def hooks(self, names: Iterable[str] | None = None) -> "Hooks":
        from svcctl.hooks.registry import load_hooks

        return load_hooks(self.settings, names)


@contextmanager
def open_session(ctx: typer.Context, *, read_only: bool = False) -> Iterator[Session]:
    """The session of a command; `read_only` opens the database so that nothing can be written."""
    session = Session(load(ctx.obj.config), ctx.obj, read_only=read_only)
    # A dry run writes nothing anywhere, and what only looks is not worth a line.
    if session.settings.log is not None and not read_only and not ctx.params.get("dry_run"):
        from svcctl.log import open_log

        open_log(session.settings.log, ctx.command_path.partition(" ")[2])
    try:
        yield session
    finally:
        if "database" in vars(session):
            session.database.close()
