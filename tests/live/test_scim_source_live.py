"""The scim source and three real servers: read whole and never written to, or refused."""

from typing import TYPE_CHECKING, Any

import pytest

from svcctl.http import client as http
from tests.live.scim_servers import Idp
from tests.scim.answers import BAD

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl

pytestmark = pytest.mark.live

NAMES = ("ada", "bob", "cyd", "dan", "eve")
CONFIG = """
[directory.sources.idp]
type = "scim"
base_url = "{base}"
token = {{ env = "SCIM_TOKEN" }}
page_size = 2
http = {{ timeout = "5s" }}

[states.Member]
priority = 100
groups = ["corp"]
"""


@pytest.fixture
def here(site: Any, idp: Idp, monkeypatch: pytest.MonkeyPatch) -> "Site":
    """Five people, all in corp, ada and bob in fc as well."""
    monkeypatch.setenv("SCIM_TOKEN", idp.token)
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.01)
    built: Site = site(CONFIG.format(base=idp.base))
    for name in NAMES:
        idp.remote.create_user(name)
    idp.remote.create_group("corp", *NAMES)
    idp.remote.create_group("fc", "ada", "bob")
    return built


def people(site: "Site") -> dict[str, tuple[str, bool, set[str]]]:
    """State, whether active, and groups, by username."""
    held: dict[str, set[str]] = {}
    for row in site.rows(
        "SELECT username, name FROM memberships JOIN users ON users.id = user_id "
        "JOIN groups ON groups.id = group_id"
    ):
        held.setdefault(row["username"], set()).add(row["name"])
    return {
        row["username"]: (row["state"], bool(row["active"]), held.get(row["username"], set()))
        for row in site.rows("SELECT * FROM users")
    }


def test_people_come_change_and_vanish_in_two_steps(
    here: "Site", svcctl: "Svcctl", idp: Idp
) -> None:
    done = svcctl("directory", "pull")
    assert done.exit_code == 0, done.stderr
    assert people(here) == {
        name: ("Member", True, {"corp", "fc"} if name in ("ada", "bob") else {"corp"})
        for name in NAMES
    }
    again = svcctl("directory", "pull")
    assert (again.exit_code, again.stdout, again.stderr) == (0, "", "")
    idp.remote.set_active("cyd", active=False)
    idp.remote.set_members("fc", "ada", "dan")
    idp.remote.set_members("corp", *NAMES[:4])
    idp.remote.ask("DELETE", f"/Users/{idp.remote.user('eve')['id']}")
    done = svcctl("directory", "pull")
    assert done.exit_code == 0, done.stderr
    now = people(here)
    assert now["cyd"][:2] == ("Guest", False)
    assert now["bob"] == ("Member", True, {"corp"})
    assert now["dan"] == ("Member", True, {"corp", "fc"})
    assert now["eve"] == ("Member", True, {"corp"}), "missing, and still here"
    assert svcctl("directory", "pull").exit_code == 0
    assert people(here)["eve"][1] is False
    assert {one.method for one in idp.proxy.log} == {"GET"}


@pytest.mark.parametrize("what", ["Users", "Groups"])
@pytest.mark.parametrize("name", ["html", "cut", "short", "error", "loop"])
def test_what_is_not_a_listing_changes_nobody(
    here: "Site", svcctl: "Svcctl", idp: Idp, name: str, what: str
) -> None:
    assert svcctl("directory", "pull").exit_code == 0
    before = people(here)
    idp.remote.set_members("corp", "ada")
    answer, words = BAD[name]
    for nth in range(1, 30):
        idp.proxy.answer(answer, "GET", f"/({what}|elsewhere/v2/Users)([?]|$)", nth=nth)
    done = svcctl("directory", "pull")
    assert done.exit_code == 5
    assert words in done.stderr
    assert people(here) == before
