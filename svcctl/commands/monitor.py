"""`svcctl monitor`."""

from pathlib import Path
from typing import Annotated

import typer

from svcctl.commands.output import write
from svcctl.commands.session import open_session

app = typer.Typer()

MetricsFileOption = Annotated[
    Path | None,
    typer.Option(
        "--metrics-file",
        metavar="FILE",
        help="Where they go; - prints them.  [default: monitor.metrics_file, else -]",
    ),
]


@app.command()
def monitor(ctx: typer.Context, *, metrics_file: MetricsFileOption = None) -> None:
    """Write the metrics for Prometheus from what the database has now.

    Every run writes them at its end when monitor.metrics_file is configured; this command is for
    other moments, and for a look.
    """
    from svcctl.runs import metrics

    with open_session(ctx, read_only=True) as session:
        settings = session.settings
        content = metrics.exposition(settings, session.database)
        path = metrics_file or (settings.monitor.metrics_file if settings.monitor else None)
    if path is None or str(path) == "-":
        write(content.decode(), more=True)
    else:
        metrics.write(path, content)
