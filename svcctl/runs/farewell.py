"""What users are told who lose an account."""

from typing import Any

from svcctl.hooks.contract import ServiceHook
from svcctl.model import Verb


def farewell(
    hook: ServiceHook, verb: Verb, account: str, *, reason: str, user_id: int, operation_id: int
) -> dict[str, Any]:
    """The row for `store.notifications.add`: kept in the transaction that records the removal."""
    removed = verb is Verb.DELETE
    facts = {"Account": account, "Reason": reason, "Service": hook.config.url}
    return {
        "user_id": user_id,
        "operation_id": operation_id,
        "level": "warning",
        "title": f"Your {hook.title} account was {'removed' if removed else 'disabled'}",
        "message": "\n".join(f"{name}: {fact}" for name, fact in facts.items() if fact),
    }
