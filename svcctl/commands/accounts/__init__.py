"""`svcctl accounts`: the accounts of users on services."""

import typer

from svcctl.commands.accounts.access import create, disable, enable
from svcctl.commands.accounts.listing import list_, show
from svcctl.commands.accounts.password import reset_password, set_password
from svcctl.commands.accounts.record import hold, link, refresh, unlink

app = typer.Typer(no_args_is_help=True, help="The accounts of users on services.")
app.command("list")(list_)
app.command()(show)
app.command()(create)
app.command()(enable)
app.command()(disable)
app.command()(reset_password)
app.command()(set_password)
app.command()(link)
app.command()(unlink)
app.command()(refresh)
app.command()(hold)
