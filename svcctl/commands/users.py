"""`svcctl users`: the people of the local directory."""

from typing import Annotated, Any

import typer

from svcctl.commands.attributes import given_attributes
from svcctl.commands.changes import SyncOption, confirm, edit, shown
from svcctl.commands.completion import complete_groups, complete_users
from svcctl.commands.options import (
    DryRunOption,
    Format,
    FormatOption,
    GroupOption,
    JsonOption,
    LockTimeoutOption,
    StateOption,
    UsersArgument,
    YesOption,
)
from svcctl.commands.output import Table, chosen, emit, plain, say, write, write_json
from svcctl.commands.session import open_session
from svcctl.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="The people of the local directory.")

UserArgument = Annotated[
    str, typer.Argument(metavar="USER", help="A username.", autocompletion=complete_users)
]
NamedUsers = Annotated[
    list[str],
    typer.Argument(metavar="USER", help="Usernames, or @FILE.", autocompletion=complete_users),
]
ValuesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Attributes; KEY:=JSON for what is not text.",
        show_default=False,
    ),
]
ActiveOption = Annotated[
    bool | None,
    typer.Option(
        "--active/--inactive", help="Active, or inactive and so without access.", show_default=False
    ),
]
COLUMNS = ("username", "state", "active", "superuser", "source", "missing_pulls", "removed_at")


@app.command("list")
def list_(
    ctx: typer.Context,
    users: UsersArgument = None,
    state: StateOption = None,
    group: GroupOption = None,
    active: ActiveOption = None,
    removed: Annotated[
        bool, typer.Option("--removed", help="Those whom an operator removed, instead.")
    ] = False,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Users, with what they are allowed by: state, activity, source."""
    from svcctl.commands.running import require_known, user_ids
    from svcctl.store.people import listing

    with open_session(ctx, read_only=True) as session:
        require_known(session, state, group)
        ids = user_ids(session, users) if users else None
        with session.database.read() as connection:
            rows = listing(
                connection, ids=ids, state=state, group=group, active=active, removed=removed
            )
            emit(Table("users", COLUMNS, rows), chosen(form, json), empty="no such users")


@app.command()
def show(
    ctx: typer.Context,
    user: UserArgument,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """All that is known of a user, and why the state is what it is."""
    from svcctl.directory.states import explain
    from svcctl.store.people import details, find_user

    with open_session(ctx, read_only=True) as session:
        rules = session.settings.state_rules()
        with session.database.read() as connection:
            known = details(connection, find_user(connection, user))
    known["why"] = explain(
        rules,
        username=known["username"],
        active=known["active"],
        groups=[group["name"] for group in known["groups"]],
        attributes=known["attributes"],
    )
    if chosen(form, json) is Format.TEXT:
        _write_user(known)
    elif chosen(form, json) is Format.JSON:
        write_json("user", {"user": known})
    else:
        emit(Table("user", tuple(known), [known]), form)


def _write_user(known: dict[str, Any]) -> None:
    operator = set(known["operator"])

    def line(key: str, value: object, field: str = "") -> None:
        mark = "  (operator)" if field in operator else ""
        write(f"{key:<16}{plain(value)}{mark}")

    line("username", known["username"])
    line("state", known["state"])
    line("why", known["why"])
    line("active", "yes" if known["active"] else "no", "active")
    line("superuser", "yes" if known["superuser"] else "no", "superuser")
    source = f"{known['source']} (id {known['source_id']})" if known["source"] else "(operator)"
    line("source", source)
    if known["missing_pulls"]:
        line("missing", f"from the last {known['missing_pulls']} pulls")
    if known["removed_at"]:
        line("removed", known["removed_at"])
    for key, value in sorted(known["attributes"].items()):
        line(key, shown(value), f"attributes.{key}")
    for group in known["groups"]:
        line("group", f"{group['name']}  ({group['origin']})")
    for name in known["kept_out_of"]:
        line("kept out of", f"{name}  (operator)")
    for account in known["accounts"]:
        line("account", f"{account['service']}: {account['name']}  {account['status']}")


@app.command()
def add(
    ctx: typer.Context,
    user: Annotated[str, typer.Argument(metavar="USER", help="The new username.")],
    values: ValuesArgument = None,
    group: Annotated[
        list[str] | None,
        typer.Option(
            "--group",
            "-g",
            help="Put the user into this group; repeatable.",
            autocompletion=complete_groups,
            show_default=False,
        ),
    ] = None,
    superuser: Annotated[bool, typer.Option("--superuser", help="Sees every service.")] = False,
    restore: Annotated[
        bool, typer.Option("--restore", help="Take a removed user back, as the user was.")
    ] = False,
    sync: SyncOption = True,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    lock_timeout: LockTimeoutOption = "0s",
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Add a user of your own, whom no source knows; or take a removed one back."""
    from svcctl.tasks import edits

    if restore and (values or group or superuser):
        raise UsageError("--restore takes no values", hint="restore first, then: svcctl users set")
    with open_session(ctx) as session:
        attributes = given_attributes(session.settings, values or [])
        edit(
            session,
            lambda connection, settings: (
                edits.restore(connection, settings, user)
                if restore
                else edits.add(
                    connection,
                    settings,
                    user,
                    attributes=attributes,
                    member_of=group or (),
                    superuser=superuser,
                )
            ),
            chosen(form, json),
            dry_run=dry_run,
            sync=sync,
            yes=yes,
            lock_timeout=lock_timeout,
        )


@app.command("set")
def set_(
    ctx: typer.Context,
    user: UserArgument,
    values: ValuesArgument = None,
    active: ActiveOption = None,
    superuser: Annotated[
        bool | None,
        typer.Option(
            "--superuser/--no-superuser", help="Sees every service, or not.", show_default=False
        ),
    ] = None,
    unset: Annotated[
        list[str] | None,
        typer.Option(
            "--unset",
            metavar="KEY",
            help="Give an attribute, active or superuser back to the source; repeatable.",
            show_default=False,
        ),
    ] = None,
    sync: SyncOption = True,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    lock_timeout: LockTimeoutOption = "0s",
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Set fields of a user. From then on they are yours: no source overwrites them."""
    from svcctl.tasks import edits

    if not values and not unset and active is None and superuser is None:
        raise UsageError("nothing to set", hint="give KEY=VALUE, --active, --superuser or --unset")
    with open_session(ctx) as session:
        attributes = given_attributes(session.settings, values or [])
        if both := sorted({*attributes} & {*(unset or ())}):
            raise UsageError(f"{both[0]} is both set and unset", hint="give one of them")
        edit(
            session,
            lambda connection, settings: edits.change(
                connection,
                settings,
                user,
                attributes=attributes,
                active=active,
                superuser=superuser,
                unset=unset or (),
            ),
            chosen(form, json),
            dry_run=dry_run,
            sync=sync,
            yes=yes,
            lock_timeout=lock_timeout,
        )


@app.command()
def remove(
    ctx: typer.Context,
    users: NamedUsers,
    sync: SyncOption = True,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    lock_timeout: LockTimeoutOption = "0s",
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Remove users: they lose access, and no source brings them back."""
    from svcctl.commands.running import user_ids
    from svcctl.tasks import edits

    with open_session(ctx) as session:
        ids = user_ids(session, users)
        whom = users[0] if len(users) == len(ids) == 1 else f"{len(ids)} users"
        confirm(f"Remove {plain(whom)}, and with that their access?", yes=yes, dry_run=dry_run)
        edit(
            session,
            lambda connection, settings: edits.remove(connection, settings, ids),
            chosen(form, json),
            dry_run=dry_run,
            sync=sync,
            yes=True,
            lock_timeout=lock_timeout,
        )


@app.command()
def forget(
    ctx: typer.Context,
    user: UserArgument,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Erase a person's data for good; the audit keeps a pseudonym.

    Refused while the user has an account: `svcctl delete` comes first.
    """
    from svcctl.store.people import find_user
    from svcctl.tasks import edits

    with open_session(ctx) as session:
        with session.database.read() as connection:
            source = find_user(connection, user).source
        confirm(f"Erase all data of {plain(user)}? There is no way back.", yes=yes, dry_run=dry_run)
        edit(
            session,
            lambda connection, settings: edits.forget(connection, settings, user),
            chosen(form, json),
            dry_run=dry_run,
            sync=False,
        )
        if source in session.settings.directory.sources:
            say(f"the source {source} may still have {user}: the next pull would add the user anew")
