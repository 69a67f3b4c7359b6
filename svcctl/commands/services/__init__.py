"""`svcctl services`: what is configured, what it can do, whether it works, and pausing it."""

import typer

from svcctl.commands.services.check import check
from svcctl.commands.services.listing import list_
from svcctl.commands.services.new import new
from svcctl.commands.services.panel import panel
from svcctl.commands.services.pause import pause, resume
from svcctl.commands.services.show import show

app = typer.Typer(no_args_is_help=True, help="The configured services.")
app.command("list")(list_)
for command in (show, check, panel, pause, resume, new):
    app.command()(command)
