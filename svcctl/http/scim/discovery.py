"""What a SCIM server says of itself (RFC 7644, 4): its features and its schemas."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from svcctl.http.scim.resource import Resource


@dataclass(frozen=True, slots=True)
class Features:
    """What a server announces in /ServiceProviderConfig; without one, nothing."""

    filter: bool = False
    etag: bool = False
    cursor: bool = False
    page: int | None = None
    """The longest page that it gives, where it says so."""


@dataclass(frozen=True, slots=True)
class Schema:
    """What a server's /Schemas say of one resource type: attributes as `name` or `name.formatted`.

    Empty where the server has no such endpoint.
    """

    required: frozenset[str] = frozenset()
    read_only: frozenset[str] = frozenset()


def features(config: Resource) -> Features:
    """From a ServiceProviderConfig (RFC 7643, 5; RFC 9865, 4)."""

    def supported(name: str) -> bool:
        part = config.get(name)
        return isinstance(part, dict) and part.get("supported") is True

    paging = config.get("pagination")
    paging = paging if isinstance(paging, dict) else {}
    longest = None
    if supported("filter") and isinstance(config["filter"].get("maxResults"), int):
        longest = config["filter"]["maxResults"] or None
    return Features(
        filter=supported("filter"),
        etag=supported("etag"),
        cursor=paging.get("cursor") is True and paging.get("index") is False,
        page=longest,
    )


def schemas(found: Sequence[Resource]) -> dict[str, Schema]:
    """By their URN, from a list of schemas (RFC 7643, 7)."""
    known = {}
    for schema in found:
        if isinstance(schema.get("id"), str):
            attributes = list(_attributes(schema.get("attributes"), ""))
            known[schema["id"]] = Schema(
                frozenset(path for path, one in attributes if one.get("required") is True),
                frozenset(path for path, one in attributes if one.get("mutability") == "readOnly"),
            )
    return known


def _attributes(attributes: object, prefix: str) -> Iterator[tuple[str, Resource]]:
    """The attributes and, of those that are one object, the sub-attributes."""
    if not isinstance(attributes, Sequence):
        return
    for one in attributes:
        if isinstance(one, dict) and isinstance(one.get("name"), str):
            path = prefix + one["name"]
            yield path, one
            if not prefix and not one.get("multiValued"):
                yield from _attributes(one.get("subAttributes"), f"{path}.")
