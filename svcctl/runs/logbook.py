"""What the log says of a run: its beginning, every operation as it ends, its trouble, its end."""

import logging

from svcctl.errors import ExitCode
from svcctl.log import say
from svcctl.model import OperationStatus
from svcctl.runs.apply import Applied
from svcctl.runs.report import Report

_FAILED = (OperationStatus.FAILED, OperationStatus.UNKNOWN)
_PASSING = (ExitCode.OK, ExitCode.TRY_LATER)


def began(report: Report, actor: str, operations: int) -> None:
    say(logging.INFO, f"begun by {actor}: {operations} operations", run=report.run_id)


def ended_operation(run_id: int | None, one: Applied) -> None:
    """One operation as it was recorded."""
    verb = one.operation.verb.value
    about = {"run": run_id, "service": one.service, "user": one.username, "operation": one.id}
    if one.status in _FAILED:
        why = f": {one.error}" if one.error else ""
        say(logging.ERROR, f"{verb} {one.status.value}{why}", **about)
    else:
        say(logging.INFO, f"{verb} {one.status.value}: {one.operation.reason}", **about)


def ended(report: Report) -> None:
    """What kept a run from doing all that there was to do, and what it came to."""
    run = report.run_id
    for problem in (*report.problems, *report.plan.problems):
        level = logging.WARNING if problem.code in _PASSING else logging.ERROR
        hint = f"; {problem.hint}" if problem.hint else ""
        about = {"run": run, "service": problem.service or None, "user": problem.username}
        say(level, f"{problem.message}{hint}", **about)
    for service, error in report.gave_up.items():
        say(logging.ERROR, f"given up: {error.message}", run=run, service=service)
    for held in report.held:
        message = f"removals are held: {held.message}"
        say(logging.WARNING, message, run=run, service=held.service)
    for note in report.notes:
        say(logging.DEBUG, note.message, run=run, service=note.service, user=note.username)
    counts = [
        f"{service} {number} {status}"
        for service, counted in report.counts().items()
        for status, number in counted.items()
    ]
    code = int(report.exit_code)
    said = "nothing was done" if report.declined else ", ".join(counts) or "nothing to do"
    say(logging.INFO, f"ended with exit code {code}: {said}", run=run, exit_code=code)
