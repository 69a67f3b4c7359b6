"""From options to a run to its report: what all commands that plan and apply have in common."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from svcctl.clock import parse_duration
from svcctl.commands.options import Format
from svcctl.commands.output import ask, say, write_line
from svcctl.commands.pinging import pinged
from svcctl.commands.report import event, render
from svcctl.commands.session import Session, open_session
from svcctl.errors import SvcctlError, UsageError

if TYPE_CHECKING:
    from svcctl.runs.engine import Options
    from svcctl.runs.plan import Plan
    from svcctl.runs.report import Report
    from svcctl.store.census import Selection
    from svcctl.store.database import Connection
    from svcctl.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of a command that runs, as they were given."""

    users: list[str] | None = None
    everybody: bool = False
    state: str | None = None
    group: str | None = None
    failed: bool = False
    services: list[str] | None = None
    dry_run: bool = False
    yes: bool = False
    accept_removals: int = 0
    lock_timeout: str = "0s"
    max_runtime: str | None = None
    form: Format = Format.TEXT

    def check(self) -> None:
        """Raise UsageError for what is no duration, before anything is done."""
        _seconds(self.max_runtime, "--max-runtime")
        _seconds(self.lock_timeout, "--lock-timeout")


def run_command(
    ctx: typer.Context, task: "Task", asked: Asked, command: str, *, untouched: bool = False
) -> None:
    """Run a task as the command line asks, render the report, exit with its code.

    untouched: say how the accounts of named users stand for whom there was nothing to do.
    """
    with (
        open_session(ctx, read_only=asked.dry_run) as session,
        pinged(session, command, everybody=asked.everybody, dry_run=asked.dry_run),
    ):
        selection = select(session, asked)
        report = execute(session, task, selection, asked, command)
        if untouched:
            from svcctl.commands.untouched import tell_untouched

            tell_untouched(session, report, asked)
        finish(session, report, asked.form)


def finish(
    session: Session, report: "Report", form: Format, *, declined: str = "nothing was done"
) -> None:
    """Render the report; raise Exit with its code when that is not 0.

    declined: what is said on a terminal when the operator said no.
    """
    render(report, form, quiet=session.invocation.quiet, declined=declined)
    if report.exit_code:
        raise typer.Exit(int(report.exit_code))


def execute(
    session: Session,
    task: "Task",
    selection: "Selection",
    asked: Asked,
    command: str,
    *,
    connection: "Connection | None" = None,
    **more: Any,
) -> "Report":
    """One run with progress on a terminal and a question before removals."""
    from svcctl.runs.engine import Options, Site, run

    options = Options(
        dry_run=asked.dry_run,
        command=command,
        accept_removals=asked.accept_removals,
        max_runtime=_seconds(asked.max_runtime, "--max-runtime"),
        lock_timeout=_seconds(asked.lock_timeout, "--lock-timeout") or 0.0,
        confirm=lambda plan: asked.yes or _confirmed(plan),
        **{"force": bool(asked.users) or asked.failed, **more},
    )
    site = Site(session.settings, session.database, session.hooks(_known(session, asked.services)))
    # An undo of what was done elsewhere concerns no service; nothing else does.
    services = asked.services if options.undo else asked.services or None
    with _progress(session, options, asked) as watched:
        return run(site, task, selection, services, watched, connection=connection)


def _known(session: Session, services: list[str] | None) -> list[str] | None:
    """Hooks of services that do not exist are not asked for; the engine says what is wrong."""
    if not services:
        return None
    return [name for name in services if name in session.settings.services]


def select(session: Session, asked: Asked) -> "Selection":
    """Whom the command line means. Raises UsageError for unknown names and for nobody."""
    from svcctl.store.census import Selection

    if not (asked.users or asked.everybody or asked.state or asked.group or asked.failed):
        raise UsageError("nobody is selected", hint="name users, or give --all, --state or --group")
    if asked.everybody and (asked.users or asked.state or asked.group or asked.failed):
        raise UsageError("--all together with a narrower selection", hint="give one of them")
    require_known(session, asked.state, asked.group)
    ids: frozenset[int] | None = None
    if asked.users:
        ids = user_ids(session, asked.users)
    if asked.failed:
        from svcctl.store.operations import failed_users

        with session.database.read() as connection:
            failed = failed_users(connection, asked.services or session.settings.services)
        ids = failed if ids is None else ids & failed
    return Selection(ids, asked.state, asked.group)


def reselect(session: Session, users: list[str] | None, **narrow: str | None) -> "Selection":
    """Whom a saved plan was about. Raises SvcctlError when one of them is not known any more."""
    from svcctl.store.census import Selection
    from svcctl.store.people import ids_of

    ids: frozenset[int] | None = None
    if users is not None:
        try:
            with session.database.read() as connection:
                ids = frozenset(ids_of(connection, users))
        except UsageError as error:
            raise SvcctlError(
                f"nothing was done: {error.message}", hint="make a new plan: svcctl plan --out FILE"
            ) from error
    return Selection(ids, **narrow)


def require_known(session: Session, state: str | None, group: str | None) -> None:
    """Raises UsageError for a state or a group that does not exist: a typo must not mean nobody."""
    from svcctl.config.problems import suggest
    from svcctl.store.groups import find_group
    from svcctl.store.standing import count_states

    if state is not None and state not in session.settings.state_names:
        with session.database.read() as connection:
            known = session.settings.state_names | count_states(connection).keys()
        if state not in known:
            raise UsageError(f"no such state: {state}", hint=suggest(state, known))
    if group is not None:
        with session.database.read() as connection:
            find_group(connection, group)


def user_ids(session: Session, names: Iterable[str]) -> frozenset[int]:
    """The ids of users named on the command line, `@FILE` included."""
    from svcctl.store.people import ids_of

    with session.database.read() as connection:
        return frozenset(ids_of(connection, list(_expanded(names))))


def _expanded(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if not name.startswith("@"):
            yield name
            continue
        path = Path(name[1:])
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            reason = (getattr(error, "strerror", None) or "not UTF-8 text").lower()
            hint = "a text file with one username a line"
            raise UsageError(f"{path}: cannot be read: {reason}", hint=hint) from error
        yield from (line.strip() for line in text.splitlines() if line.strip())


def _seconds(text: str | None, option: str) -> float | None:
    if text is None:
        return None
    try:
        return 0.0 if text == "0" else parse_duration(text).total_seconds()
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error


def _confirmed(plan: "Plan") -> bool:
    removals = [p for p in plan.accounts if p.removal and p.verdict is None]
    if not removals or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    for planned in removals[:20]:
        operation = min(planned.operations, key=lambda one: one.verb.rank)
        what = f"{operation.verb.value}  {operation.reason}"
        say(f"  {planned.account.service}  {planned.username}  {what}")
    if len(removals) > 20:
        say(f"  … and {len(removals) - 20} more")
    return ask(f"Take access away from {len(removals)} accounts?")


@contextmanager
def _progress(session: Session, options: "Options", asked: Asked) -> Iterator["Options"]:
    if asked.form is Format.NDJSON and not asked.dry_run:
        yield replace(options, progress=lambda applied: write_line(event(applied)))
        return
    if session.invocation.quiet or not sys.stderr.isatty() or not session.invocation.color:
        yield options
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("planning", total=None)
        original: Callable[[Plan], bool] = options.confirm

        def confirm(plan: "Plan") -> bool:
            progress.stop()
            answer = original(plan)
            progress.start()
            return answer

        yield replace(
            options,
            confirm=confirm,
            planning=lambda count: progress.update(bar, completed=count),
            applying=lambda total: progress.update(
                bar, description="applying", completed=0, total=total
            ),
            progress=lambda _: progress.advance(bar),
        )
