"""`svcctl sync`."""

from svcctl.commands.verb import verb

app = verb(
    "sync",
    "SYNC",
    """Validate, create where opted in, groups and nicknames, in one plan.

    The usual cron line: svcctl sync --all
    """,
)
