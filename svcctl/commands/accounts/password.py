"""`svcctl accounts reset-password` and `set-password`."""

import sys

import typer

from svcctl.commands.accounts.names import OneService, OneUser
from svcctl.commands.options import (
    DryRunOption,
    Format,
    FormatOption,
    JsonOption,
    LockTimeoutOption,
)
from svcctl.commands.output import chosen, say
from svcctl.commands.running import Asked, execute, finish, select
from svcctl.commands.session import open_session


def reset_password(
    ctx: typer.Context,
    user: OneUser,
    service: OneService,
    dry_run: DryRunOption = False,
    lock_timeout: LockTimeoutOption = "0s",
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Set a new random password and show it, once."""
    from svcctl.tasks.task import RESET_PASSWORD

    asked = Asked(
        [user],
        services=[service],
        dry_run=dry_run,
        lock_timeout=lock_timeout,
        form=chosen(form, json),
    )
    with open_session(ctx, read_only=dry_run) as session:
        selection = select(session, asked)
        report = execute(session, RESET_PASSWORD, selection, asked, "accounts reset-password")
        if not report.changed:
            say(f"{user} has no active account on {service}")
        finish(session, report, asked.form)


def set_password(
    ctx: typer.Context,
    user: OneUser,
    service: OneService,
    dry_run: DryRunOption = False,
    lock_timeout: LockTimeoutOption = "0s",
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Set a password that is asked for, or read as one line from standard input."""
    from dataclasses import replace

    from svcctl.errors import UsageError
    from svcctl.tasks.task import SET_PASSWORD

    asked = Asked(
        [user],
        services=[service],
        dry_run=dry_run,
        lock_timeout=lock_timeout,
        form=chosen(form, json),
    )
    with open_session(ctx, read_only=dry_run) as session:
        selection = select(session, asked)
        password = "" if dry_run else _read_password()
        if not dry_run and len(password) < 8:
            raise UsageError("the password is too short", hint="8 characters at least")
        report = execute(
            session,
            SET_PASSWORD,
            selection,
            asked,
            "accounts set-password",
            passwords={(service, user): password},
        )
        if not report.changed:
            say(f"{user} has no active account on {service}")
        report = replace(report, passwords={})
        finish(session, report, asked.form)


def _read_password() -> str:
    if sys.stdin.isatty():
        answer: str = typer.prompt("password", hide_input=True, confirmation_prompt=True, err=True)
        return answer
    return sys.stdin.readline().rstrip("\r\n")
