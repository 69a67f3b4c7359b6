"""`svcctl db`: migrations, integrity, backups."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from svcctl.commands.options import DryRunOption, Format, FormatOption, JsonOption
from svcctl.commands.output import Table, chosen, emit, plain, write, write_json
from svcctl.commands.session import open_session
from svcctl.errors import ExitCode

if TYPE_CHECKING:
    from svcctl.store.database import Database

app = typer.Typer(help="Migrate, check and back up the database.", no_args_is_help=True)


@contextmanager
def _database(ctx: typer.Context, *, read_only: bool) -> Iterator["Database"]:
    """The database in whatever state it is, unlike `Session.database`."""
    from svcctl.store.database import Database

    with open_session(ctx) as session:
        database = Database(session.settings.database_url, read_only=read_only)
        try:
            yield database
        finally:
            database.close()


@app.command()
def upgrade(
    ctx: typer.Context,
    *,
    dry_run: DryRunOption = False,
    format: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Create the database, or bring it to the schema of this svcctl; a backup is made first."""
    from svcctl.store import migrate

    with _database(ctx, read_only=dry_run) as database:
        migrations = migrate.pending(database)
        result = None if dry_run else migrate.upgrade(database)
        if chosen(format, json) is not Format.TEXT:
            emit(
                Table(
                    "migrations",
                    ("revision", "title", "applied", "backup"),
                    [
                        {
                            "revision": step.revision,
                            "title": step.title,
                            "applied": not dry_run,
                            "backup": result.backup if result else None,
                        }
                        for step in migrations
                    ],
                ),
                chosen(format, json),
            )
            return
        name = plain(database.name)
        if not migrations:
            write(f"{name}: up to date")
        for step in migrations:
            write(f"{name}: {'would apply' if dry_run else 'applied'} {step.revision} {step.title}")
        if result and result.backup:
            write(f"{name}: was copied to {plain(result.backup)} before")


@app.command()
def check(
    ctx: typer.Context,
    *,
    format: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Look for damage and for rows that make no sense; changes nothing. Exit 1 if there is any."""
    from svcctl.store import integrity

    with _database(ctx, read_only=True) as database:
        findings = integrity.check(database)
        emit(
            Table(
                "findings",
                ("check", "subject", "problem"),
                [
                    {"check": found.check, "subject": found.subject, "problem": found.problem}
                    for found in findings
                ],
            ),
            chosen(format, json),
            empty=f"{database.name}: nothing wrong was found",
        )
    if findings:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def backup(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(help="The file to write; its folder must exist.")],
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    json: JsonOption = False,
) -> None:
    """Copy the database to one file while others use it, and check the copy.

    The key that decrypts what is private in it (vault_key, or the file svcctl.key) is not copied:
    keep it elsewhere.
    """
    from svcctl.store.backup import backup as copy

    with _database(ctx, read_only=True) as database:
        made = copy(database, path, force=force)
    if json:
        write_json("backup", {"path": made.path, "schema_version": made.schema, "size": made.size})
    else:
        write(f"{plain(made.path)}: schema {made.schema}, {made.size:,} bytes, checked")
