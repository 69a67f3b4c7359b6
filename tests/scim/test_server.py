"""The fixture itself: a SCIM server of which a test can see and spoil everything."""

from typing import TYPE_CHECKING

import pytest
import requests

from tests.scim.remote import Refused

if TYPE_CHECKING:
    from tests.scim.conftest import Idp


def test_users_and_groups_are_kept_and_shown(idp: "Idp") -> None:
    idp.remote.create_user("ada", externalId="svcctl:1")
    idp.remote.create_user("bob")
    idp.remote.create_group("staff", "ada")
    idp.remote.set_members("staff", "ada", "bob")
    assert idp.remote.groups() == {"staff": {"ada", "bob"}}
    assert idp.remote.groups_of("bob") == {"staff"}
    assert idp.remote.user("ada")["externalId"] == "svcctl:1"
    with pytest.raises(Refused, match="409"):
        idp.remote.create_user("ada")
    assert not idp.proxy.log, "what the test itself does is not in the log"


@pytest.mark.parametrize("time", ["first", "second"])
def test_each_test_finds_an_empty_server(idp: "Idp", time: str) -> None:
    assert not idp.remote.users()
    idp.remote.create_user("ada")


def test_the_proxy_is_the_server_for_its_client(idp: "Idp") -> None:
    headers = {"Authorization": f"Bearer {idp.token}"}
    with requests.Session() as session:
        session.headers.update(headers)
        made = session.post(f"{idp.base}/Users", json={"userName": "ada"}, timeout=5)
        listed = session.get(f"{idp.base}/Users", params={"filter": 'userName eq "ada"'}, timeout=5)
        gone = session.delete(made.json()["meta"]["location"], timeout=5)
    assert (made.status_code, listed.json()["totalResults"], gone.status_code) == (201, 1, 204)
    assert made.json()["meta"]["location"].startswith(idp.base)
    assert [(one.method, one.status, one.told) for one in idp.proxy.log] == [
        ("POST", 201, 201),
        ("GET", 200, 200),
        ("DELETE", 204, 204),
    ]
    assert idp.proxy.log[0].json == {"userName": "ada"}
    assert requests.get(f"{idp.base}/Users", timeout=5).status_code == 401
