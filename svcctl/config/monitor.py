"""The settings of `[monitor]`: what a monitoring system is given to see."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from svcctl.config.problems import Problem
from svcctl.config.service import Frozen

SUFFIX = ".prom"


class Monitor(Frozen):
    """What a monitoring system sees. Without this table it is given nothing."""

    metrics_file: Path | None = Field(
        None,
        description="a file for the textfile collector of Prometheus' node_exporter, which "
        f"wants its name to end in {SUFFIX}; replaced at the end of every run, mode 0644",
    )

    def problems(self) -> Iterator[Problem]:
        """What is wrong although every single value is well-formed."""
        if self.metrics_file is not None and self.metrics_file.suffix != SUFFIX:
            yield Problem(
                "monitor.metrics_file",
                f"does not end in {SUFFIX}",
                'node_exporter reads no other; write it like "/var/lib/node_exporter/svcctl.prom"',
            )
