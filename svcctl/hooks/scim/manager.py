"""What speaks SCIM: accounts are Users, and groups are Groups with members."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from svcctl.config.http import Basic, Http, OAuth
from svcctl.errors import Conflict, Incomplete, Invalid, ManagerError, NotFound, Transient
from svcctl.hooks.manager import Created, GroupChange, Manager, NewAccount, RemoteAccount
from svcctl.http.connect import connect
from svcctl.http.scim import membership
from svcctl.http.scim.client import HEADERS, ScimClient
from svcctl.http.scim.resource import (
    GROUP,
    USER,
    Resource,
    at,
    group_name,
    is_group,
    members,
    own_groups,
    put,
    same,
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

    concurrency = 8
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
        self._paths = paths
        self._nickname = nickname_path
        self._passwords = passwords
        # A promise about this server, not about all of them.
        self.stores_external_id = external_ids
        self._create_groups = create_groups
        self._group_ids: dict[str, str] | None = None
        self._ways: dict[str, int] = {}
        self._at_work: dict[str, threading.Lock] = {}
        self._lock = threading.RLock()

    def check(self) -> None:
        """The server answers, takes the credentials, and shows its users."""
        next(self._scim.resources("Users"), None)

    def close(self) -> None:
        self._scim.close()

    # Reading

    def list_accounts(self) -> Iterator[RemoteAccount]:
        """Users by page. Their groups from the users where the server shows them there, else from
        the members of all groups, read first.
        """
        member, group = self._member()
        telling = None
        if member is not None and group in own_groups(member):
            telling, groups = member["id"], _own
        else:
            groups = membership.direct(self._scim).of
        for user in self._scim.resources("Users"):
            if user["id"] == telling and not groups(user):
                raise Incomplete("the list of Users shows no groups, although each User does")
            yield self._account(user, groups(user))

    def get_account(self, uid: str) -> RemoteAccount:
        return self._account(self._scim.get("Users", uid, patient=True), None)

    def find_account(self, external_id: str, name: str) -> RemoteAccount | None:
        """By externalId, else by userName. Without filters every user is looked at."""
        wanted = {"externalId": external_id} if self.stores_external_id else {}
        found = self._scim.find("Users", {**wanted, "userName": name})
        return None if found is None else self._account(found, None)

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

        def by_patch() -> Resource:
            if value is None:
                return self._scim.patch("Users", uid, {"op": "remove", "path": path})
            return self._scim.patch("Users", uid, {"op": "replace", "path": path, "value": value})

        def by_put() -> Resource:
            def change(user: Resource) -> Resource | None:
                if shown and at(user, path) == value:
                    return None
                user = self._writable(user)
                put(user, path, value)
                return user

            return self._scim.changed("Users", uid, change)

        def done(user: Resource) -> bool:
            return not shown or (at(user, path) or None) == (value or None)

        self._by_some_way(f"Users {path}", [by_patch, by_put], done, what=f"{path} of user {uid}")

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
            if group_id is not None and (self._be_member(user, group_id, wanted) or made):
                (added if wanted else removed).add(name)
        return GroupChange(frozenset(added), frozenset(removed))

    def _be_member(self, user: Resource, group_id: str, wanted: bool) -> bool:  # noqa: FBT001
        """Whether it took a change. One at a time for a group: a server may read it, change it
        and write it whole, and lose what another request did in between (django-scim2 does).
        """
        with self._lock:
            at_work = self._at_work.setdefault(group_id, threading.Lock())
        with at_work:
            return self._made_member(user, group_id, wanted)

    def _made_member(self, user: Resource, group_id: str, wanted: bool) -> bool:  # noqa: FBT001
        group = self._scim.get("Groups", group_id)
        if _is_member(group, user) == wanted:
            return False
        ways = self._ways_in(user, group_id) if wanted else self._ways_out(user, group)
        self._by_some_way(
            "add a member" if wanted else "remove a member",
            ways,
            lambda after: _is_member(after, user) == wanted,
            what=f"{group_name(group)} of user {user['id']}",
            again=lambda: self._scim.get("Groups", group_id),
        )
        return True

    def _ways_in(self, user: Resource, group_id: str) -> list[Callable[[], Resource]]:
        member = self._as_member(user)

        def by_put() -> Resource:
            def change(group: Resource) -> Resource | None:
                if _is_member(group, user):
                    return None
                return {**_bare(group), "members": [*members(group), member]}

            return self._scim.changed("Groups", group_id, change)

        def by_patch() -> Resource:
            add = {"op": "add", "path": "members", "value": [member]}
            return self._scim.patch("Groups", group_id, add)

        return [by_patch, by_put]

    def _ways_out(self, user: Resource, group: Resource) -> list[Callable[[], Resource]]:
        """By filter (RFC 7644, 3.5.2.2), by a list of members (django-scim2), by PUT (canaille)."""
        group_id = group["id"]
        leaving = [member for member in members(group) if _means(member, user)]

        def by_filter() -> Resource:
            quoted = [
                str(member["value"]).replace("\\", r"\\").replace('"', r"\"") for member in leaving
            ]
            operations = [{"op": "remove", "path": f'members[value eq "{one}"]'} for one in quoted]
            return self._scim.patch("Groups", group_id, *operations)

        def by_list() -> Resource:
            values = [{"value": member["value"]} for member in leaving]
            return self._scim.patch(
                "Groups", group_id, {"op": "remove", "path": "members", "value": values}
            )

        def by_put() -> Resource:
            def change(group: Resource) -> Resource | None:
                staying = [one for one in members(group) if not _means(one, user)]
                if len(staying) == len(members(group)):
                    return None
                return {**_bare(group), "members": staying}

            return self._scim.changed("Groups", group_id, change)

        return [by_filter, by_list, by_put]

    def _as_member(self, user: Resource) -> Resource:
        where = user.get("meta", {}).get("location")
        return {"value": user["id"], **({"$ref": where} if isinstance(where, str) else {})}

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
                members = [self._as_member(user)]
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

    # Several ways

    def _by_some_way(
        self,
        kind: str,
        ways: list[Callable[[], Resource]],
        done: Callable[[Resource], bool],
        *,
        what: str,
        again: Callable[[], Resource] | None = None,
    ) -> None:
        """Try what RFC 7644 has first, then what servers have instead; the one that works is kept.

        An answer of 500 is unknown: where `again` can look, it is looked at before the next way.
        """
        first = self._ways.get(kind, 0)
        refusal: ManagerError | None = None
        for number in range(first, len(ways)):
            last = number == len(ways) - 1
            try:
                after = ways[number]()
            except (Invalid, Transient) as error:
                if last or (isinstance(error, Transient) and again is None):
                    raise
                refusal = error
                if again is None or not done(again()):
                    continue
                return
            if done(after) or (again is not None and done(again())):
                self._ways[kind] = number
                return
            refusal = None
        raise refusal or Invalid(
            f"{what}: the service said yes and did not change it",
            hint="it may be read-only there; a nickname: set nickname_path, or sync_names = false",
        )


def _is_member(group: Resource, user: Resource) -> bool:
    return any(_means(member, user) for member in members(group))


def _means(member: Resource, user: Resource) -> bool:
    """Whether the member is this user: by id, or as canaille has it, by its URL and userName."""
    if is_group(member):
        return False
    if member.get("value") == user["id"]:
        return True
    where = user.get("meta", {}).get("location")
    return (
        isinstance(where, str)
        and member.get("$ref") == where
        and same("userName", member.get("value"), str(user.get("userName")))
    )


def _bare(group: Resource) -> Resource:
    return {name: group[name] for name in group if name != "meta"}


def _own(user: Resource) -> frozenset[str]:
    return frozenset(own_groups(user))


def _shown(value: Any) -> str | tuple[str, ...] | None:
    """A text; of a multi-valued attribute all of them, the primary one first (RFC 7643, 2.4)."""
    if isinstance(value, str):
        return value or None
    if not isinstance(value, list):
        return None
    ranked = sorted(filter(_is_object, value), key=lambda one: one.get("primary") is not True)
    texts = [one.get("value") for one in ranked]
    return tuple(text for text in texts if isinstance(text, str) and text)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
