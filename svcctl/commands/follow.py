"""What follows a change to somebody in the directory: their validate, groups and nickname."""

from typing import TYPE_CHECKING

from svcctl.commands.output import say
from svcctl.commands.running import Asked, execute, finish
from svcctl.commands.session import Session
from svcctl.errors import ExitCode

if TYPE_CHECKING:
    from svcctl.store.database import Connection


def follow_up(
    session: Session,
    user_ids: list[int],
    asked: Asked,
    *,
    connection: "Connection | None" = None,
) -> None:
    """Bring these users' accounts in step, print the report, exit with its code if it is not 0.

    connection: in a dry run, the transaction in which the change was made and will be rolled back.
    Alliance Auth's signals do the same at these moments.
    """
    if not user_ids or not session.settings.services:
        return
    from svcctl.store.census import Selection
    from svcctl.tasks.task import AFTER_CHANGE

    report = execute(
        session,
        AFTER_CHANGE,
        Selection(frozenset(user_ids)),
        asked,
        "after a change",
        connection=connection,
        force=True,
    )
    busy = any(problem.code is ExitCode.TRY_LATER for problem in report.problems)
    if busy or report.declined:
        say("the change is made; the next sync brings the accounts in step")
    finish(session, report, asked.form, declined="no account was changed")
