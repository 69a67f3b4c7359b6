"""What speaks SCIM: accounts are Users, and groups are Groups with members."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain, islice
from types import MappingProxyType
from typing import Any

from svcctl.config.http import Basic, Http, OAuth
from svcctl.errors import Conflict, Incomplete, Invalid, NotFound
from svcctl.hooks.manager import Created, GroupChange, Manager, NewAccount, RemoteAccount
from svcctl.hooks.scim.members import Members, as_member
from svcctl.http.connect import connect
from svcctl.http.scim import membership
from svcctl.http.scim.client import HEADERS, ScimClient
from svcctl.http.scim.resource import (
    GROUP,
    USER,
    Resource,
    at,
    group_name,
    members,
    own_groups,
    put,
)

PATHS: Mapping[str, str] = MappingProxyType(
    {
        "email": "emails",
        "character_name": "name.formatted",
        "given_name": "name.givenName",
        "family_name": "name.familyName",
    }
)
"""Which SCIM attribute a user attribute is, unless the configuration says otherwise."""


class ScimManager(Manager):
    """Accounts of one SCIM server. It is asked what it can, and its answers are compared.

    Source: RFC 7643 and 7644, and what scim2-server, canaille and django-scim2 do of them.
    """

    concurrency = 16
    stores_external_id = True

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        basic: Basic | None = None,
        oauth: OAuth | None = None,
        http: Http | None = None,
        paths: Mapping[str, str] = PATHS,
        nickname_path: str = "displayName",
        passwords: bool = False,
        external_ids: bool = True,
        create_groups: bool = False,
        page_size: int = 100,
    ) -> None:
        client = connect(
            base_url,
            token=token,
            basic=basic,
            oauth=oauth,
            http=http,
            headers=HEADERS,
            connections=self.concurrency,
        )
        self._scim = ScimClient(client, page_size=page_size)
        self._members = Members(self._scim)
        self._paths = paths
        self._nickname = nickname_path
        self._passwords = passwords
        # A promise about this server, not about all of them.
        self.stores_external_id = external_ids
        self._create_groups = create_groups
        self._group_ids: dict[str, str] | None = None
        self._put_only: set[str] = set()
        self._lock = threading.RLock()

    def check(self) -> None:
        """The server answers, takes the credentials, and shows its users."""
        next(self._scim.resources("Users"), None)

    def close(self) -> None:
        self._scim.close()

    # Reading

    def list_accounts(self) -> Iterator[RemoteAccount]:
        """Users by page. Their groups from the users where the server shows them there, else from
        the members of all groups, which are read first.
        """
        users = self._scim.resources("Users")
        begun = list(islice(users, self._scim.page_size))
        groups = _own if any(map(own_groups, begun)) else self._groups_of()
        for user in chain(begun, users):
            yield self._account(user, groups(user))

    def _groups_of(self) -> Callable[[Resource], frozenset[str]]:
        """Where the groups of users are told, although none of the first users shows any."""
        member, group = self._member()
        if member is None or group not in (own_groups(member) or ()):
            return membership.direct(self._scim).of
        telling = member["id"]

        def own(user: Resource) -> frozenset[str]:
            found = _own(user)
            if user["id"] == telling and not found:
                raise Incomplete("the list of Users shows no groups, although each User does")
            return found

        return own

    def get_account(self, uid: str) -> RemoteAccount:
        """With groups where the user shows any: a user without may be one who does not tell."""
        user = self._scim.get("Users", uid, patient=True)
        return self._account(user, own_groups(user) or None)

    def find_account(self, external_id: str, name: str) -> RemoteAccount | None:
        """By externalId, else by userName. Without filters every user is looked at."""
        wanted = {"externalId": external_id} if self.stores_external_id else {}
        found = self._scim.find("Users", {**wanted, "userName": name})
        return None if found is None else self._account(found, own_groups(found) or None)

    def list_groups(self) -> Iterable[str]:
        return sorted(self._groups(anew=True))

    def _account(self, user: Resource, groups: frozenset[str] | None) -> RemoteAccount:
        name = user.get("userName")
        if not isinstance(name, str):
            raise Incomplete(f"/Users/{user['id']}: has no userName")
        external_id = user.get("externalId")
        return RemoteAccount(
            uid=user["id"],
            name=name,
            # RFC 7643, 4.1.1: what `active` means where it is missing is the server's business.
            active=user.get("active") is not False,
            external_id=external_id if isinstance(external_id, str) and external_id else None,
            groups=groups,
            nickname=_text(at(user, self._nickname)),
            attributes={
                attribute: shown
                for attribute, path in self._paths.items()
                if (shown := _shown(at(user, path)))
            },
        )

    def _member(self) -> tuple[Resource | None, str]:
        """Some user who is in a group, and that group's name; None: nobody is."""
        for group in self._scim.resources("Groups", attributes="displayName,members"):
            for member in members(group):
                user = self._user_of(member)
                if user is not None:
                    return user, str(group.get("displayName"))
        return None, ""

    def _user_of(self, member: Resource) -> Resource | None:
        """The user behind a member; None for a group, and for one that does not exist."""
        try:
            return self._scim.get("Users", str(member.get("value")), patient=True)
        except (NotFound, Invalid):
            return None

    # Accounts

    def create_account(self, new: NewAccount) -> Created:
        """POST with what the server's schema requires, as far as a name can stand for it."""
        body: Resource = {"schemas": [USER], "userName": new.name, "active": True}
        if self.stores_external_id:
            body["externalId"] = new.external_id
        if self._passwords:
            body["password"] = new.password
        for attribute, value in new.attributes.items():
            if value is not None:
                put(body, self._paths.get(attribute, attribute), value)
        for path in sorted(self._scim.schema(USER).required):
            if path.startswith(("name.", "displayName")) and at(body, path) is None:
                put(body, path, new.name)
        made = self._scim.create("Users", body)
        return Created(uid=made["id"], name=str(made.get("userName")))

    def enable_account(self, uid: str) -> None:
        self._set(uid, "active", value=True)

    def disable_account(self, uid: str) -> None:
        self._set(uid, "active", value=False)

    def delete_account(self, uid: str) -> None:
        self._scim.delete("Users", uid)

    def set_nickname(self, uid: str, nickname: str) -> None:
        self._set(uid, self._nickname, nickname or None)

    def set_password(self, uid: str, password: str) -> None:
        """It is the one attribute that no server shows again (RFC 7643, 4.1.1)."""
        self._set(uid, "password", password, shown=False)

    def _set(self, uid: str, path: str, value: Any, *, shown: bool = True) -> None:
        """Make one attribute so: by PATCH, where the server cannot by PUT; None takes it out."""

        def done(user: Resource) -> bool:
            return not shown or (at(user, path) or None) == (value or None)

        def change(user: Resource) -> Resource | None:
            if shown and at(user, path) == value:
                return None
            user = self._writable(user)
            put(user, path, value)
            return user

        operation = {"op": "replace", "path": path, "value": value}
        if value is None:
            operation = {"op": "remove", "path": path}
        if path not in self._put_only:
            with suppress(Invalid):
                if done(self._scim.patch("Users", uid, operation)):
                    return
        if not done(self._scim.changed("Users", uid, change)):
            raise Invalid(
                f"{path} of user {uid}: the service said yes and did not change it",
                hint='it may be read-only there; a nickname: set nickname_path, "" if it has none',
            )
        self._put_only.add(path)

    def _writable(self, user: Resource) -> Resource:
        """The user without what only the server writes."""
        read_only = ({"meta", "groups"} | self._scim.schema(USER).read_only) - {"id"}
        return {name: user[name] for name in user if name not in read_only}

    # Groups

    def change_groups(self, uid: str, add: frozenset[str], remove: frozenset[str]) -> GroupChange:
        """Group by group, each read before and compared after.

        Raises NotFound for a user that is not there, who would become a member all the same on
        some servers, and Invalid for a group to add that is not there.
        """
        user = self._scim.get("Users", uid)
        added: set[str] = set()
        removed: set[str] = set()
        for name in sorted(add | remove):
            wanted = name in add
            group_id = self._group_id(name)
            made = group_id is None and wanted
            if made:
                group_id = self._new_group(name, user)
            if group_id is None:
                continue
            if self._members.change(group_id, user, inside=wanted) or made:
                (added if wanted else removed).add(name)
        return GroupChange(frozenset(added), frozenset(removed))

    def _group_id(self, name: str) -> str | None:
        return self._groups().get(name) or self._groups(anew=True).get(name)

    def _new_group(self, name: str, user: Resource) -> str:
        """A group with its first member: canaille takes no empty ones."""
        if not self._create_groups:
            raise Invalid(
                f"no group {name!r} on the service",
                hint="create it there, or set create_groups = true",
            )
        with self._lock:
            groups = self._groups(anew=True)
            if name not in groups:
                members = [as_member(user)]
                body = {"schemas": [GROUP], "displayName": name, "members": members}
                groups[name] = self._scim.create("Groups", body)["id"]
            return groups[name]

    def _groups(self, *, anew: bool = False) -> dict[str, str]:
        """Name -> id. Two groups of one name cannot be told apart: such a name is not usable."""
        with self._lock:
            if self._group_ids is None or anew:
                found: dict[str, str] = {}
                for group in self._scim.resources("Groups", excluded="members"):
                    name = group_name(group)
                    if found.setdefault(name, group["id"]) != group["id"]:
                        raise Conflict(
                            f"two groups are called {name!r} on the service",
                            hint="rename one of them there",
                        )
                self._group_ids = found
            return self._group_ids


def _own(user: Resource) -> frozenset[str]:
    found = own_groups(user)
    if found is None:
        raise Incomplete(f"/Users/{user['id']}: shows a group without its name")
    return found


def _shown(value: Any) -> str | tuple[str, ...] | None:
    """A text; of a multi-valued attribute all of them, the primary one first (RFC 7643, 2.4)."""
    if value is None or isinstance(value, str):
        return value or None
    if not isinstance(value, list):
        return None
    ranked = [one for one in value if isinstance(one, dict)]
    if len(ranked) > 1:
        ranked.sort(key=lambda one: one.get("primary") is not True)
    texts = [one.get("value") for one in ranked]
    return tuple([text for text in texts if isinstance(text, str) and text])


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
