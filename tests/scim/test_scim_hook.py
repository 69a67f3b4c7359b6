"""The scim hook through the front door, on scim2-server, and what a network does to it."""

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from svcctl.hooks.scim.manager import PATHS, ScimManager
from svcctl.http import client as http
from svcctl.http import pace
from svcctl.runs import lane
from tests.scim.answers import BAD
from tests.scim.odd_server import OddServer, expired, serving
from tests.support import limits
from tests.support.limits import RateLimited, TokenBucket

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
create = "auto"
create_groups = true
page_size = 2
access.states = ["Member"]
limits.removals = "100%"
groups.map = {{ fc = "commanders" }}
http = {{ timeout = "2s", largest_answer = 1_048_576 }}
"""
PEOPLE = ("ada", "bob", "cyd", "dan", "eve")


@pytest.fixture
def club(site: Any, svcctl: "Svcctl", idp: "Idp", monkeypatch: pytest.MonkeyPatch) -> "Site":
    """Five people with accounts, ada and bob in a group."""
    here: Site = site(CONFIG.format(base=idp.base))
    monkeypatch.setenv("SCIM_TOKEN", idp.token)
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.01)
    for name in PEOPLE:
        svcctl("users", "add", name, "--no-sync")
    svcctl("groups", "add", "corp", *PEOPLE, "--no-sync")
    svcctl("groups", "add", "fc", "ada", "bob", "--no-sync")
    done = svcctl("sync", "--all")
    assert done.exit_code == 0, done.stdout + done.stderr
    idp.proxy.log.clear()
    return here


def truth(idp: "Idp") -> Any:
    users = {name: user["active"] for name, user in idp.remote.users().items()}
    return users, idp.remote.groups()


def test_what_the_service_then_has(club: "Site", svcctl: "Svcctl", idp: "Idp") -> None:
    assert truth(idp) == (dict.fromkeys(PEOPLE, True), {"commanders": {"ada", "bob"}})
    assert idp.remote.user("ada")["externalId"].startswith("svcctl:")
    svcctl("groups", "remove", "fc", "bob", "--no-sync")
    svcctl("groups", "remove", "corp", "ada", "--no-sync")
    assert svcctl("sync", "--all").exit_code == 0
    users, groups = truth(idp)
    assert users == {**dict.fromkeys(PEOPLE, True), "ada": False}
    assert groups == {"commanders": {"ada"}}
    assert svcctl("update-all-groups").exit_code == 0


def test_what_a_service_shows_of_a_person_goes_by_the_names_that_attributes_have_here(
    idp: "Idp",
) -> None:
    emails = [{"value": "a@example.org"}, {"value": "ada@example.org", "primary": True}]
    idp.remote.create_user("ada", emails=emails, title="Countess")
    idp.remote.create_user("bob", emails=[], name={"givenName": "Bob"}, displayName="Bob B")
    shown = {
        one.name: one.attributes
        for one in ScimManager(
            idp.base, token=idp.token, paths={**PATHS, "rank": "title"}
        ).list_accounts()
    }
    assert shown == {
        "ada": {
            "email": ("ada@example.org", "a@example.org"),
            "character_name": "Ada",
            "given_name": "The",
            "family_name": "Ada",
            "rank": "Countess",
        },
        "bob": {"given_name": "Bob"},
    }


@pytest.mark.parametrize("refused", [0, 1])
def test_those_who_enter_or_leave_a_group_at_once_go_in_one_request(
    club: "Site", svcctl: "Svcctl", idp: "Idp", refused: int
) -> None:
    crowd = [f"p{number}" for number in range(8)]
    for name in crowd:
        svcctl("users", "add", name, "--no-sync")
    svcctl("groups", "add", "corp", *crowd, "--no-sync")
    assert svcctl("sync", "--all").exit_code == 0
    idp.proxy.delay = 0.03
    for action, inside in (("add", {"ada", "bob", *crowd}), ("remove", {"ada", "bob"})):
        idp.proxy.log.clear()
        # The first one goes alone, the others together; if that is refused, each alone.
        for method, nth in (("PATCH", 2), ("PUT", 1)) * refused:
            no = b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n"
            idp.proxy.answer(no, method, "/Groups/", nth=nth)
        svcctl("groups", action, "fc", *crowd, "--no-sync")
        done = svcctl("sync", "--all")
        assert done.exit_code == 0, done.stdout + done.stderr
        assert idp.remote.groups()["commanders"] == inside
        changes = [one for one in idp.proxy.writes if "/Groups/" in one.path]
        assert len(changes) < len(crowd) + 2 * refused
        done = svcctl("history", "p3", "--json")
        last = json.loads(done.stdout)["rows"][0]
        assert "commanders" in json.dumps(last), "each has a record of its own"


@pytest.mark.parametrize("name", BAD)
def test_a_listing_that_is_not_one_changes_nobody(
    club: "Site", svcctl: "Svcctl", idp: "Idp", name: str
) -> None:
    answer, words = BAD[name]
    before, accounts = truth(idp), club.rows("SELECT * FROM accounts")
    for nth in range(1, 30):
        idp.proxy.answer(answer, "GET", "/(Users|elsewhere/v2/Users)([?]|$)", nth=nth)
    done = svcctl("update-all-groups")
    assert done.exit_code == 5, done.stdout + done.stderr
    assert words in done.stderr
    assert "services.idp" in done.stderr or "idp: " in done.stderr
    assert os.environ["SCIM_TOKEN"] not in done.stdout + done.stderr
    idp.proxy.reset()
    assert truth(idp) == before
    assert club.rows("SELECT * FROM accounts") == accounts


@pytest.mark.parametrize("name", BAD)
def test_an_answer_to_a_change_that_is_not_one_is_no_yes(
    club: "Site", svcctl: "Svcctl", idp: "Idp", name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "FIRST_PAUSE", 0.01)
    svcctl("groups", "remove", "corp", "ada", "--no-sync")
    svcctl("groups", "remove", "fc", "bob", "--no-sync")
    before, accounts = truth(idp), club.rows("SELECT name, status, groups FROM accounts")
    for nth in range(1, 100):
        idp.proxy.answer(BAD[name][0], nth=nth)
    done = svcctl("sync", "--all")
    assert done.exit_code == 1, done.stdout + done.stderr
    assert os.environ["SCIM_TOKEN"] not in done.stdout + done.stderr
    idp.proxy.reset()
    assert truth(idp) == before
    assert club.rows("SELECT name, status, groups FROM accounts") == accounts
    done = svcctl("retry")
    assert done.exit_code == 0, done.stdout + done.stderr
    assert truth(idp) == (
        {**dict.fromkeys(PEOPLE, True), "ada": False},
        {"commanders": {"ada"}},
    )


def test_an_empty_yes_to_a_delete_is_looked_at(
    club: "Site", svcctl: "Svcctl", idp: "Idp", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "FIRST_PAUSE", 0.01)
    club.configure(CONFIG.format(base=idp.base) + 'removal = "delete"\n')
    svcctl("groups", "remove", "corp", "ada", "--no-sync")
    for nth in range(1, lane.ATTEMPTS + 1):
        idp.proxy.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "DELETE", nth=nth)
    assert svcctl("sync", "--all").exit_code == 1
    assert "ada" in truth(idp)[0]
    idp.proxy.reset()
    assert svcctl("retry").exit_code == 0
    assert "ada" not in truth(idp)[0]


def elsewhere(club: "Site", base: str, **http: str) -> None:
    """The same service at another address."""
    settings = "".join(f'{key} = "{value}", ' for key, value in http.items())
    config = CONFIG.format(base=base).replace("http = {", f"http = {{ {settings}")
    club.configure(config.replace(", largest_answer = 1_048_576", ""))


def test_200_megabytes_change_nobody(club: "Site", svcctl: "Svcctl") -> None:
    accounts = club.rows("SELECT * FROM accounts")
    with serving(OddServer([], megabytes=200)) as server:
        elsewhere(club, server.url)
        done = svcctl("update-all-groups")
    assert done.exit_code == 5
    assert "the answer is longer than 33,554,432 bytes" in done.stderr
    assert club.rows("SELECT * FROM accounts") == accounts


def test_an_expired_certificate_changes_nobody(
    club: "Site", svcctl: "Svcctl", idp: "Idp", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "FIRST_PAUSE", 0.01)
    svcctl("groups", "remove", "corp", "ada", "--no-sync")
    before, accounts = truth(idp), club.rows("SELECT * FROM accounts")
    with serving(OddServer([]), tls=expired(club.folder / "ca.pem")) as server:
        elsewhere(club, server.url, ca_file="ca.pem")
        for words, code in ((("update-all-groups",), 5), (("sync", "--all"), 1)):
            done = svcctl(*words)
            assert done.exit_code == code
            assert "certificate has expired" in done.stdout + done.stderr
        assert server.asked == []
    assert truth(idp) == before
    assert club.rows("SELECT * FROM accounts") == accounts


@pytest.mark.parametrize("said", [limits.nothing, limits.x_ratelimit])
def test_reading_waits_as_long_as_the_server_asks(
    club: "Site", svcctl: "Svcctl", idp: "Idp", said: limits.Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "FIRST_BREAK", 0.02)
    idp.proxy.limit = RateLimited(TokenBucket(1, per=0.08), said)
    done = svcctl("update-all-groups")
    assert done.exit_code == 0, done.stderr
    svcctl("groups", "remove", "corp", "ada", "bob", "--no-sync")
    done = svcctl("plan", "--out", "plan.json")
    assert done.exit_code == 0, done.stderr
    assert [one for one in idp.proxy.log if one.told == 429]


def test_a_wrong_token_is_said_and_nothing_is_lost(
    club: "Site", svcctl: "Svcctl", idp: "Idp", monkeypatch: pytest.MonkeyPatch
) -> None:
    before = truth(idp)
    svcctl("groups", "remove", "corp", "ada", "--no-sync")
    monkeypatch.setenv("SCIM_TOKEN", "no-such-token")
    done = svcctl("sync", "--all")
    assert done.exit_code == 1
    assert "401" in done.stdout + done.stderr
    assert "check the credentials" in done.stdout + done.stderr
    assert "no-such-token" not in done.stdout + done.stderr
    assert truth(idp) == before
    monkeypatch.setenv("SCIM_TOKEN", idp.token)
    assert svcctl("retry").exit_code == 0
    assert truth(idp)[0]["ada"] is False


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('base_url = "ftp://idp"', "services.idp.base_url"),
        ('base_url = "https://ada:secret@idp.example.org"', "no user and no password in a URL"),
        ('base_url = "http://idp.example.org"\ntoken = { env = "X" }', "http.plain = true"),
        ('base_url = "https://idp"\nbasic = { username = "ada" }', "services.idp.basic.password"),
        (
            'base_url = "https://idp"\ntoken = { env = "X" }\n'
            'basic = { username = "ada", password = { env = "Y" } }',
            "give one of: token, basic, oauth",
        ),
        ('base_url = "https://idp"\npaths = { email = "a.b.c" }', "services.idp.paths"),
    ],
)
def test_settings_that_cannot_be_meant(site: Any, svcctl: "Svcctl", line: str, words: str) -> None:
    site(f'[services.idp]\nhook = "scim"\n{line}\n')
    done = svcctl("config", "check")
    assert done.exit_code == 78
    assert words in done.stdout + done.stderr
    assert "secret" not in done.stdout + done.stderr


def test_an_undo_puts_back_what_a_run_changed_and_leaves_what_others_did(
    club: "Site", svcctl: "Svcctl", idp: "Idp"
) -> None:
    before = truth(idp)
    svcctl("groups", "remove", "corp", "ada", "--no-sync")
    svcctl("groups", "remove", "fc", "bob", "--no-sync")
    svcctl("groups", "add", "fc", "cyd", "dan", "--no-sync")
    done = svcctl("sync", "--all", "--json")
    assert done.exit_code == 0
    run = json.loads(done.stdout)["run"]
    # Meanwhile somebody takes dan out again, there.
    idp.remote.set_members("commanders", "ada", "cyd")
    # Who is in a group only the group says there; where that is not read, nothing is undone.
    after = truth(idp)
    for nth in range(1, 30):
        idp.proxy.answer(BAD["denied"][0], "GET", "/Groups", nth=nth)
    assert svcctl("undo", str(run)).exit_code == 5
    idp.proxy.reset()
    assert truth(idp) == after
    undone = svcctl("undo", str(run))
    assert undone.exit_code == 1
    assert "idp: dan: cannot undo: the service shows that it is in commanders no more" in (
        undone.stderr
    )
    assert truth(idp) == before
    assert svcctl("sync", "--all").stdout == ""
    assert truth(idp) == before
