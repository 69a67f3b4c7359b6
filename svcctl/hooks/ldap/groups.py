"""The groups of accounts in a directory, one member at a time: a group is never written whole."""

import threading

from svcctl.errors import Invalid, NotFound
from svcctl.ldap.client import LdapClient
from svcctl.ldap.groups import Tree, same_name
from svcctl.ldap.messages import Change
from svcctl.ldap.names import equals
from svcctl.ldap.results import Code

# What servers say to a member who is one already, and to one who leaves and was none: OpenLDAP 20
# and 16, Samba 68 and 53. They say the same of other things, so it is looked at then.
_NO_CHANGE = frozenset(
    {
        Code.ATTRIBUTE_OR_VALUE_EXISTS,
        Code.ENTRY_ALREADY_EXISTS,
        Code.NO_SUCH_ATTRIBUTE,
        Code.UNWILLING_TO_PERFORM,
    }
)


class Groups:
    """Adds members to groups and takes them out; for several threads.

    placeholder: who is in a group that nobody is in, where the schema demands a member
    (slapo-refint(5): refint_nothing).
    """

    def __init__(self, client: LdapClient, tree: Tree, placeholder: str) -> None:
        self._client = client
        self._tree = tree
        self._placeholder = placeholder
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()

    @property
    def by_name(self) -> bool:
        """Whether a member is a name that somebody logs in with, not a DN."""
        return self._tree.kind.by_name

    def names(self) -> list[str]:
        """All that there are."""
        return sorted({name for name, _ in self._tree.groups(self._client)})

    def of(self, member: str) -> dict[str, str]:
        """The groups that somebody is in, by their DN."""
        wanted = f"(&{self._tree.filter}{equals(self._tree.kind.member, member)})"
        found = self._client.find(self._tree.base, wanted, [self._tree.name])
        return {entry.dn: entry.text(self._tree.name) or "" for entry in found}

    def add(self, name: str, member: str) -> bool:
        """Whether it took a change. Raises Invalid for a group that is not there."""
        changed = self._in(name, "add", member)
        if changed is None:
            raise Invalid(f"{self._tree.base}: no group {name!r}", hint="create it there")
        return changed

    def remove(self, name: str, member: str) -> bool:
        """Whether it took a change; nobody is in a group that is not there."""
        return self._in(name, "delete", member) or False

    def leave_all(self, member: str) -> None:
        """Out of every group, for somebody who will be gone: the next of that name is another."""
        for group in self.of(member):
            self._change(group, "delete", member)

    def _in(self, name: str, kind: str, member: str) -> bool | None:
        """Whether it took a change; None: there is no such group."""
        for again in (False, True):
            group = self._dn(name)
            if group is None:
                return None
            try:
                return self._change(group, kind, member)
            except NotFound:
                # The group was renamed, or it is the member who is gone.
                with self._lock:
                    self._names.pop(name, None)
                if again or self._dn(name) == group:
                    raise
        raise AssertionError

    def _change(self, group: str, kind: str, member: str) -> bool:
        """Raises NotFound where the group or the member is not there."""
        attribute, values = self._tree.kind.member, [member.encode()]
        change: Change = (kind, attribute, values)
        expect: set[int] = set(_NO_CHANGE)
        if kind == "delete" and self._tree.kind.never_empty:
            expect.add(Code.OBJECT_CLASS_VIOLATION)
        code = self._client.modify(group, change, expect=expect)
        if code == Code.OBJECT_CLASS_VIOLATION:
            placed: Change = ("add", attribute, [self._placeholder.encode()])
            code = self._client.modify(group, placed, change, expect=_NO_CHANGE)
        if code == Code.SUCCESS:
            return True
        if self._holds(group, member) != (kind == "add"):
            done = "added" if kind == "add" else "deleted"
            raise Invalid(
                f"{group}: the server will not have {member} {done} ({code})",
                hint="whose primary group it is cannot join or leave it; take it out of groups.map",
            )
        return False

    def _holds(self, group: str, member: str) -> bool:
        is_member = equals(self._tree.kind.member, member)
        return self._client.read(group, (), filter=is_member) is not None

    def _dn(self, name: str) -> str | None:
        with self._lock:
            known = self._names.get(name)
        if known is not None:
            return known
        wanted = f"(&{self._tree.filter}{equals(self._tree.name, name)})"
        found = self._client.find(self._tree.base, wanted, ())
        if len(found) > 1:
            raise same_name(name, found[0].dn, found[1].dn)
        if not found:
            return None
        with self._lock:
            return self._names.setdefault(name, found[0].dn)
