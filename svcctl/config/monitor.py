"""The settings of `[monitor]`: what a monitoring system is given to see."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from svcctl.config.problems import Problem, dotted, suggest
from svcctl.config.secrets import Secret
from svcctl.config.service import Frozen

SUFFIX = ".prom"
PINGED = (
    "sync",
    "validate",
    "update-groups",
    "update-all-groups",
    "sync-nickname",
    "directory pull",
)
"""What runs from cron."""


class Monitor(Frozen):
    """What a monitoring system sees. Without this table it is given nothing."""

    metrics_file: Path | None = Field(
        None,
        description="a file for the textfile collector of Prometheus' node_exporter, which "
        f"wants its name to end in {SUFFIX}; replaced at the end of every run, mode 0644",
    )
    ping: Secret | None = Field(
        None,
        description="the URL of a check at Healthchecks or the like, which is told when a run of "
        "sync --all begins and how it ends; a secret",
    )
    pings: dict[str, Secret] = Field(
        default_factory=dict,
        description="the same for other commands: " + ", ".join(f"`{one}`" for one in PINGED[1:]),
    )

    def ping_of(self, command: str) -> Secret | None:
        """Where the check of this command is."""
        return self.ping if command == PINGED[0] else self.pings.get(command)

    def problems(self) -> Iterator[Problem]:
        """What is wrong although every single value is well-formed."""
        if self.metrics_file is not None and self.metrics_file.suffix != SUFFIX:
            yield Problem(
                "monitor.metrics_file",
                f"does not end in {SUFFIX}",
                'node_exporter reads no other; write it like "/var/lib/node_exporter/svcctl.prom"',
            )
        for command in self.pings:
            if command == PINGED[0]:
                yield Problem(
                    dotted((command,), "monitor.pings"), "is monitor.ping", "move it there"
                )
            elif command not in PINGED:
                remedy = suggest(command, PINGED[1:])
                yield Problem(dotted((command,), "monitor.pings"), "never runs from cron", remedy)
