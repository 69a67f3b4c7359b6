"""Whose account, and where: the arguments that the commands of `svcctl accounts` share."""

from typing import Annotated

import typer

from svcctl.commands.completion import complete_services, complete_users

OneUser = Annotated[
    str, typer.Argument(metavar="USER", help="A username.", autocompletion=complete_users)
]
NamedUsers = Annotated[
    list[str],
    typer.Argument(metavar="USER", help="Usernames, or @FILE.", autocompletion=complete_users),
]
OneService = Annotated[
    str,
    typer.Option("--service", "-s", help="The service.", autocompletion=complete_services),
]
