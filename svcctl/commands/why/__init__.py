"""`svcctl why`."""

from typing import Annotated

import typer

from svcctl.commands.completion import complete_services, complete_users
from svcctl.commands.options import JsonOption
from svcctl.commands.output import plain, write, write_json
from svcctl.commands.session import open_session
from svcctl.commands.why.facts import facts
from svcctl.commands.why.sentences import sentences

app = typer.Typer()

UserArgument = Annotated[
    str, typer.Argument(metavar="USER", help="A username.", autocompletion=complete_users)
]
ServiceArgument = Annotated[
    str, typer.Argument(metavar="SERVICE", help="A service.", autocompletion=complete_services)
]


@app.command()
def why(
    ctx: typer.Context, user: UserArgument, service: ServiceArgument, json: JsonOption = False
) -> None:
    """Why a user has, or has not, an account, and what sync would do about it."""
    with open_session(ctx, read_only=True) as session:
        known = facts(session, user, service)
    if json:
        write_json("why", known)
    else:
        for line in sentences(known):
            write(plain(line))
