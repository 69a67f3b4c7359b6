"""From a row to an account."""

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from svcctl.errors import Incomplete
from svcctl.hooks.manager import RemoteAccount

_OWN = frozenset({"uid", "name", "active", "nickname", "external_id"})
_BITS = {b"\0": False, b"\1": True}


def account_of(row: Mapping[str, Any], where: str) -> RemoteAccount:
    """Without its groups. Raises Incomplete for a row that does not say what counts.

    where: the key of the statement, for messages.
    """
    if not {"uid", "name"} <= row.keys():
        raise Incomplete(
            f"statements.{where}: needs the columns uid and name",
            hint="name columns with AS: SELECT user_id AS uid, username AS name",
        )
    uid = text_of(row["uid"], f"{where}: uid")
    return RemoteAccount(
        uid=uid,
        name=text_of(row["name"], f"{where}: name of {uid}"),
        active=_flag(row["active"], f"{where}: active of {uid}") if "active" in row else True,
        nickname=None if "nickname" not in row else str(row["nickname"] or ""),
        external_id=str(row["external_id"]) if row.get("external_id") else None,
        attributes={
            name: str(value) if isinstance(value, (dt.date, Decimal, uuid.UUID)) else value
            for name, value in row.items()
            if name not in _OWN and value is not None and value != ""
        },
    )


def with_groups(account: RemoteAccount, groups: frozenset[str] | None) -> RemoteAccount:
    return replace(account, groups=groups)


def text_of(value: Any, where: str) -> str:
    """A name or an id; 7 and 7.0 as the database's exact number are the same."""
    if isinstance(value, Decimal) and value == value.to_integral_value():
        value = int(value)
    if isinstance(value, (int, uuid.UUID)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value:
        raise Incomplete(f"statements.{where}: neither text nor a whole number")
    return value


def _flag(value: Any, where: str) -> bool:
    if isinstance(value, bytes):
        value = _BITS.get(value)
    if value not in (0, 1):
        raise Incomplete(f"statements.{where}: neither true nor false", hint="like: type <> 1")
    return bool(value)
