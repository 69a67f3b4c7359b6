"""From an account's JSON to what it says."""

from typing import Any

from svcctl.errors import Incomplete
from svcctl.hooks.http.expression import Expression
from svcctl.hooks.http.settings import Shape
from svcctl.hooks.manager import RemoteAccount


def uid_of(item: Any, shape: Shape) -> str:
    """Raises Incomplete where there is none."""
    uid = shape.uid.of(item)
    if isinstance(uid, bool) or not isinstance(uid, (int, str)) or uid == "":
        raise Incomplete(
            f"an account has no uid at {shape.uid}",
            hint="compare account.uid, and item or items, with what the service sends",
        )
    return str(uid)


def name_of(item: Any, shape: Shape) -> str:
    """Raises Incomplete where there is none."""
    name = shape.name.of(item)
    if not isinstance(name, str) or not name:
        raise Incomplete(
            f"account {uid_of(item, shape)} has no name at {shape.name}",
            hint="compare account.name with what the service sends",
        )
    return name


def account_of(item: Any, shape: Shape, groups: frozenset[str] | None) -> RemoteAccount:
    """Raises Incomplete where it does not say what counts."""
    uid, name = uid_of(item, shape), name_of(item, shape)
    active = True if shape.active is None else shape.active.of(item)
    if not isinstance(active, bool):
        raise Incomplete(
            f"account {uid} ({name}): {shape.active} is neither true nor false",
            hint="compare account.active with what the service sends",
        )
    shown = {attribute: path.of(item) for attribute, path in shape.attributes.items()}
    return RemoteAccount(
        uid=uid,
        name=name,
        active=active,
        external_id=_text(item, shape.external_id) or None,
        groups=groups,
        nickname=_text(item, shape.nickname),
        attributes={attribute: _plain(value) for attribute, value in shown.items() if value},
    )


def _text(item: Any, path: Expression | None) -> str | None:
    found = None if path is None else path.of(item)
    return found if isinstance(found, str) else None


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
