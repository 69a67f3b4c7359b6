"""The settings of `[log]`: where what runs did, and what went wrong, is written down."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from svcctl.config.problems import Problem
from svcctl.config.service import Frozen


class Log(Frozen):
    """Where runs are logged. Without this table nowhere; the database has the history anyway."""

    file: Path | None = Field(
        None,
        description="a file to append to, a line for each event; made with mode 0600, and opened "
        "anew when it was moved away (logrotate)",
    )
    journal: bool = Field(
        default=False,
        description="systemd's journal, with fields like SVCCTL_RUN and SVCCTL_SERVICE",
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="what is at least as grave is logged; every operation is info"
    )

    def problems(self) -> Iterator[Problem]:
        """What is wrong although every single value is well-formed."""
        if self.file is None and not self.journal:
            yield Problem(
                "log", "leads nowhere", 'say where to: file = "svcctl.log", or journal = true'
            )
