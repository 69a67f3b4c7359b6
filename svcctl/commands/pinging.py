"""Runs that a monitor waits for: those that nobody started by hand."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from svcctl.commands.output import say
from svcctl.errors import ExitCode, SvcctlError

if TYPE_CHECKING:
    from svcctl.commands.session import Session


@contextmanager
def pinged(session: "Session", command: str, *, everybody: bool, dry_run: bool) -> Iterator[None]:
    """Tell the monitor of this command that it begins and how it ended, if it is to be told.

    It is told of runs about everybody, without a terminal: one that an operator starts by hand does
    not make up for one of cron's that is missing.
    """
    monitor = session.settings.monitor
    url = monitor.ping_of(command) if monitor else None
    if url is None or dry_run or not everybody or _attended():
        yield
        return
    from svcctl.notify.ping import Ping

    ping = Ping(url, command)
    ping.begin()
    code: int = ExitCode.FAILED
    try:
        yield
        code = ExitCode.OK
    except typer.Exit as done:
        code = done.exit_code
        raise
    except SvcctlError as error:
        code = error.exit_code
        raise
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
        raise
    finally:
        ping.end(code)
        if ping.problem is not None:
            say(f"monitor: the ping was not sent: {ping.problem}")
            say(f"hint: {ping.problem.hint}")


def _attended() -> bool:
    return any(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
