"""Who is in which groups of a SCIM server, as its groups tell it."""

from collections.abc import Callable, Iterator

from svcctl.http.scim.client import ScimClient
from svcctl.http.scim.resource import Resource, group_name, is_group, members

_NONE: frozenset[str] = frozenset()


class Memberships:
    """The names of the groups that each user is in; equal combinations of groups are one object."""

    def __init__(self) -> None:
        self._held: dict[str, frozenset[str]] = {}
        self._combinations: dict[frozenset[str], frozenset[str]] = {}

    def add(self, key: str, name: str) -> None:
        """key: what members are called by: an id, or a userName."""
        before = self._held.get(key, _NONE)
        if name not in before:
            after = before | {name}
            self._held[key] = self._combinations.setdefault(after, after)

    def of(self, user: Resource) -> frozenset[str]:
        """By id, or by userName, as which canaille shows members."""
        held = self._held.get(user["id"])
        return held or self._held.get(str(user.get("userName")), _NONE)


def direct(scim: ScimClient) -> Memberships:
    """Who is a member of each group itself, by the groups' displayName."""
    memberships = Memberships()
    for group in groups(scim):
        name = group_name(group)
        for member in members(group):
            if not is_group(member):
                memberships.add(str(member.get("value")), name)
    return memberships


def nested(scim: ScimClient, name_of: Callable[[Resource], str]) -> Memberships:
    """Who is in each group, also by way of a group that is its member (RFC 7643, 4.2).

    name_of: what a group is called.
    """
    names: dict[str, str] = {}
    users: dict[str, list[str]] = {}
    inner: dict[str, list[str]] = {}
    for group in groups(scim):
        id_ = group["id"]
        names[id_], users[id_], inner[id_] = name_of(group), [], []
        for member in members(group):
            (inner if is_group(member) else users)[id_].append(str(member.get("value")))
    memberships = Memberships()
    for id_, name in names.items():
        todo, met = [id_], {id_}
        while todo:
            here = todo.pop()
            for key in users.get(here, ()):
                memberships.add(key, name)
            fresh = [key for key in inner.get(here, ()) if key not in met]
            met.update(fresh)
            todo.extend(fresh)
    return memberships


def groups(scim: ScimClient) -> Iterator[Resource]:
    """Every group with its members.

    Unknown is not absent: a server that leaves members out of a list is asked for each group,
    until one in a list shows that it does not.
    """
    trusted = False
    singly = False
    for group in scim.resources("Groups"):
        trusted = trusted or bool(members(group))
        if singly or not trusted:
            alone = scim.get("Groups", group["id"], patient=True)
            singly = singly or (not members(group) and bool(members(alone)))
            yield alone
        else:
            yield group
