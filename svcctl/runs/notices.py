"""What operators are told at the end of a run: new trouble, and once that it is over."""

import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING

from svcctl.clock import now, stamp
from svcctl.errors import ExitCode, SvcctlError
from svcctl.model import OperationStatus
from svcctl.notify.channel import line
from svcctl.runs.deliver import deliver, tells_operators
from svcctl.runs.lane import Stop
from svcctl.runs.plan import Problem
from svcctl.runs.report import Report
from svcctl.store import notifications as rows
from svcctl.store.database import Connection
from svcctl.store.operations import failed_users
from svcctl.tasks.directory import Pulled

if TYPE_CHECKING:
    from svcctl.runs.engine import Site

PULL = "directory pull"
QUIET = timedelta(hours=24)
"""The same trouble is not told again for so long."""
MANY = 1000
"""More accounts of a service than this in the same trouble are one trouble, whoever they are."""
_LISTED = 10

_HEADS = {
    "stopped": "the run stopped",
    "unusable": "cannot be used",
    "unreadable": "could not be read completely",
    "not pulled": "nothing was taken over",
    "gave up": "given up after repeated failures",
    "held": "removals are held",
    "failed": "failed",
    "unknown": "unknown whether it was done",
    "problem": "left alone",
}
_CLOSER = {
    "stopped": "svcctl db check",
    "unusable": "svcctl config check",
    "unreadable": "svcctl services check {service}",
    "not pulled": "svcctl directory pull --source {service} --dry-run",
    "gave up": "svcctl services check {service}",
    "held": "svcctl holds show --service {service}",
    "failed": "svcctl history {service} --status failed",
    "unknown": "svcctl history {service} --status unknown",
    "problem": "svcctl plan --service {service}",
}
_SOURCE = "source "
"""What the place of trouble begins with that is a directory source; services have no blank."""
_KINDS = {ExitCode.INCOMPLETE: "unreadable", ExitCode.CONFIG: "unusable"}
_NO_TROUBLE = (ExitCode.OK, ExitCode.TRY_LATER)
_TOLD_WHEN_STOPPED = (
    ExitCode.FAILED,
    ExitCode.INCOMPLETE,
    ExitCode.DATABASE,
    ExitCode.CONFIG,
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that operators should know: of a service, or of one user's account there."""

    service: str
    kind: str
    username: str
    text: str

    @property
    def place(self) -> tuple[str, int]:
        return self.service, list(_HEADS).index(self.kind)


def tell(site: "Site", report: Report, *, everybody: bool, stop: Stop) -> None:
    """Keep what operators should know of this run, and send what waits.

    everybody: the run was about all users. What could not be sent is noted in the report.
    """
    try:
        if not report.declined or report.stopped is not None:
            _keep(site, report.command, list(troubles(report)), _sentence(report))
            if everybody and report.stopped is None:
                _keep_recovery(site, report)
        problem = deliver(site, stop)
    except SvcctlError as error:
        problem = _unsent(error)
    if problem is not None:
        report.problems.append(problem)


def tell_pulled(site: "Site", pulled: Iterable[Pulled]) -> Problem | None:
    """The same for a pull: sources of which nothing was taken over; what could not be sent."""
    told = {part.source: part.error for part in pulled}
    found = [
        Trouble(f"{_SOURCE}{source}", "not pulled", "", error.message)
        for source, error in told.items()
        if error is not None
    ]
    try:
        _keep(site, PULL, found, "not everything was taken over")
        if not found and told.keys() >= site.settings.directory.sources.keys():
            with site.database.read() as connection:
                before = rows.last_trouble(connection, PULL)
            if before:
                _keep_over(site, PULL, "everything was taken over")
        return deliver(site)
    except SvcctlError as error:
        return _unsent(error)


def _unsent(error: SvcctlError) -> Problem:
    return Problem(
        "notify", f"messages are not sent: {error.message}", ExitCode.OK, hint=error.hint
    )


def tell_stopped(site: "Site", command: str, error: SvcctlError) -> None:
    """The same for a run that ended with an error; where that is the database, if it still can."""
    if error.exit_code not in _TOLD_WHEN_STOPPED:
        return
    hint = f"\n      {error.hint}" if error.hint else ""
    with suppress(SvcctlError):
        trouble = Trouble("", "stopped", "", f"{error.message}{hint}")
        _keep(site, command, [trouble], f"exit code {int(error.exit_code)}")
        deliver(site)


def troubles(report: Report) -> Iterator[Trouble]:
    """What went wrong, and what is held."""
    for problem in (*report.problems, *report.plan.problems):
        if problem.code not in _NO_TROUBLE:
            kind = _KINDS.get(problem.code, "problem")
            yield Trouble(problem.service, kind, problem.username or "", problem.message)
    for service, error in report.gave_up.items():
        yield Trouble(service, "gave up", "", error.message)
    for held in report.held:
        yield Trouble(held.service, "held", "", held.message)
    for planned, _ in report.held_accounts:
        operation = planned.operations[0]
        text = f"{operation.verb.value}: {operation.reason}"
        yield Trouble(planned.account.service, "held", planned.username, text)
    for one in report.applied:
        if one.status in (OperationStatus.FAILED, OperationStatus.UNKNOWN):
            text = f"{one.operation.verb.value}: {one.error or 'no reason given'}"
            yield Trouble(one.service, one.status.value, one.username, text)
    for planned, until in report.deferred:
        text = f"{planned.operations[0].verb.value}: failed before; next attempt after {until}"
        yield Trouble(planned.account.service, "failed", planned.username, text)


def _keep(site: "Site", command: str, found: list[Trouble], ended: str) -> None:
    settings = site.settings.notify
    if not found or settings is None or not tells_operators(settings):
        return
    found.sort(key=lambda one: one.place)
    names = _names(found)
    with site.database.read() as connection:
        if names <= _told(connection):
            return
    with site.database.write() as connection:
        rows.add_summary(
            connection,
            command=command,
            trouble=sorted(names),
            level="error",
            title=_title(command, found),
            message="\n".join(
                [f"svcctl {command} on {socket.gethostname()}: {ended}.", *_body(found)]
            ),
        )


def _keep_recovery(site: "Site", report: Report) -> None:
    """The last that operators heard of this command was trouble, and nothing is left of it."""
    if report.exit_code is not ExitCode.OK:
        return
    with site.database.read() as connection:
        before = rows.last_trouble(connection, report.command)
        services = {service for service, *_ in before if service in site.settings.services}
        if not before or services - report.plan.evaluated or failed_users(connection, services):
            return
    _keep_over(site, report.command, _sentence(report))


def _keep_over(site: "Site", command: str, ended: str) -> None:
    settings = site.settings.notify
    if settings is None or not tells_operators(settings):
        return
    with site.database.write() as connection:
        rows.add_summary(
            connection,
            command=command,
            trouble=(),
            level="info",
            title=f"{command}: all in order again",
            message="\n".join(
                [
                    f"svcctl {command} on {socket.gethostname()}: {ended}.",
                    "",
                    "What you were told before is over.",
                ]
            ),
        )


def _told(connection: Connection) -> set[tuple[str, ...]]:
    """What operators have heard of lately, of any command, and not since that it is over."""
    told: dict[str, set[tuple[str, ...]]] = {}
    for command, trouble in rows.told(connection, since=stamp(now() - QUIET)):
        if trouble:
            told.setdefault(command, set()).update(tuple(item) for item in trouble)
        else:
            told.pop(command, None)
    return {item for items in told.values() for item in items}


def _names(found: Iterable[Trouble]) -> set[tuple[str, ...]]:
    """What makes trouble the same as another run's: service, kind, user; not the words.

    Which accounts fail before a service is given up is chance.
    """
    gave_up = {one.service for one in found if one.kind == "gave up"}
    names: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    for one in found:
        if one.kind in ("failed", "unknown") and one.service in gave_up:
            continue
        kind = (one.service, one.kind)
        names.setdefault(kind, set()).add((*kind, one.username))
    return {
        name
        for kind, many in names.items()
        for name in (many if len(many) <= MANY else {(*kind, "")})
    }


def _title(command: str, found: list[Trouble]) -> str:
    kinds = dict.fromkeys((one.service, one.kind) for one in found)
    parts = [f"{service}: {_HEADS[kind]}" if service else _HEADS[kind] for service, kind in kinds]
    more = f", and {len(parts) - 3} more" if len(parts) > 3 else ""
    return line(f"{command}: {', '.join(parts[:3])}{more}", 150)


def _body(found: list[Trouble]) -> Iterator[str]:
    for service, of_service in groupby(found, key=lambda one: one.service):
        yield ""
        yield service or "svcctl"
        for kind, of_kind in groupby(of_service, key=lambda one: one.kind):
            many = list(of_kind)
            about = [one for one in many if one.username]
            plain = [one.text for one in many if not one.username]
            yield f"  {_HEADS[kind]}{': ' + '; '.join(plain) if plain else ''}"
            yield from (f"    {one.username}: {one.text}" for one in about[:_LISTED])
            if len(about) > _LISTED:
                yield f"    … and {len(about) - _LISTED} more"
            yield f"  look closer: {_CLOSER[kind].format(service=service.removeprefix(_SOURCE))}"


def _sentence(report: Report) -> str:
    run = f"run {report.run_id}, " if report.run_id is not None else ""
    return f"{run}exit code {int(report.exit_code)}"
