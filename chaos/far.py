"""Services and sources as their owners see them: what is really there, whatever svcctl was told."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import ldap3

from chaos.club import Person
from svcctl.hooks.sandbox import SandboxManager
from tests.live.ldap_servers import Directory
from tests.scim.remote import PATCH, Remote
from tests.support.ldap_proxy import LdapProxy


@dataclass(frozen=True, slots=True)
class Seen:
    """An account as it is. key: whose it is, by svcctl's own key. rest: all that is shown of it."""

    uid: str
    active: bool
    key: str | None
    nickname: str | None
    rest: Any


@dataclass(frozen=True, slots=True)
class Truth:
    """Accounts by name, and the members of all groups by name."""

    accounts: dict[str, Seen]
    groups: dict[str, frozenset[str]]

    def groups_of(self, name: str) -> frozenset[str]:
        return frozenset(group for group, members in self.groups.items() if name in members)


class Service(Protocol):
    """The service of a trial."""

    def truth(self) -> Truth: ...
    def add_stranger(self, name: str) -> None: ...
    def give(self, name: str, group: str) -> None: ...


class Source(Protocol):
    """The source of a trial."""

    def tell(self, people: Iterable[Person]) -> None: ...


@dataclass
class ScimService:
    """A SCIM server, past the proxy."""

    remote: Remote

    def truth(self) -> Truth:
        users = self.remote.users()
        accounts = {
            name: Seen(
                user["id"],
                user.get("active") is not False,
                user.get("externalId"),
                user.get("displayName"),
                {key: shown for key, shown in user.items() if key not in ("meta", "groups")},
            )
            for name, user in users.items()
        }
        groups = self.remote.groups()
        return Truth(accounts, {name: frozenset(members) for name, members in groups.items()})

    def add_stranger(self, name: str) -> None:
        self.remote.create_user(name, externalId=f"of-others:{name}")

    def give(self, name: str, group: str) -> None:
        shown = self.remote.ask("GET", "/Groups").get("Resources") or []
        there = next((one["id"] for one in shown if one["displayName"] == group), None)
        if there is None:
            self.remote.create_group(group, name)
            return
        member = {"value": self.remote.user(name)["id"]}
        operation = {"op": "add", "path": "members", "value": [member]}
        body = {"schemas": [PATCH], "Operations": [operation]}
        self.remote.ask("PATCH", f"/Groups/{there}", body)


@dataclass
class ScimSource:
    """An identity provider that speaks SCIM, past the proxy."""

    remote: Remote
    _ids: dict[str, str] = field(default_factory=dict)

    def tell(self, people: Iterable[Person]) -> None:
        """Those stay as they are who are told of as before: ids never change."""
        wanted = {person.name: person for person in people}
        for name in self._ids.keys() - wanted.keys():
            self.remote.ask("DELETE", f"/Users/{self._ids.pop(name)}")
        for name, person in wanted.items():
            if name not in self._ids:
                self._ids[name] = self.remote.create_user(
                    name, displayName=person.title, externalId=person.id
                )
            else:
                shown = self.remote.ask("GET", f"/Users/{self._ids[name]}")
                if shown["displayName"] != person.title:
                    body = {**shown, "displayName": person.title}
                    self.remote.ask("PUT", f"/Users/{self._ids[name]}", body)
        there = self.remote.groups()
        for group in ("corp", "fc", "logi"):
            members = {name for name, person in wanted.items() if group in person.groups}
            if group not in there:
                self.remote.create_group(group, *sorted(members))
            elif there[group] != members:
                self.remote.set_members(group, *sorted(members))


@dataclass
class LdapService:
    """An OpenLDAP server, past the proxy."""

    directory: Directory

    def truth(self) -> Truth:
        shown = self.directory.accounts()
        accounts = {
            name: Seen(
                one["entryUUID"][0],
                "pwdAccountLockedTime" not in one,
                one.get("employeeNumber", [None])[0],
                one.get("displayName", [None])[0],
                {key: value for key, value in one.items() if key not in _OPERATIONAL},
            )
            for name, one in shown.items()
        }
        groups = self.directory.members()
        return Truth(accounts, {name: frozenset(members) for name, members in groups.items()})

    def add_stranger(self, name: str) -> None:
        self.directory.add_person(name, employeeNumber=f"of-others:{name}")

    def give(self, name: str, group: str) -> None:
        dn = str(self.directory.accounts()[name]["dn"])
        if group in self.directory.members():
            self.directory.change(
                f"cn={group},{self.directory.groups}", ldap3.MODIFY_ADD, "member", dn
            )
        else:
            self.directory.add_group(group, dn)


_OPERATIONAL = frozenset({"modifyTimestamp", "modifiersName", "entryCSN", "memberOf"})


@dataclass
class LdapSource:
    """The people of an OpenLDAP server, past the proxy."""

    directory: Directory
    _told: dict[str, Person] = field(default_factory=dict)

    def tell(self, people: Iterable[Person]) -> None:
        wanted = {person.name: person for person in people}
        base = self.directory.people
        for name in self._told.keys() - wanted.keys():
            dn = f"uid={name},{base}"
            for group, members in self.directory.members().items():
                if name in members:
                    at = f"cn={group},{self.directory.groups}"
                    self.directory.change(at, ldap3.MODIFY_DELETE, "member", dn)
            self.directory.delete(dn)
        for name, person in wanted.items():
            if name not in self._told:
                self.directory.add_person(name, displayName=person.title, employeeNumber=person.id)
            elif person.title != self._told[name].title:
                self.directory.change(
                    f"uid={name},{base}", ldap3.MODIFY_REPLACE, "displayName", person.title
                )
        there = self.directory.members()
        for group in ("corp", "fc", "logi"):
            members = {name for name, person in wanted.items() if group in person.groups}
            if group not in there:
                self.directory.add_group(group, "cn=nobody")
            now = there.get(group, set()) - {"cn=nobody"}
            at = f"cn={group},{self.directory.groups}"
            for kind, names in (
                (ldap3.MODIFY_ADD, members - now),
                (ldap3.MODIFY_DELETE, now - members),
            ):
                if names:
                    dns = [f"uid={name},{base}" for name in sorted(names)]
                    self.directory.change(at, kind, "member", *dns)
        self._told = wanted


@dataclass
class CsvSource:
    """A file."""

    path: Path

    def tell(self, people: Iterable[Person]) -> None:
        rows = [f"{one.id},{one.name},{';'.join(sorted(one.groups))},{one.title}" for one in people]
        self.path.write_text("\n".join(["id,username,groups,character_name", *rows, ""]))


@dataclass
class SandboxService:
    """A sandbox: it makes no trouble of its own here."""

    path: Path

    def truth(self) -> Truth:
        manager = SandboxManager(self.path)
        try:
            found = manager.accounts()
        finally:
            manager.close()
        groups: dict[str, set[str]] = {}
        for one in found:
            for group in one.groups or ():
                groups.setdefault(group, set()).add(one.name)
        accounts = {
            one.name: Seen(one.uid, one.active, one.external_id, one.nickname, one) for one in found
        }
        return Truth(accounts, {name: frozenset(members) for name, members in groups.items()})

    def add_stranger(self, name: str) -> None:
        from svcctl.hooks.manager import NewAccount

        manager = SandboxManager(self.path)
        try:
            manager.create_account(NewAccount(name, f"of-others:{name}", "theirs"))
        finally:
            manager.close()

    def give(self, name: str, group: str) -> None:
        manager = SandboxManager(self.path)
        try:
            uid = next(one.uid for one in manager.accounts() if one.name == name)
            manager.change_groups(uid, frozenset({group}), frozenset())
        finally:
            manager.close()


__all__ = ["CsvSource", "LdapProxy", "LdapService", "LdapSource", "SandboxService", "Seen"]
