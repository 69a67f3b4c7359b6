"""`svcctl retry`."""

from typing import TYPE_CHECKING, Annotated

import typer

from svcctl.commands.completion import complete_runs
from svcctl.commands.options import (
    DryRunOption,
    Format,
    FormatOption,
    JsonOption,
    LockTimeoutOption,
    MaxRuntimeOption,
    ServiceOption,
    YesOption,
)
from svcctl.commands.output import chosen, say
from svcctl.commands.running import Asked, execute, finish
from svcctl.commands.session import Session, open_session

if TYPE_CHECKING:
    from svcctl.runs.due import Due
    from svcctl.runs.report import Report

app = typer.Typer()

RunArgument = Annotated[
    int | None,
    typer.Argument(
        metavar="RUN",
        help="Only what this run left undone.",
        autocompletion=complete_runs,
        show_default=False,
    ),
]


@app.command()
def retry(
    ctx: typer.Context,
    run: RunArgument = None,
    service: ServiceOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    lock_timeout: LockTimeoutOption = "0s",
    max_runtime: MaxRuntimeOption = None,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """What failed, is unknown or was not come to: plan these accounts anew, and no others.

    It does not wait for the next attempt to be due. Nothing is taken from the old plan, and the
    limits hold. A password that could not be set is not set again.
    """
    from svcctl.runs.due import due
    from svcctl.store.census import Selection
    from svcctl.tasks.task import retry as task

    asked = Asked(
        dry_run=dry_run,
        yes=yes,
        lock_timeout=lock_timeout,
        max_runtime=max_runtime,
        form=chosen(form, json),
    )
    with open_session(ctx, read_only=dry_run) as session:
        _require(session, run, service)
        with session.database.read() as connection:
            found = due(connection, service or session.settings.services, run)
        for name, user in found.passwords:
            say(
                f"{name}: {user}: a password is not set again; "
                f"svcctl accounts reset-password {user} --service {name}"
            )
        if not found.owners:
            _nothing(session, asked)
            return
        report = execute(
            session,
            task(frozenset(found.creates)),
            Selection(frozenset(user_id for _, user_id in found.owners.values())),
            _on(asked, found),
            "retry" if run is None else f"retry {run}",
            only=frozenset(found.owners),
            force=True,
        )
        _note_what_is_not_wanted(report, found)
        finish(session, report, asked.form)


def _require(session: Session, run: int | None, services: list[str] | None) -> None:
    from svcctl.config.problems import suggest
    from svcctl.errors import UsageError
    from svcctl.store.runs import find

    for name in services or ():
        if name not in session.settings.services:
            raise UsageError(
                f"no service {name!r}", hint=suggest(name, session.settings.services) or None
            )
    if run is not None:
        with session.database.read() as connection:
            if find(connection, run) is None:
                raise UsageError(f"there is no run {run}", hint="see: svcctl history")


def _nothing(session: Session, asked: Asked) -> None:
    """Nothing is due but, perhaps, messages."""
    from svcctl.clock import stamp
    from svcctl.runs.deliver import deliver
    from svcctl.runs.engine import Site
    from svcctl.runs.plan import Plan
    from svcctl.runs.report import Report
    from svcctl.tasks.task import retry as task

    report = Report("retry", asked.dry_run, Plan(task(()), stamp()))
    if not asked.dry_run:
        problem = deliver(Site(session.settings, session.database, session.hooks(())))
        report.problems = [problem] if problem else []
    if asked.form is Format.TEXT:
        say("nothing to retry")
    finish(session, report, asked.form)


def _on(asked: Asked, found: "Due") -> Asked:
    from dataclasses import replace

    return replace(asked, services=found.services)


def _note_what_is_not_wanted(report: "Report", found: "Due") -> None:
    """Say of what is due and was not planned again that the rules do not want it now."""
    from svcctl.errors import ExitCode
    from svcctl.runs.plan import Problem

    told = {(planned.account.service, planned.account.user_id) for planned in report.plan.accounts}
    names = {
        (problem.service, problem.username)
        for problem in (*report.problems, *report.plan.problems, *report.notes)
    }
    for id_, owner in found.owners.items():
        user = found.users[owner[1]]
        if owner in told or {(owner[0], user), (owner[0], None)} & names:
            continue
        verbs = ", ".join(sorted(verb.value for verb in found.verbs[id_]))
        report.notes.append(Problem(owner[0], f"{verbs}: not needed now", ExitCode.OK, user))
