"""A step that waits for somebody."""

from typing import Any

from svcctl.pipeline.partial import Pause


def confirm(confirmed_by: str | None = None) -> Any:
    if confirmed_by is None:
        return Pause("who confirms it?", needs=("confirmed_by",))
    return {"witness": confirmed_by}
