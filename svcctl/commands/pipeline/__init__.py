"""`svcctl pipeline`: lists of steps that a provider's response goes through."""

import typer

from svcctl.commands.pipeline.about import list_, show
from svcctl.commands.pipeline.check import check, graph
from svcctl.commands.pipeline.partials import abort, partials, resume
from svcctl.commands.pipeline.run import run

app = typer.Typer(
    no_args_is_help=True, help="Lists of steps that a provider's response goes through."
)
app.command("list")(list_)
for command in (show, check, graph, run, partials, resume, abort):
    app.command()(command)
