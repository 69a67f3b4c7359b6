"""The options that commands share, defined once."""

from enum import StrEnum
from typing import Annotated

import typer

from svcctl.commands.completion import (
    complete_groups,
    complete_services,
    complete_states,
    complete_users,
)


class Format(StrEnum):
    """How an answer is written to stdout."""

    TEXT = "text"
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


FormatOption = Annotated[
    Format,
    typer.Option("--format", "-f", help="How the answer is written.", envvar="SVCCTL_FORMAT"),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Short for --format json.", envvar="SVCCTL_JSON")
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        "-n",
        help="Show what would happen; write nothing anywhere.",
        envvar="SVCCTL_DRY_RUN",
    ),
]
YesOption = Annotated[
    bool,
    typer.Option(
        "--yes",
        "-y",
        help="Do not ask before removals; limits still apply.",
        allow_from_autoenv=False,
    ),
]
UsersArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="USER",
        help="Usernames, or @FILE with one a line.",
        autocompletion=complete_users,
        show_default=False,
    ),
]
AllOption = Annotated[
    bool, typer.Option("--all", "-a", help="Everybody.", allow_from_autoenv=False)
]
StateOption = Annotated[
    str | None,
    typer.Option(
        "--state",
        help="Only users in this state.",
        autocompletion=complete_states,
        envvar="SVCCTL_STATE",
    ),
]
GroupOption = Annotated[
    str | None,
    typer.Option(
        "--group",
        help="Only members of this group.",
        autocompletion=complete_groups,
        envvar="SVCCTL_GROUP",
    ),
]
FailedOption = Annotated[
    bool,
    typer.Option("--failed", help="Only users for whom something failed or waits for a retry."),
]
ServiceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--service",
        "-s",
        help="Only this service; repeatable.",
        autocompletion=complete_services,
        show_default=False,
        envvar="SVCCTL_SERVICE",
    ),
]
AcceptRemovalsOption = Annotated[
    int,
    typer.Option(
        "--accept-removals",
        metavar="N",
        min=0,
        help="Accept up to N removals beyond the limits, in this run.",
        allow_from_autoenv=False,
    ),
]
LockTimeoutOption = Annotated[
    str,
    typer.Option(
        "--lock-timeout",
        metavar="DURATION",
        help="Wait so long for another run on the same service, like 90s.",
        envvar="SVCCTL_LOCK_TIMEOUT",
    ),
]
MaxRuntimeOption = Annotated[
    str | None,
    typer.Option(
        "--max-runtime",
        metavar="DURATION",
        help="Stop cleanly after so long, like 13m; exit 75.",
        envvar="SVCCTL_MAX_RUNTIME",
    ),
]
