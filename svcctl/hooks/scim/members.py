"""Who enters and who leaves a group of a SCIM server: one request for all who want it at once."""

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from svcctl.errors import Invalid, ManagerError, Transient
from svcctl.http.scim.client import ScimClient
from svcctl.http.scim.resource import Resource, group_name, is_group, members


class Roster:
    """The users among the members of a group, found by id, or by their URL and userName."""

    def __init__(self, group: Resource) -> None:
        self._members = {
            str(member.get("value")): member for member in members(group) if not is_group(member)
        }

    def find(self, user: Resource) -> Resource | None:
        """The member that is this user. canaille calls members by their userName."""
        if found := self._members.get(user["id"]):
            return found
        named = self._members.get(str(user.get("userName")))
        where = user.get("meta", {}).get("location")
        return named if named and where and named.get("$ref") == where else None


@dataclass(slots=True, eq=False)
class Wish:
    """One user in or out of a group, and what came of it."""

    user: Resource
    inside: bool
    changed: bool = False
    error: BaseException | None = None
    settled: bool = False

    def fulfilled(self, roster: Roster) -> bool:
        return (roster.find(self.user) is not None) == self.inside


@dataclass(slots=True)
class _Queue:
    """at_work: a server may read a group, change it and write it whole, and lose what another
    request did in between (django-scim2 does). waiting: who comes meanwhile goes with the next.
    """

    at_work: threading.Lock = field(default_factory=threading.Lock)
    waiting: list[Wish] = field(default_factory=list)


Way = Callable[[Resource, Sequence[Wish]], Resource]
"""Makes wishes come true in a group; the group as it then is."""


class Members:
    """Changes of groups, one at a time for each of them; for many threads.

    The ways are those of RFC 7644 first, then what servers have instead. One that worked is kept.
    """

    def __init__(self, scim: ScimClient) -> None:
        self._scim = scim
        self._queues: dict[str, _Queue] = {}
        self._lock = threading.Lock()
        self._ways: dict[bool, tuple[Way, ...]] = {
            True: (self._add, self._put),
            # django-scim2 takes a list only, canaille the whole group.
            False: (self._remove_by_filter, self._remove_by_list, self._put),
        }
        self._first = {True: 0, False: 0}

    def change(self, group_id: str, user: Resource, *, inside: bool) -> bool:
        """Whether it took a change to have the user in, or out of, the group."""
        wish = Wish(user, inside)
        with self._lock:
            queue = self._queues.setdefault(group_id, _Queue())
            queue.waiting.append(wish)
        with queue.at_work:
            if not wish.settled:
                with self._lock:
                    wishes, queue.waiting = queue.waiting, []
                self._settle(group_id, wishes)
        if wish.error is not None:
            raise wish.error
        return wish.changed

    def _settle(self, group_id: str, wishes: Sequence[Wish]) -> None:
        try:
            group = self._scim.get("Groups", group_id)
            roster = Roster(group)
            for inside in (False, True):
                asked = [wish for wish in wishes if wish.inside is inside]
                if todo := [wish for wish in asked if not wish.fulfilled(roster)]:
                    group = self._fulfil(group, inside, todo)
        except BaseException as error:  # noqa: BLE001 - it is raised in the threads that wait
            for wish in wishes:
                wish.error = None if wish.changed else error
        finally:
            for wish in wishes:
                wish.settled = True

    def _fulfil(self, group: Resource, inside: bool, wishes: list[Wish]) -> Resource:  # noqa: FBT001
        """All in one request; where the server will not have that, each for itself."""
        try:
            return self._by_some_way(group, inside, wishes)
        except Invalid:
            if len(wishes) == 1:
                raise
        for wish in wishes:
            if not wish.changed:
                try:
                    group = self._by_some_way(group, inside, [wish])
                except Invalid as error:
                    wish.error = error
        return group

    def _by_some_way(self, group: Resource, inside: bool, wishes: list[Wish]) -> Resource:  # noqa: FBT001
        """Try one way after the other, and look what came of it.

        An answer of 500 is unknown: it is looked at before the next way.
        """
        refusal: ManagerError | None = None
        ways = self._ways[inside]
        for number in range(self._first[inside], len(ways)):
            refusal = None
            try:
                group = ways[number](group, wishes)
            except (Invalid, Transient) as error:
                if number == len(ways) - 1:
                    raise
                refusal = error
            left = _unfulfilled(wishes, group)
            if refusal or left:
                group = self._scim.get("Groups", group["id"])
                left = _unfulfilled(wishes, group)
            for wish in wishes:
                wish.changed = wish not in left
            if not left:
                if refusal is None:
                    self._first[inside] = number
                return group
            wishes = left
        raise refusal or Invalid(
            f"{group_name(group)} of user {wishes[0].user['id']}: "
            "the service said yes and did not change it",
            hint="members of this group may be managed there by a rule",
        )

    # Ways

    def _add(self, group: Resource, wishes: Sequence[Wish]) -> Resource:
        entering = [as_member(wish.user) for wish in wishes]
        return self._scim.patch(
            "Groups", group["id"], {"op": "add", "path": "members", "value": entering}
        )

    def _remove_by_filter(self, group: Resource, wishes: Sequence[Wish]) -> Resource:
        """RFC 7644, 3.5.2.2."""
        operations = [
            {"op": "remove", "path": f"members[value eq {_quoted(member['value'])}]"}
            for member in _leaving(group, wishes)
        ]
        return self._scim.patch("Groups", group["id"], *operations)

    def _remove_by_list(self, group: Resource, wishes: Sequence[Wish]) -> Resource:
        values = [{"value": member["value"]} for member in _leaving(group, wishes)]
        return self._scim.patch(
            "Groups", group["id"], {"op": "remove", "path": "members", "value": values}
        )

    def _put(self, group: Resource, wishes: Sequence[Wish]) -> Resource:
        def change(group: Resource) -> Resource | None:
            todo = _unfulfilled(wishes, group)
            if not todo:
                return None
            leaving = _leaving(group, [wish for wish in todo if not wish.inside])
            bare = {name: group[name] for name in group if name != "meta"}
            return {
                **bare,
                "members": [
                    *(member for member in members(group) if member not in leaving),
                    *(as_member(wish.user) for wish in todo if wish.inside),
                ],
            }

        return self._scim.changed("Groups", group["id"], change)


def as_member(user: Resource) -> Resource:
    """The user as a member (RFC 7643, 4.2); canaille needs the `$ref`."""
    where = user.get("meta", {}).get("location")
    return {"value": user["id"], **({"$ref": where} if isinstance(where, str) else {})}


def _unfulfilled(wishes: Sequence[Wish], group: Resource) -> list[Wish]:
    roster = Roster(group)
    return [wish for wish in wishes if not wish.fulfilled(roster)]


def _leaving(group: Resource, wishes: Sequence[Wish]) -> list[Resource]:
    """The members who are to leave."""
    roster = Roster(group)
    return [member for wish in wishes if (member := roster.find(wish.user))]


def _quoted(value: object) -> str:
    """A text in a filter is written as in JSON (RFC 7644, 3.4.2.2)."""
    return json.dumps(str(value), ensure_ascii=False)
