"""A SCIM resource (RFC 7643, 3): a JSON object with an id, and what is where in it."""

from functools import lru_cache
from typing import Any

from svcctl.errors import Incomplete

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"

Resource = dict[str, Any]


def at(resource: Resource, path: str) -> Any:
    """The value of an attribute, None where there is none.

    path: `title`, `name.givenName`, or with the schema of an extension before it, as
    `urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department` (RFC 7644, 3.10).
    """
    value: Any = resource
    for part in _parts(path):
        value = value.get(part) if isinstance(value, dict) else None
    return value


@lru_cache(maxsize=256)
def _parts(path: str) -> tuple[str, ...]:
    schema, _, path = path.rpartition(":")
    inner = tuple(path.split("."))
    return (schema, *inner) if schema and schema not in (USER, GROUP) else inner


def put(resource: Resource, path: str, value: Any) -> None:
    """Set it; None takes it out. The e-mail addresses are a list (RFC 7643, 4.1.2)."""
    name, _, inner = path.partition(".")
    if inner:
        table = dict(resource.get(name) or {})
        put(table, inner, value)
        resource[name] = table
    elif value is None:
        resource.pop(name, None)
    elif name in ("emails", "phoneNumbers") and not isinstance(value, list):
        resource[name] = [{"value": value}]
    else:
        resource[name] = value


def same(attribute: str, shown: object, wanted: str) -> bool:
    """Whether an attribute has the value; a userName in any case (RFC 7643, 4.1.1)."""
    if not isinstance(shown, str):
        return False
    if attribute == "userName":
        return shown.casefold() == wanted.casefold()
    return shown == wanted


def group_name(group: Resource) -> str:
    """Its displayName. Raises Incomplete where it has none."""
    name = group.get("displayName")
    if not isinstance(name, str) or not name:
        raise Incomplete(f"/Groups/{group['id']}: has no displayName")
    return name


def members(group: Resource) -> list[Resource]:
    """Those that it shows. Raises Incomplete for what is no list of members."""
    found = group.get("members") or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Incomplete(f"/Groups/{group['id']}: members is not a list of members")
    return found


def is_group(member: Resource) -> bool:
    """Whether a member is a group (RFC 7643, 4.2): ids are unique per kind only."""
    kind, where = member.get("type"), member.get("$ref")
    if isinstance(kind, str):
        return kind.casefold() == "group"
    return isinstance(where, str) and "/Groups/" in where


def own_groups(user: Resource) -> frozenset[str] | None:
    """The groups that the user shows to be in without the help of another group, by name.

    None where a group is shown without its name. Nothing may mean that the server does not tell.
    """
    groups = user.get("groups")
    if not isinstance(groups, list):
        return frozenset()
    try:
        names = [one["display"] for one in groups if one.get("type") != "indirect"]
    except (AttributeError, KeyError):
        return None
    return frozenset(names) if all(names) and {*map(type, names)} <= {str} else None
