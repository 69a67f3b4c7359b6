"""A SCIM server as a test sees it: plain requests that owe nothing to the hook under test."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import requests

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


class Refused(Exception):
    """The server did not do what the test asked of it."""


@dataclass(frozen=True)
class Remote:
    """base: the URL before `/Users`. host: as which it wants to be addressed, if not so.

    by_name: members are named by userName, not by id (canaille). lists: members are changed by
    PATCH with a list of them only, against RFC 7644, 3.5.2.2 (django-scim2).
    """

    base: str
    token: str
    host: str | None = None
    by_name: bool = False
    lists: bool = False

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = requests.request(
            method,
            f"{self.base}{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.token}", "Host": self.host},
            timeout=20,
        )
        if not answer.ok:
            raise Refused(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json() if answer.content else None

    def users(self) -> dict[str, dict[str, Any]]:
        """All users by userName."""
        return {one["userName"]: one for one in self._all("/Users")}

    def user(self, name: str) -> dict[str, Any]:
        return self.users()[name]

    def groups(self) -> dict[str, set[str]]:
        """The names of the members of all groups, by displayName."""
        names = {one["id"]: name for name, one in self.users().items()}
        return {
            one["displayName"]: {
                names.get(member["value"], member["value"]) for member in one.get("members") or ()
            }
            for one in self._all("/Groups")
        }

    def groups_of(self, name: str) -> set[str]:
        return {group for group, members in self.groups().items() if name in members}

    def create_user(self, name: str, /, **more: Any) -> str:
        """Somebody whom svcctl does not know; the id."""
        full = {
            "schemas": [USER],
            "userName": name,
            "displayName": name.title(),
            "name": {"formatted": name.title(), "familyName": name.title(), "givenName": "The"},
            "emails": [{"value": f"{name}@example.org"}],
            "active": True,
        }
        created: dict[str, Any] = self.ask("POST", "/Users", full | more)
        return str(created["id"])

    def set_active(self, name: str, *, active: bool) -> None:
        operation = {"op": "replace", "path": "active", "value": active}
        body = {"schemas": [PATCH], "Operations": [operation]}
        self.ask("PATCH", f"/Users/{self.user(name)['id']}", body)

    def create_group(self, name: str, *members: str) -> None:
        """By hand. canaille wants a list of members, if only an empty one."""
        values = self._members(members)
        self.ask("POST", "/Groups", {"schemas": [GROUP], "displayName": name, "members": values})
        if self.lists:
            self.set_members(name, *members)

    def set_members(self, name: str, *members: str) -> None:
        """By hand: exactly these."""
        group = next(one for one in self._all("/Groups") if one["displayName"] == name)
        path = f"/Groups/{group['id']}"
        if not self.lists:
            values = self._members(members)
            self.ask("PUT", path, {"schemas": [GROUP], "displayName": name, "members": values})
            return
        wanted = {one["value"] for one in self._members(members)}
        there = {one["value"] for one in group["members"]}
        for op, keys in (("add", wanted - there), ("remove", there - wanted)):
            if keys:
                values = [{"value": key} for key in sorted(keys)]
                operation = {"op": op, "path": "members", "value": values}
                self.ask("PATCH", path, {"schemas": [PATCH], "Operations": [operation]})

    def _members(self, names: Iterable[str]) -> list[dict[str, str]]:
        users = self.users()
        keys = [name if self.by_name else users[name]["id"] for name in names]
        return [{"value": key, "$ref": f"{self.base}/Users/{key}"} for key in keys]

    def clear(self) -> None:
        """Nobody is there any more, and no group."""
        for kind in ("/Groups", "/Users"):
            for one in self._all(kind):
                self.ask("DELETE", f"{kind}/{one['id']}")

    def _all(self, path: str) -> list[dict[str, Any]]:
        """Every page; none of the servers needs `count` for that, and canaille fails with it."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.ask("GET", f"{path}?startIndex={len(found) + 1}")
            found += page.get("Resources") or []
            if not page.get("Resources") or len(found) >= page["totalResults"]:
                return found
