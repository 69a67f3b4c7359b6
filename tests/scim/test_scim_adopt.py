"""Taking over a SCIM service that has people already: adopt and drift on scim2-server."""

import json
from typing import TYPE_CHECKING, Any

import pytest

from svcctl.http import client as http

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl
    from tests.scim.conftest import Idp

CONFIG = """
[states.Member]
priority = 100
groups = ["corp"]

[services.idp]
hook = "scim"
base_url = "{base}"
token = {{ env = "SCIM_TOKEN" }}
page_size = 2
access.states = ["Member"]
groups.map = {{ fc = "commanders", corp = "everybody" }}
"""


@pytest.fixture
def club(site: Any, svcctl: "Svcctl", idp: "Idp", monkeypatch: pytest.MonkeyPatch) -> "Site":
    """A service that was there first, and a directory of the same people."""
    here: Site = site(CONFIG.format(base=idp.base))
    monkeypatch.setenv("SCIM_TOKEN", idp.token)
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.01)
    for name in ("ada", "bob", "cyd"):
        mail = f"email={name}@example.org"
        shown = f"character_name={name.title()}"
        svcctl("users", "add", name, mail, shown, "--group", "corp", "--no-sync")
    svcctl("groups", "add", "fc", "ada", "--no-sync")
    idp.remote.create_user("Ada.Lovelace", emails=_mail("ada@EXAMPLE.org"), displayName="Ada")
    idp.remote.create_user("BOB", emails=_mail("robert@example.org"), externalId="7")
    idp.remote.create_user("stranger", emails=_mail("zoe@example.org"))
    idp.remote.create_group("commanders", "Ada.Lovelace", "BOB")
    idp.remote.create_group("everybody", "Ada.Lovelace", "BOB", "stranger")
    idp.remote.create_group("theirs", "Ada.Lovelace", "stranger")
    return here


def _mail(address: str) -> list[dict[str, Any]]:
    return [{"value": f"old.{address}"}, {"value": address, "primary": True}]


def test_accounts_are_recognised_by_mail_and_by_name_and_nothing_is_changed_there(
    club: "Site", svcctl: "Svcctl", idp: "Idp"
) -> None:
    words = ("adopt", "idp", "--by", "external-id", "--by", "email", "--by", "name")
    document = json.loads(svcctl(*words, "--yes", "--json").stdout)
    excess = "in commanders as well, which update-all-groups would end"
    assert {
        one["account"]: (one["user"], one["by"], one["result"], one["reason"])
        for one in document["accounts"]
    } == {
        "Ada.Lovelace": ("ada", "email", "linked", ""),
        "BOB": ("bob", "name", "linked", excess),
    }
    assert document["counts"]["strangers"] == 1
    assert idp.proxy.writes == []

    assert json.loads(svcctl("plan", "--json").stdout)["operations"] == []
    drift = json.loads(svcctl("drift", "--json").stdout)
    assert {(one["kind"], one["account"], one["what"]) for one in drift["findings"]} == {
        ("foreign", "stranger", ""),
        ("groups", "BOB", "should not be in commanders"),
    }
    assert svcctl("update-all-groups").exit_code == 0
    assert idp.remote.groups() == {
        "commanders": {"Ada.Lovelace"},
        "everybody": {"Ada.Lovelace", "BOB", "stranger"},
        "theirs": {"Ada.Lovelace", "stranger"},
    }
    assert svcctl("drift", "--check").exit_code == 0


def test_drift_of_every_kind_is_told_and_mended(club: "Site", svcctl: "Svcctl", idp: "Idp") -> None:
    assert svcctl("adopt", "idp", "--by", "email", "--by", "name", "--yes").exit_code == 0
    assert svcctl("accounts", "create", "cyd", "--service", "idp").exit_code == 0
    assert svcctl("update-all-groups").exit_code == 0
    assert svcctl("drift", "--check").exit_code == 0
    users = idp.remote.users()
    for name, changes in (
        ("Ada.Lovelace", {"displayName": "Countess", "active": False}),
        ("BOB", {"userName": "robert"}),
    ):
        body = {**users[name], **changes}
        idp.remote.ask("PUT", f"/Users/{body['id']}", body)
    idp.remote.set_members("everybody", "robert")
    idp.remote.ask("DELETE", f"/Users/{users['cyd']['id']}")
    done = svcctl("drift", "--check", "--json")
    assert done.exit_code == 3
    found = json.loads(done.stdout)["findings"]
    assert {(one["kind"], one["user"], one["what"]) for one in found} == {
        ("disabled", "ada", "disabled there, active here"),
        ("nickname", "ada", "is 'Countess', should be 'Ada'"),
        ("groups", "ada", "lacks everybody"),
        ("renamed", "bob", "was 'BOB', is 'robert'"),
        ("missing", "cyd", "not on the service"),
    }
    for one in found:
        for command in one["repair"].split("; "):
            done = svcctl(*command.split(" ")[1:])
            assert done.exit_code == 0, (command, done.stderr)
    assert svcctl("accounts", "create", "cyd", "--service", "idp").exit_code == 0
    assert svcctl("drift", "--check").exit_code == 0
    assert idp.remote.user("Ada.Lovelace")["active"]
    assert idp.remote.groups()["theirs"] == {"Ada.Lovelace", "stranger"}


@pytest.mark.parametrize("words", [("drift",), ("adopt", "idp", "--by", "name", "--yes")])
def test_a_listing_that_ends_early_says_nothing(
    club: "Site", svcctl: "Svcctl", idp: "Idp", words: tuple[str, ...]
) -> None:
    for nth in range(1, 30):
        empty = b'{"totalResults": 9, "Resources": []}'
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(empty)
        idp.proxy.answer(head + empty, "GET", "/Users[?].*startIndex=3", nth=nth)
    done = svcctl(*words)
    assert done.exit_code == 5, done.stderr
    assert done.stdout == ""
    assert "gave 2 of 9 resources" in done.stderr
    assert club.rows("SELECT * FROM accounts") == []


# Beginning with what is there


def test_a_service_is_taken_over_whole(
    site: Any, svcctl: "Svcctl", idp: "Idp", monkeypatch: pytest.MonkeyPatch
) -> None:
    table = CONFIG[CONFIG.index("[services") : CONFIG.index("access")]
    here: Site = site(table.format(base=idp.base))
    monkeypatch.setenv("SCIM_TOKEN", idp.token)
    for name in ("ada", "bob", "cyd"):
        idp.remote.create_user(name, active=name != "cyd")
    idp.remote.create_group("admins", "ada")
    idp.remote.create_group("staff", "ada", "bob")
    done = svcctl("init", "--from-live", "idp")
    assert done.exit_code == 0, done.stderr
    assert (here.folder / "people.csv").read_text(encoding="utf-8").splitlines()[0] == (
        "id,username,active,groups,character_name,email,family_name,given_name,nickname"
    )
    assert svcctl("directory", "pull").exit_code == 0
    assert svcctl("adopt", "idp", "--by", "uid", "--yes").exit_code == 0
    assert json.loads(svcctl("plan", "--json").stdout)["operations"] == []
    assert svcctl("drift", "--check").exit_code == 0
    assert idp.proxy.writes == []
    # From now on the directory says how they are called.
    assert svcctl("users", "set", "bob", "nickname=Robert").exit_code == 0
    assert idp.remote.user("bob")["displayName"] == "Robert"
    assert svcctl("groups", "remove", "admins", "ada").exit_code == 0
    assert idp.remote.groups()["admins"] == set()
