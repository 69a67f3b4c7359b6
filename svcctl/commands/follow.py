"""What follows a change to somebody in the directory: their validate, groups and nickname."""

from typing import TYPE_CHECKING

from svcctl.commands.options import Format
from svcctl.commands.running import Asked, execute, finish
from svcctl.commands.session import Session

if TYPE_CHECKING:
    from svcctl.store.database import Connection


def follow_up(
    session: Session,
    user_ids: list[int],
    *,
    connection: "Connection | None",
    dry_run: bool,
    yes: bool,
    form: Format,
) -> None:
    """Bring these users' accounts in step, print the report, exit with its code if it is not 0.

    connection: with dry_run, the transaction in which the change was made and will be rolled back.
    Alliance Auth's signals do the same at these moments.
    """
    if not user_ids or not session.settings.services:
        return
    from svcctl.store.census import Selection
    from svcctl.tasks.task import AFTER_CHANGE

    asked = Asked(dry_run=dry_run, yes=yes, form=form)
    report = execute(
        session,
        AFTER_CHANGE,
        Selection(frozenset(user_ids)),
        asked,
        "after a change",
        connection=connection,
        force=True,
    )
    finish(session, report, form)
