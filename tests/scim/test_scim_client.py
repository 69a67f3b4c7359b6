"""The protocol itself, against scim2-server and against one that is odd."""

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from svcctl.errors import Incomplete
from svcctl.http.connect import connect
from svcctl.http.scim.client import HEADERS, Changed, ScimClient
from tests.scim.odd_server import OddServer, serving

if TYPE_CHECKING:
    from tests.scim.conftest import Idp


@pytest.fixture
def scim(idp: "Idp") -> Iterator[ScimClient]:
    with closing(ScimClient(connect(idp.base, token=idp.token, headers=HEADERS))) as client:
        yield client


def test_what_somebody_else_changed_meanwhile_is_kept(idp: "Idp", scim: ScimClient) -> None:
    id_ = idp.remote.create_user("ada")
    seen = []

    def change(user: dict[str, Any]) -> dict[str, Any]:
        seen.append(user["meta"]["version"])
        if len(seen) == 1:
            idp.remote.ask("PUT", f"/Users/{id_}", {**user, "title": "Countess"})
        return {**user, "nickName": "Lady"}

    scim.changed("Users", id_, change)
    after = idp.remote.user("ada")
    assert (after["title"], after["nickName"]) == ("Countess", "Lady")
    assert len(set(seen)) == 2
    assert [one.told for one in idp.proxy.writes] == [412, 200]


def test_who_is_changed_all_the_time_is_left_for_another_try(idp: "Idp", scim: ScimClient) -> None:
    id_ = idp.remote.create_user("ada")

    def change(user: dict[str, Any]) -> dict[str, Any]:
        title = user.get("title", "") + "x"
        idp.remote.ask("PUT", f"/Users/{id_}", {**user, "title": title})
        return {**user, "nickName": "Lady"}

    with pytest.raises(Changed):
        scim.changed("Users", id_, change)
    assert idp.remote.user("ada")["title"] == "xx"


@pytest.mark.parametrize("name", ['a"b', "a\\b", "ä", "a) or (active eq true"])
def test_a_name_is_no_filter(idp: "Idp", scim: ScimClient, name: str) -> None:
    idp.remote.create_user("bob")
    assert scim.find("Users", {"userName": name}) is None
    idp.remote.create_user(name)
    found = scim.find("Users", {"userName": name})
    assert found is not None
    assert found["userName"] == name


def test_without_filters_everybody_is_looked_at(idp: "Idp") -> None:
    users = [{"id": str(n), "userName": f"User{n}", "externalId": f"svcctl:{n}"} for n in range(5)]
    with serving(OddServer(users)) as server, closing(ScimClient(connect(server.url))) as scim:
        assert scim.find("Users", {"externalId": "svcctl:3", "userName": "user1"}) == users[3]
        assert scim.find("Users", {"externalId": "svcctl:9", "userName": "user1"}) == users[1]
        assert scim.find("Users", {"userName": "nobody"}) is None
        assert not [path for path in server.asked if "filter" in path]


def test_pages_without_an_end_are_refused() -> None:
    class Endless(OddServer):
        def answer(self, target: str) -> tuple[int, Any]:
            status, said = super().answer(target)
            if target.startswith("/Users"):
                said = {"Resources": [], "nextCursor": str(len(self.asked))}
            return status, said

    server = Endless([], cursor=True)
    with serving(server), closing(ScimClient(connect(server.url))) as scim:
        with pytest.raises(Incomplete, match="empty pages"):
            list(scim.resources("Users"))
        assert len(server.asked) < 200
