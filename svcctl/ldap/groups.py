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

    def groups(self, client: LdapClient, *attributes: str) -> Iterator[tuple[str, Entry]]:
        """Every group with its name and these attributes; two may have the same name."""
        for entry in client.entries(self.base, self.filter, [self.name, *attributes]):
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

    They are read when it is made: from the groups' members, or with `member_of` where the server
    keeps them with the people. nested: also by way of a group that is a member itself. unique: two
    groups of one name are a Conflict.
    """

    def __init__(
        self,
        client: LdapClient,
        tree: Tree,
        *,
        member_of: bool,
        nested: bool = False,
        unique: bool = False,
    ) -> None:
        self._kind = tree.kind
        self._member_of = member_of
        self._nested = nested
        self._names: dict[str, str] = {}
        self._held: dict[str, frozenset[str]] = {}
        self._combinations: dict[frozenset[str], frozenset[str]] = {}
        self._named: dict[frozenset[str], frozenset[str]] = {}
        met: dict[str, str] = {}
        for name, group in tree.groups(client, MEMBER_OF if member_of else self._kind.member):
            if met.setdefault(name, group.dn) != group.dn and unique:
                raise same_name(name, met[name], group.dn)
            key = dn_key(group.dn)
            self._names[key] = name
            if member_of:
                self._held[key] = frozenset(map(dn_key, group.texts(MEMBER_OF)))
                continue
            for value in group.texts(self._kind.member):
                member = self._kind.key(value)
                together = self._held.get(member, _NONE) | {key}
                self._held[member] = self._combinations.setdefault(together, together)

    def of(self, entry: Entry, name: str) -> frozenset[str]:
        """name: what the person logs in with."""
        if self._member_of:
            groups = frozenset(map(dn_key, entry.texts(MEMBER_OF)))
        else:
            groups = self._held.get(self._kind.key(name if self._kind.by_name else entry.dn), _NONE)
        if groups not in self._named:
            names = frozenset(self._names[key] for key in self._all(groups))
            self._named[groups] = self._combinations.setdefault(names, names)
        return self._named[groups]

    def _all(self, groups: frozenset[str]) -> set[str]:
        """Those of them that are groups of the tree, and with `nested` what these are in."""
        found: set[str] = set()
        todo = list(groups)
        while todo:
            key = todo.pop()
            if key in self._names and key not in found:
                found.add(key)
                todo.extend(self._held.get(key, _NONE) if self._nested else ())
        return found


_NONE: frozenset[str] = frozenset()
