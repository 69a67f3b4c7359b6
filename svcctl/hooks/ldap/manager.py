"""What speaks LDAP: accounts are entries of people, groups are entries with members."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from svcctl.config.ldap import DialectName, GroupClass, Tls
from svcctl.errors import Conflict, Denied, Invalid, ManagerError, NotFound, Transient
from svcctl.hooks.ldap.groups import Groups
from svcctl.hooks.manager import Created, GroupChange, Manager, NewAccount, RemoteAccount
from svcctl.ldap.client import LdapClient
from svcctl.ldap.dialect import (
    ACCOUNT_CONTROL,
    ACCOUNT_DISABLE,
    ACTIVE_DIRECTORY,
    DIALECTS,
    LOCKED_FOR_GOOD,
    LOCKED_TIME,
    NORMAL_ACCOUNT,
    account_control,
)
from svcctl.ldap.groups import MEMBER_OF, Memberships, Tree
from svcctl.ldap.messages import Control, Entry
from svcctl.ldap.names import equals, rdn

PATHS: Mapping[str, str] = MappingProxyType(
    {"email": "mail", "given_name": "givenName", "family_name": "sn"}
)
"""Which LDAP attribute a user attribute is, unless the configuration says otherwise."""
USABLE: Control = ("1.3.6.1.4.1.42.2.27.9.5.8", False, None)
"""Would the account be let in? (draft-ietf-ldap-acctusability; slapo-ppolicy(5), since 2.5)"""
_IS_USABLE = b"\x80"
_PASSWORD_POLICY = "1.3.6.1.4.1.42.2.27.8.5.1"  # noqa: S105 - an OID
_NAMED_PEOPLE = frozenset({"person", "organizationalperson", "inetorgperson"})


class LdapManager(Manager):
    """Accounts below one base of a directory server, each with a uid that no renaming changes.

    Nothing outside of `base` and `group_base` is read or written. Sources: RFC 4511 to 4519 and
    3062; slapo-ppolicy(5); MS-ADTS 3.1.1.3.1.5 for the passwords of Active Directory.
    """

    concurrency = 4
    stores_external_id = True

    def __init__(
        self,
        server: str,
        base: str,
        *,
        dialect: DialectName = "openldap",
        bind_dn: str | None = None,
        bind_password: str | None = None,
        tls: Tls | None = None,
        timeout: timedelta = timedelta(seconds=30),
        page_size: int = 500,
        user_filter: str | None = None,
        user_classes: Sequence[str] = (),
        external_ids: bool = True,
        external_id_attribute: str = "employeeNumber",
        nickname_attribute: str = "displayName",
        paths: Mapping[str, str] = PATHS,
        upn_suffix: str | None = None,
        ppolicy: bool = True,
        group_base: str | None = None,
        group_class: GroupClass | None = None,
        group_name: str = "cn",
        placeholder: str = "cn=nobody",
    ) -> None:
        self._dialect = DIALECTS[dialect]
        self._windows = dialect == "active-directory"
        self._client = LdapClient(
            server,
            bind_dn=bind_dn,
            bind_password=bind_password,
            tls=tls,
            timeout=timeout,
            page_size=page_size,
            search_controls=self._dialect.search_controls,
        )
        self._base = base
        self._people = user_filter or self._dialect.people
        self._classes = tuple(user_classes) or self._dialect.classes
        # A promise about this server, not about all of them.
        self.stores_external_id = external_ids
        self._external_id = external_id_attribute
        self._nickname = nickname_attribute
        self._paths = paths
        self._upn_suffix = upn_suffix
        self._ppolicy = ppolicy
        self._tree: Tree | None = None
        self._groups: Groups | None = None
        if group_base is not None:
            self._tree = Tree(group_base, group_class or self._dialect.group_class, group_name)
            self._groups = Groups(self._client, self._tree, placeholder)
        shown = {self._dialect.uid, self._dialect.name, self._dialect.shown}
        shown |= {nickname_attribute, *paths.values()}
        self._shown = sorted(shown | ({external_id_attribute} if external_ids else set()))

    def check(self) -> None:
        """The server takes our password, is of the dialect, and shows where people and groups are.

        What may be written there only shows when it is.
        """
        root = self._client.root("supportedCapabilities", "supportedControl", "supportedExtension")
        if (ACTIVE_DIRECTORY in root.texts("supportedCapabilities")) != self._windows:
            other = "openldap" if self._windows else "active-directory"
            raise Invalid(
                f"{self._client.url}: is not what dialect says", hint=f'set dialect = "{other}"'
            )
        announced = root.texts("supportedControl")
        if not self._windows and self._ppolicy and _PASSWORD_POLICY not in announced:
            raise Invalid(
                f"{self._client.url}: has no overlay ppolicy, by which accounts are locked",
                hint="load it, or set ppolicy = false: then accounts are deleted, not disabled",
            )
        for base in (self._base, *([self._tree.base] if self._tree else ())):
            if self._client.read(base, ()) is None:
                raise Denied(
                    f"{self._client.url}: {base} is not there, or is not shown to us",
                    hint="check base and group_base, and what bind_dn may see",
                )

    def close(self) -> None:
        self._client.close()

    # Reading

    def list_accounts(self) -> Iterator[RemoteAccount]:
        """Everybody whom user_filter fits. Who is in which groups is read first."""
        memberships = None
        shown = self._shown
        if self._tree is not None:
            memberships = Memberships(self._client, self._tree, member_of=self._windows)
            shown = [*shown, MEMBER_OF] if self._windows else shown
        for entry in self._client.entries(self._base, self._people, shown):
            groups = None
            if memberships is not None:
                groups = memberships.of(entry, self._dialect.name_of(entry))
            yield self._account(entry, groups)

    def get_account(self, uid: str) -> RemoteAccount:
        return self._with_groups(self._entry(uid))

    def find_account(self, external_id: str, name: str) -> RemoteAccount | None:
        """By our external id, else by name, which the server compares in its own way."""
        found = self._called(name, external_id)
        ours = [entry for entry in found if self._has(entry, external_id)]
        if len(ours or found) > 1:
            raise Conflict(
                f"{ours[0].dn if ours else found[0].dn} and {(ours or found)[1].dn} are both "
                f"{external_id if ours else name!r}",
                hint="rename or remove one of them",
            )
        return self._with_groups((ours or found)[0], external_id) if found else None

    def list_groups(self) -> Iterable[str]:
        """Raises Invalid without group_base."""
        return self._with_group_base().names()

    def _entry(self, uid: str) -> Entry:
        """Where the account is now, and what it shows; somebody may have renamed or moved it."""
        found = self._client.find(self._base, self._dialect.uid_filter(uid), self._shown)
        if not found:
            raise NotFound(f"{self._base}: nobody has the {self._dialect.uid} {uid}")
        return found[0]

    def _called(self, name: str, external_id: str, filter: str | None = None) -> list[Entry]:
        keys = equals(self._dialect.name, name)
        if self.stores_external_id and external_id:
            keys = f"(|{equals(self._external_id, external_id)}{keys})"
        return self._client.find(self._base, f"(&{filter or self._people}{keys})", self._shown)

    def _has(self, entry: Entry, external_id: str) -> bool:
        return self.stores_external_id and external_id in entry.texts(self._external_id)

    def _with_groups(self, entry: Entry, external_id: str = "") -> RemoteAccount:
        groups = None
        if self._groups is not None:
            groups = frozenset(self._groups.of(self._member(entry)).values())
        return self._account(entry, groups, external_id)

    def _account(
        self, entry: Entry, groups: frozenset[str] | None, external_id: str = ""
    ) -> RemoteAccount:
        """external_id: the one that was asked for, of several in the attribute."""
        known = external_id if self._has(entry, external_id) else None
        return RemoteAccount(
            uid=self._dialect.uid_of(entry),
            name=self._dialect.name_of(entry),
            active=self._dialect.active(entry),
            external_id=known
            or (entry.text(self._external_id) if self.stores_external_id else None),
            groups=groups,
            nickname=entry.text(self._nickname) or "",
            attributes={
                attribute: values[0] if len(values) == 1 else tuple(sorted(values))
                for attribute, path in self._paths.items()
                if (values := entry.texts(path))
            },
        )

    # Accounts

    def create_account(self, new: NewAccount) -> Created:
        """A new entry directly below `base`, named by the name.

        Conflict also where only the external id is taken, and where a group has the new name as a
        member already: whoever put it there meant someone else.
        """
        dn = f"{rdn(self._dialect.rdn, new.name)},{self._base}"
        if len(new.name.encode()) > self._dialect.longest:
            raise Invalid(f"{new.name!r}: longer than {self._dialect.longest} octets")
        for other in self._called(new.name, new.external_id, "(objectClass=*)"):
            what = "external id" if self._has(other, new.external_id) else "name"
            raise Conflict(f"{other.dn} has this {what} already")
        if self._groups is not None and not self._windows:
            member = new.name if self._groups.by_name else dn
            for group in self._groups.of(member):
                raise Conflict(
                    f"{group}: has {member} as a member, who is not there",
                    hint="take it out of the group, or create the account by hand",
                )
        keys = (self._dialect.uid, self._dialect.name)
        made = self._client.add(dn, self._new_entry(new), keys)
        if not self._windows:
            self._give_password(dn, new.password)
        made = made or self._client.read(dn, keys)
        if made is None:
            raise Transient(f"{dn}: was made, and is not shown")
        return Created(uid=self._dialect.uid_of(made), name=self._dialect.name_of(made))

    def _new_entry(self, new: NewAccount) -> dict[str, list[bytes]]:
        values = {
            self._paths.get(attribute, attribute): _octets(value)
            for attribute, value in new.attributes.items()
            if value not in (None, "", [], ())
        }
        if self._windows:
            if self._upn_suffix is not None:
                values.setdefault("userPrincipalName", _octets(f"{new.name}@{self._upn_suffix}"))
            values[ACCOUNT_CONTROL] = _octets(NORMAL_ACCOUNT)
            values["unicodePwd"] = [_unicode_pwd(new.password)]
        elif not _NAMED_PEOPLE.isdisjoint(map(str.lower, self._classes)):
            for required in ("cn", "sn"):
                values.setdefault(required, _octets(new.name))
        if self.stores_external_id:
            values[self._external_id] = _octets(new.external_id)
        values["objectClass"] = _octets(self._classes)
        values[self._dialect.rdn] = values[self._dialect.name] = _octets(new.name)
        return values

    def _give_password(self, dn: str, password: str) -> None:
        """The first password. Where the server will not have it, there is no account."""
        try:
            self._client.set_password(dn, password)
        except ManagerError as error:
            if not error.retry:
                with suppress(ManagerError):
                    self._client.delete(dn)
            raise

    def enable_account(self, uid: str) -> None:
        """Also lifts a lock after too many wrong passwords, in OpenLDAP."""
        entry = self._entry(uid)
        if self._windows:
            self._control(entry, account_control(entry) & ~ACCOUNT_DISABLE)
        else:
            self._client.modify(entry.dn, ("replace", LOCKED_TIME, []))

    def disable_account(self, uid: str) -> None:
        """Raises Invalid where OpenLDAP says that the lock keeps nobody out."""
        entry = self._entry(uid)
        if self._windows:
            self._control(entry, account_control(entry) | ACCOUNT_DISABLE)
            return
        self._lock(entry.dn)
        after = self._client.read(entry.dn, (), controls=[USABLE])
        if after is not None and after.controls.get(USABLE[0], b"").startswith(_IS_USABLE):
            self._client.modify(entry.dn, ("replace", LOCKED_TIME, []))
            raise Invalid(
                f"{entry.dn}: the server's password policy does not heed a lock",
                hint="set pwdLockout: TRUE in the policy that goes for this entry",
            )

    def _lock(self, dn: str) -> None:
        self._client.modify(dn, ("replace", LOCKED_TIME, [LOCKED_FOR_GOOD]))

    def _control(self, entry: Entry, wanted: int) -> None:
        """The other flags, such as that the password never expires, stay."""
        if wanted != account_control(entry):
            self._client.modify(entry.dn, ("replace", ACCOUNT_CONTROL, _octets(wanted)))

    def delete_account(self, uid: str) -> None:
        """The entry, and before it the memberships that OpenLDAP would leave behind."""
        entry = self._entry(uid)
        if self._groups is not None and not self._windows:
            self._groups.leave_all(self._member(entry))
        self._client.delete(entry.dn)

    def set_password(self, uid: str, password: str) -> None:
        """A locked account stays locked: in OpenLDAP a new password lifts the lock."""
        entry = self._entry(uid)
        if self._windows:
            self._client.modify(entry.dn, ("replace", "unicodePwd", [_unicode_pwd(password)]))
            return
        self._client.set_password(entry.dn, password)
        if not self._dialect.active(entry):
            self._lock(entry.dn)

    def set_nickname(self, uid: str, nickname: str) -> None:
        values = _octets(nickname) if nickname else []
        self._client.modify(self._entry(uid).dn, ("replace", self._nickname, values))

    # Groups

    def change_groups(self, uid: str, add: frozenset[str], remove: frozenset[str]) -> GroupChange:
        """Raises Invalid for a group to join that is not there, and without group_base."""
        groups = self._with_group_base()
        member = self._member(self._entry(uid))
        return GroupChange(
            frozenset([name for name in sorted(add) if groups.add(name, member)]),
            frozenset([name for name in sorted(remove - add) if groups.remove(name, member)]),
        )

    def _with_group_base(self) -> Groups:
        if self._groups is None:
            raise Invalid("ldap: groups need a place", hint="set group_base")
        return self._groups

    def _member(self, entry: Entry) -> str:
        """What the account is called in groups."""
        by_name = self._groups is not None and self._groups.by_name
        return self._dialect.name_of(entry) if by_name else entry.dn


def _octets(value: Any) -> list[bytes]:
    """A value, or several, as LDAP writes them (RFC 4517)."""
    values = value if isinstance(value, (list, tuple)) else [value]
    return [
        str(one).upper().encode() if isinstance(one, bool) else str(one).encode() for one in values
    ]


def _unicode_pwd(password: str) -> bytes:
    """MS-ADTS 3.1.1.3.1.5.1: in quotes, as UTF-16."""
    return f'"{password}"'.encode("utf-16-le")
