"""Groups of a directory: what their members are called, and who is in which."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from svcctl.config.ldap import GroupClass
from svcctl.errors import Conflict, Incomplete
from svcctl.ldap.client import LdapClient
from svcctl.ldap.messages import Entry
from svcctl.ldap.names import dn_key

MEMBER_OF = "memberOf"


@dataclass(frozen=True, slots=True)
class GroupKind:
    """member: the attribute that has the members. by_name: as they log in, not by their DN.

    never_empty: the schema demands a member.
    """

    member: str
    by_name: bool = False
    never_empty: bool = False

    def key(self, value: str) -> str:
        """What two members are compared by (RFC 4519, 2.17; RFC 2307, 3)."""
        return value if self.by_name else dn_key(value)


KINDS: Mapping[GroupClass, GroupKind] = MappingProxyType(
    {
        "groupOfNames": GroupKind("member", never_empty=True),
        "groupOfUniqueNames": GroupKind("uniqueMember", never_empty=True),
        "groupOfMembers": GroupKind("member"),
        "posixGroup": GroupKind("memberUid", by_name=True),
        "group": GroupKind("member"),
    }
)
"""RFC 4519, 3.5 and 3.6; draft-howard-rfc2307bis-02; RFC 2307; Active Directory."""


@dataclass(frozen=True, slots=True)
class Tree:
    """Where groups are: at and below `base`, of a class, and the attribute that names them."""

    base: str
    group_class: GroupClass
    name: str = "cn"

    @property
    def kind(self) -> GroupKind:
        return KINDS[self.group_class]

    @property
    def filter(self) -> str:
        return f"(objectClass={self.group_class})"

    def groups(self, client: LdapClient, *, members: bool = False) -> Iterator[tuple[str, Entry]]:
        """Every group with its name; two may have the same."""
        shown = [self.name, self.kind.member] if members else [self.name]
        for entry in client.entries(self.base, self.filter, shown):
            name = entry.text(self.name)
            if not name:
                raise Incomplete(f"{entry.dn}: shows no {self.name}", hint="let bind_dn read it")
            yield name, entry


def same_name(name: str, first: str, second: str) -> Conflict:
    """Two groups of one name cannot be told apart."""
    return Conflict(
        f"two groups are called {name!r}: {first} and {second}",
        hint="rename one of them, name groups by another attribute, or narrow group_base",
    )


class Memberships:
    """The names of the groups that each person is in; equal combinations are one object.

    They are read when it is made: from the groups' members, or where the server keeps memberOf
    with the people, only the groups' names. unique: two groups of one name are a Conflict.
    """

    def __init__(
        self, client: LdapClient, tree: Tree, *, member_of: bool, unique: bool = False
    ) -> None:
        met: dict[str, str] = {}
        self._kind = tree.kind
        self._names: dict[str, str] | None = {} if member_of else None
        self._held: dict[str, frozenset[str]] = {}
        self._combinations: dict[frozenset[str], frozenset[str]] = {}
        for name, group in tree.groups(client, members=not member_of):
            if met.setdefault(name, group.dn) != group.dn and unique:
                raise same_name(name, met[name], group.dn)
            if self._names is not None:
                self._names[dn_key(group.dn)] = name
                continue
            for member in group.texts(self._kind.member):
                key = self._kind.key(member)
                self._held[key] = self._one(self._held.get(key, frozenset()) | {name})

    def of(self, entry: Entry, name: str) -> frozenset[str]:
        """name: what the person logs in with."""
        if self._names is None:
            return self._held.get(self._kind.key(name if self._kind.by_name else entry.dn), _NONE)
        keys = map(dn_key, entry.texts(MEMBER_OF))
        return self._one(frozenset(self._names[key] for key in keys if key in self._names))

    def _one(self, names: frozenset[str]) -> frozenset[str]:
        return self._combinations.setdefault(names, names)


_NONE: frozenset[str] = frozenset()
