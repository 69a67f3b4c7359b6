"""`svcctl states`: who stands where, and why."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from svcctl.commands.completion import complete_states
from svcctl.commands.options import (
    Format,
    FormatOption,
    GroupOption,
    JsonOption,
    StateOption,
    UsersArgument,
)
from svcctl.commands.output import Table, chosen, emit, say
from svcctl.commands.session import Session, open_session
from svcctl.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from svcctl.store.census import Selection

app = typer.Typer(no_args_is_help=True, help="Who stands where, and why.")


@app.command("list")
def list_(ctx: typer.Context, form: FormatOption = Format.TEXT, json: JsonOption = False) -> None:
    """The configured states, highest priority first, and how many users are in each."""
    from svcctl.store.standing import count_states, stored_rules

    with open_session(ctx, read_only=True) as session:
        rules = session.settings.state_rules()
        with session.database.read() as connection:
            counts = count_states(connection)
            stale = bool(counts) and stored_rules(connection) != tuple(rules)
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "priority": rule.priority,
            "public": rule.public,
            "users": counts.pop(name, 0),
        }
        for name, rule in rules
    ]
    rows += [{"name": name, "users": count} for name, count in sorted(counts.items())]
    emit(Table("states", ("name", "priority", "public", "users"), rows), chosen(form, json))
    if stale:
        say("the rules have changed since users were last sorted; see: svcctl states preview")


@app.command()
def show(
    ctx: typer.Context,
    state: Annotated[
        str, typer.Argument(metavar="STATE", help="A state.", autocompletion=complete_states)
    ],
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Who is in a state."""
    from svcctl.commands.users import COLUMNS
    from svcctl.config.problems import suggest
    from svcctl.store.people import listing
    from svcctl.store.standing import count_states

    with open_session(ctx, read_only=True) as session, session.database.read() as connection:
        known = {name for name, _ in session.settings.state_rules()} | count_states(
            connection
        ).keys()
        if state not in known:
            raise UsageError(f"no such state: {state}", hint=suggest(state, known))
        rows = listing(connection, state=state)
        emit(Table("users", COLUMNS, rows), chosen(form, json), empty="nobody")


@app.command()
def preview(
    ctx: typer.Context,
    users: UsersArgument = None,
    state: StateOption = None,
    group: GroupOption = None,
    changed: Annotated[
        bool, typer.Option("--changed", help="Only users whose state would be another one.")
    ] = False,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """The state that users would have under the configuration as it is now, and why."""
    from svcctl.commands.running import require_known, user_ids
    from svcctl.store.census import Selection

    with open_session(ctx, read_only=True) as session:
        require_known(session, state, group)
        ids = user_ids(session, users) if users else None
        with session.database.read() as connection:
            rows = (
                row
                for row in _previews(session, connection, Selection(ids, state, group))
                if not changed or row["state"] != row["preview"]
            )
            columns = ("username", "state", "preview", "why")
            emit(Table("state-preview", columns, rows), chosen(form, json), empty="nobody")


def _previews(
    session: Session, connection: "Connection", selection: "Selection"
) -> Iterator[dict[str, Any]]:
    from svcctl.directory.states import choose, explain
    from svcctl.store.census import resolve, stream

    rules = session.settings.state_rules()
    for user, _ in stream(connection, resolve(connection, selection), ()):
        about: dict[str, Any] = {
            "username": user.username,
            "active": user.active,
            "groups": user.groups,
            "attributes": user.attributes,
        }
        yield {
            "username": user.username,
            "state": user.state,
            "preview": choose(rules, **about),
            "why": explain(rules, **about),
        }
