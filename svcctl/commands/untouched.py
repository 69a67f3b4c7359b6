"""What is said of users who were named and for whom nothing was done."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from svcctl.commands.output import say
from svcctl.commands.running import Asked, user_ids
from svcctl.commands.session import Session

if TYPE_CHECKING:
    from svcctl.hooks.contract import ServiceHook
    from svcctl.model import Account, User
    from svcctl.runs.report import Report


def tell_untouched(
    session: Session, report: "Report", asked: Asked, *, create: bool = False
) -> None:
    """One line for each account that an operator may have meant, and how it stands.

    create: the command makes accounts, so that each service on which none was made is told of.
    """
    from svcctl.store.accounts import from_row
    from svcctl.store.census import stream

    if not asked.users or report.declined:
        return
    hooks = session.hooks(asked.services).loaded
    told = {(row["service"], row["user"]) for row in report.rows()}
    for problem in (*report.problems, *report.plan.problems, *report.notes):
        told.add((problem.service, problem.username))
    with session.database.read() as connection:
        for user, rows in stream(connection, user_ids(session, asked.users), list(hooks)):
            accounts = {account.service: account for account in map(from_row, rows)}
            left = {
                name: hook
                for name, hook in hooks.items()
                if told.isdisjoint({(name, user.username), (name, None)})
            }
            if create:
                lines = _why_none_was_made(user, left, accounts)
            elif len(left) == len(hooks):
                lines = _how_they_stand(user, accounts)
            else:
                continue
            for line in lines:
                say(line)


def _why_none_was_made(
    user: "User", hooks: "dict[str, ServiceHook]", accounts: "dict[str, Account]"
) -> Iterator[str]:
    for name, hook in hooks.items():
        account = accounts.get(name)
        if account is not None and not account.absent:
            yield f"{name}: {user.username} has one: {account.name} is {account.status}"
            if account.disabled:
                yield f"hint: svcctl accounts enable {user.username} --service {name}"
        elif not hook.service_active_for_user(user):
            yield f"{name}: {user.username} may not have one: {hook.explain_access(user)}"


def _how_they_stand(user: "User", accounts: "dict[str, Account]") -> Iterator[str]:
    there = [account for account in accounts.values() if not account.absent]
    for account in there:
        yield f"{account.service}: {user.username}: {account.name} is {account.status} already"
    if not there:
        yield f"{user.username} has no account"
