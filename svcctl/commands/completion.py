"""What the shell offers after TAB. These functions only read, and offer nothing when they fail."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from svcctl.config.settings import Settings
    from svcctl.store.database import Connection

_OFFERED = 200
Candidates = list[tuple[str, str]]
"""What may be typed, each with a word about it."""


def complete_users(ctx: typer.Context, incomplete: str) -> Candidates:
    """Usernames, with the user's state."""

    def names(connection: "Connection") -> Iterable[tuple[str, str]]:
        from svcctl.store.people import names_like

        return names_like(connection, incomplete, limit=_OFFERED)

    return _from_database(ctx, incomplete, names)


def complete_groups(ctx: typer.Context, incomplete: str) -> Candidates:
    """Names of groups, with who made them."""

    def names(connection: "Connection") -> Iterable[tuple[str, str]]:
        from svcctl.store.groups import names_like

        return names_like(connection, incomplete, limit=_OFFERED)

    return _from_database(ctx, incomplete, names)


def complete_runs(ctx: typer.Context, incomplete: str) -> Candidates:
    """Ids of the latest runs, with when and what."""

    def ids(connection: "Connection") -> Iterable[tuple[str, str]]:
        from svcctl.store.runs import listing

        runs = listing(connection, limit=_OFFERED)
        return [(str(run["id"]), f"{run['started_at']} {run['command']}") for run in runs]

    return _from_database(ctx, incomplete, ids)


def complete_states(ctx: typer.Context, incomplete: str) -> Candidates:
    """Names of the configured states."""
    return _from_settings(
        ctx,
        incomplete,
        lambda settings: [
            (name, f"priority {rule.priority}") for name, rule in settings.state_rules()
        ],
    )


def complete_services(ctx: typer.Context, incomplete: str) -> Candidates:
    """Names of the configured services."""
    return _from_settings(
        ctx,
        incomplete,
        lambda settings: [
            (name, str(table.get("hook", ""))) for name, table in settings.services.items()
        ],
    )


def complete_sources(ctx: typer.Context, incomplete: str) -> Candidates:
    """Names of the configured directory sources."""
    return _from_settings(
        ctx,
        incomplete,
        lambda settings: [
            (name, source.whence) for name, source in settings.directory.sources.items()
        ],
    )


def complete_pipelines(ctx: typer.Context, incomplete: str) -> Candidates:
    """Names of the configured pipelines."""
    return _from_settings(
        ctx,
        incomplete,
        lambda settings: [(name, one.kind) for name, one in settings.pipelines.items()],
    )


def complete_backends(ctx: typer.Context, incomplete: str) -> Candidates:
    """Names of the configured providers."""
    return _from_settings(
        ctx,
        incomplete,
        lambda settings: [
            (name, one.class_ or "mapped") for name, one in settings.backends.items()
        ],
    )


def complete_steps(ctx: typer.Context, incomplete: str) -> Candidates:
    """The steps of the pipeline that is being typed."""
    from svcctl.pipeline.definition import DEFAULT_STEPS

    def steps(settings: "Settings") -> list[tuple[str, str]]:
        chosen = settings.pipelines[str(ctx.params["pipeline"])]
        return [(name, "") for name in chosen.steps or DEFAULT_STEPS[chosen.kind]]

    return _from_settings(ctx, incomplete, steps)


def complete_partials(ctx: typer.Context, incomplete: str) -> Candidates:
    """Ids of paused runs, with what each waits for."""

    def ids(connection: "Connection") -> list[tuple[str, str]]:
        from svcctl.store.partials import listing

        return [(row["id"], f"{row['pipeline']}: {row['why']}") for row in listing(connection)]

    return _from_database(ctx, incomplete, ids)


def complete_rules(ctx: typer.Context, incomplete: str) -> Candidates:
    """Rules by which accounts are recognised, with the attributes that they may name."""

    def rules(settings: "Settings") -> Candidates:
        from svcctl.runs.rule import MEANING

        fields = [(field, said) for field, said in MEANING.items() if field != "attribute"]
        both = [f"attribute:{name}" for name in sorted(settings.attributes)]
        return fields + [(rule, "both have this attribute") for rule in both]

    return _from_settings(ctx, incomplete, rules)


def _from_settings(
    ctx: typer.Context,
    incomplete: str,
    names: Callable[["Settings"], Iterable[tuple[str, str]]],
) -> Candidates:
    with suppress(Exception):  # a shell would show the error inside the line being typed
        return _starting(names(_settings(ctx)), incomplete)
    return []


def _from_database(
    ctx: typer.Context,
    incomplete: str,
    names: Callable[["Connection"], Iterable[tuple[str, str]]],
) -> Candidates:
    with suppress(Exception):  # a shell would show the error inside the line being typed
        from svcctl.store.database import Database

        database = Database(_settings(ctx).database_url, read_only=True, busy=1)
        try:
            if not database.exists():
                return []
            with database.read() as connection:
                return _starting(names(connection), incomplete)
        finally:
            database.close()
    return []


def _settings(ctx: typer.Context) -> "Settings":
    """The command line so far was only read, not run: there is no `ctx.obj` yet."""
    from svcctl.config.load import load

    named = ctx.find_root().params.get("config")
    return load(Path(named) if named else None)


def _starting(names: Iterable[tuple[str, str]], incomplete: str) -> Candidates:
    from svcctl.commands.output import plain

    return [
        (name, plain(about))
        for name, about in names
        if name.startswith(incomplete) and name.isprintable()
    ][:_OFFERED]
