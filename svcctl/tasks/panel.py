"""The services page of a user: what each hook shows, filled with the accounts of the store."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from svcctl.errors import HookError
from svcctl.hooks.contract import ServiceHook, defect
from svcctl.model import ServiceRow, User
from svcctl.store import accounts as account_rows

if TYPE_CHECKING:
    from sqlalchemy import Connection


def rows(
    connection: "Connection", user: User, hooks: Mapping[str, ServiceHook]
) -> tuple[dict[str, ServiceRow], dict[str, HookError]]:
    """The rows by service, and the errors of hooks that could not show theirs.

    A service whose `show_service_ctrl` says no is in neither.
    """
    accounts = {
        account.service: account
        for account in account_rows.find(connection, user_id=user.id, service=list(hooks))
    }
    shown: dict[str, ServiceRow] = {}
    failed: dict[str, HookError] = {}
    for name, hook in hooks.items():
        view = hook._accounts  # noqa: SLF001 - filled as `hooks.decide` does
        view.clear()
        if name in accounts:
            view[user.id] = accounts[name]
        try:
            if hook.show_service_ctrl(user, user.state):
                shown[name] = hook.render_service_ctrl(user)
        except Exception as error:  # noqa: BLE001 - a hook is foreign code; one never stops the rest
            failed[name] = defect(hook, error)
        finally:
            view.clear()
    return shown, failed


def html(rows: Mapping[str, ServiceRow], hooks: Mapping[str, ServiceHook]) -> str:
    """The rows as an HTML table. Raises HookError for a template that cannot be filled."""
    parts = []
    for name, row in rows.items():
        try:
            parts.append(hooks[name].render_html(row).rstrip("\n"))
        except Exception as error:
            raise defect(hooks[name], error) from error
    return "\n".join(["<table>", *parts, "</table>"])
