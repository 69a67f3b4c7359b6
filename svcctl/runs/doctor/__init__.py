"""What is in order and what is not, from the configuration to the services; nothing is changed."""

from collections.abc import Iterator
from pathlib import Path

from svcctl.runs.doctor.configuration import examine, lines
from svcctl.runs.doctor.line import Line, fail, ok

__all__ = ["Line", "diagnose"]


def diagnose(given: Path | None, *, offline: bool, seconds: float) -> Iterator[Line]:
    """Everything that can be looked at, one line each, as it is found.

    given: the configuration's file, None for the one that is found. offline: nothing that lies
    elsewhere is asked. seconds: how long each service and each source may take.
    """
    yield _version()
    examined = examine(given, fetch=True)
    yield from lines(examined)
    settings, hooks = examined.settings, examined.hooks
    if settings is None or hooks is None:
        yield fail("database", "", "cannot be looked at without a configuration")
        return
    from svcctl.runs.doctor import database, messages, remotes, standing

    found: list[Line] = []
    with database.opened(settings, found) as readable:
        yield from found
        yield from messages.places(settings)
        if readable is not None:
            yield from standing.look(settings, hooks, readable)
    if not offline:
        yield from remotes.ask_all(settings, hooks, seconds)


def _version() -> Line:
    import platform

    from svcctl import __version__

    return ok("svcctl", __version__, f"Python {platform.python_version()}")
