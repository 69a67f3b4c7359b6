"""The scim source through the front door: an identity provider is read whole, or not at all."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from svcctl.config.source import ScimSource
from svcctl.directory.person import Person
from svcctl.directory.sources import open_source
from svcctl.errors import ExitCode, SourceError
from svcctl.http import client as http
from tests.scim.answers import BAD
from tests.scim.odd_server import OddServer, expired, serving

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl
    from tests.scim.conftest import Idp

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
CONFIG = """
[directory]
attributes = ["department"]

[directory.sources.idp]
type = "scim"
base_url = "{base}"
token = {{ env = "SCIM_TOKEN" }}
page_size = 2
http = {{ timeout = "2s", largest_answer = 1_048_576 }}
{more}

[states.Member]
priority = 100
groups = ["corp"]
"""
ATTRIBUTES = f"""
[directory.sources.idp.attributes]
emails = "email"
"name.formatted" = "character_name"
"{ENTERPRISE}:department" = "department"
"""


@pytest.fixture
def here(site: Any, idp: "Idp", monkeypatch: pytest.MonkeyPatch) -> "Site":
    """ada, bob and cyd in the identity provider; ada and bob in corp, ada in fc as well."""
    monkeypatch.setenv("SCIM_TOKEN", idp.token)
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.01)
    built: Site = site(CONFIG.format(base=idp.base, more=""))
    for name in ("ada", "bob", "cyd"):
        idp.remote.create_user(name)
    idp.remote.create_group("corp", "ada", "bob")
    idp.remote.create_group("fc", "ada")
    return built


def everything(site: "Site") -> list[object]:
    return [
        site.rows(f"SELECT * FROM {table} ORDER BY 1, 2")
        for table in ("users", "groups", "memberships", "states")
    ]


def change(idp: "Idp", name: str, **values: Any) -> None:
    user = idp.remote.user(name)
    idp.remote.ask("PUT", f"/Users/{user['id']}", {**user, **values})


# As cron sees it


def test_the_first_pull_adds_people_and_groups_and_the_second_is_silent(
    here: "Site", svcctl: "Svcctl", idp: "Idp"
) -> None:
    done = svcctl("directory", "pull")
    assert (done.exit_code, done.stderr) == (0, "")
    first, *added = done.stdout.splitlines()
    assert first == "idp: 3 read, 3 added"
    assert sorted(added) == ["  ada: added", "  bob: added", "  cyd: added"]
    assert here.rows("SELECT username, active, state, attributes FROM users ORDER BY username") == [
        {
            "username": name,
            "active": 1,
            "state": state,
            "attributes": f'{{"character_name":"{name.title()}","email":"{name}@example.org"}}',
        }
        for name, state in (("ada", "Member"), ("bob", "Member"), ("cyd", "Guest"))
    ]
    again = svcctl("directory", "pull")
    assert (again.exit_code, again.stdout, again.stderr) == (0, "", "")
    assert {one.method for one in idp.proxy.log} == {"GET"}


def test_what_changes_there_changes_here_and_who_vanished_goes_in_two_steps(
    here: "Site", svcctl: "Svcctl", idp: "Idp"
) -> None:
    svcctl("directory", "pull")
    change(idp, "ada", userName="countess", emails=[{"value": "new@example.org"}])
    change(idp, "cyd", active=False)
    idp.remote.ask("DELETE", f"/Users/{idp.remote.user('bob')['id']}")
    idp.remote.set_members("fc", "cyd")
    done = svcctl("directory", "pull")
    assert (done.exit_code, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == sorted(
        [
            "idp: 2 read, 2 changed, 1 renamed, 1 missing, 1 joined, 1 left",
            "  countess: email: ada@example.org -> new@example.org",
            "  cyd: active: true -> false",
            "  countess: renamed, was ada",
            "  bob: missing; loses access if missing again",
            "  cyd: +fc",
            "  countess: -fc",
        ]
    )
    assert here.rows("SELECT active FROM users WHERE username = 'bob'") == [{"active": 1}]
    assert "bob: missing for good, not active any more" in svcctl("directory", "pull").stdout
    assert here.rows("SELECT active FROM users WHERE username = 'bob'") == [{"active": 0}]


def test_attributes_may_come_from_an_extension_and_the_primary_value_counts(
    here: "Site", svcctl: "Svcctl", idp: "Idp"
) -> None:
    emails = [{"value": "other@example.org"}, {"value": "first@example.org", "primary": True}]
    schemas = ["urn:ietf:params:scim:schemas:core:2.0:User", ENTERPRISE]
    change(idp, "ada", schemas=schemas, emails=emails, **{ENTERPRISE: {"department": "Engines"}})
    change(idp, "bob", emails=[])
    here.configure(CONFIG.format(base=idp.base, more=ATTRIBUTES))
    assert svcctl("directory", "pull").exit_code == 0
    assert [
        row["attributes"] for row in here.rows("SELECT attributes FROM users ORDER BY username")
    ] == [
        '{"character_name":"Ada","department":"Engines","email":"first@example.org"}',
        '{"character_name":"Bob"}',
        '{"character_name":"Cyd","email":"cyd@example.org"}',
    ]


def test_without_read_groups_memberships_stay(here: "Site", svcctl: "Svcctl", idp: "Idp") -> None:
    svcctl("directory", "pull")
    before = here.rows("SELECT * FROM memberships")
    idp.remote.set_members("corp", "cyd")
    idp.proxy.log.clear()
    here.configure(CONFIG.format(base=idp.base, more="read_groups = false"))
    assert svcctl("directory", "pull").exit_code == 0
    assert here.rows("SELECT * FROM memberships") == before
    assert not [one for one in idp.proxy.log if "Groups" in one.path]


# Not read completely


def refused(here: "Site", svcctl: "Svcctl", *said: str) -> None:
    before = everything(here)
    for words in (("directory", "pull"), ("directory", "pull", "--dry-run")):
        done = svcctl(*words)
        assert done.exit_code == 5, done.stdout + done.stderr
        assert done.stdout == ""
        for part in ("directory.sources.idp: ", "hint: ", *said):
            assert part in done.stderr
        assert os.environ["SCIM_TOKEN"] not in done.stderr
        assert everything(here) == before


@pytest.mark.parametrize("what", ["Users", "Groups"])
@pytest.mark.parametrize("name", BAD)
def test_a_listing_that_is_not_one_changes_nobody(
    here: "Site", svcctl: "Svcctl", idp: "Idp", name: str, what: str
) -> None:
    svcctl("directory", "pull")
    idp.remote.set_members("corp", "cyd")
    answer, words = BAD[name]
    for nth in range(1, 60):
        idp.proxy.answer(answer, "GET", f"/({what}|elsewhere/v2/Users)([?]|$)", nth=nth)
    if (name, what) == ("repeated", "Groups"):
        words = "/Groups/zoe"  # which is no group
    refused(here, svcctl, words)
    idp.proxy.reset()
    assert svcctl("directory", "pull").exit_code == 0


@pytest.mark.parametrize("what", ["Users", "Groups"])
def test_the_second_page_that_does_not_come_changes_nobody(
    here: "Site", svcctl: "Svcctl", idp: "Idp", what: str
) -> None:
    idp.remote.create_group("more", "ada")
    svcctl("directory", "pull")
    idp.remote.set_members("corp", "cyd")
    for nth in range(1, 30):
        idp.proxy.answer(BAD["error"][0], "GET", f"/{what}.*startIndex=3", nth=nth)
    refused(here, svcctl, "503")
    idp.proxy.reset()
    idp.proxy.cut()
    refused(here, svcctl, "connection refused")


def test_a_wrong_token_is_said_and_a_missing_one_stops_only_this_source(
    here: "Site", svcctl: "Svcctl", idp: "Idp", monkeypatch: pytest.MonkeyPatch
) -> None:
    svcctl("directory", "pull")
    monkeypatch.setenv("SCIM_TOKEN", "no-such-token")
    refused(here, svcctl, "401", "check the credentials")
    monkeypatch.delenv("SCIM_TOKEN")
    here.write("others.csv", "id,username\n1,zoe\n")
    config = (here.folder / "svcctl.toml").read_text()
    here.configure(config + '[directory.sources.others]\ntype = "csv"\npath = "others.csv"\n')
    done = svcctl("directory", "pull")
    assert done.exit_code == 5
    assert "error: directory.sources.idp.token: env SCIM_TOKEN: is not set\n" in done.stderr
    assert "zoe: added" in done.stdout


def test_nobody_at_all_is_refused_until_somebody_says_yes(
    here: "Site", svcctl: "Svcctl", idp: "Idp"
) -> None:
    svcctl("directory", "pull")
    idp.remote.clear()
    before = everything(here)
    assert svcctl("directory", "pull").exit_code == 5
    assert everything(here) == before


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('base_url = "idp.example.org"', "directory.sources.idp.base_url: must be a URL"),
        ('base_url = "https://idp"\ntoken = "abc"', "a secret has no place"),
        ('base_url = "https://idp"\nid = "a b"', "idp.id: must be a SCIM attribute"),
        ('base_url = "https://idp"\nattributes = { title = "rank" }', "no such attribute: rank"),
        ('base_url = "https://idp"\nattributes = { "a.b.c" = "email" }', "a SCIM attribute"),
        ('base_url = "http://idp"\ntoken = { env = "X" }', "http.plain = true"),
        ("page_size = 2", "directory.sources.idp.base_url"),
    ],
)
def test_settings_that_cannot_be_meant(site: Any, svcctl: "Svcctl", line: str, words: str) -> None:
    site().configure(f'[directory.sources.idp]\ntype = "scim"\n{line}\n')
    done = svcctl("config", "check")
    assert done.exit_code == 78
    assert words in done.stdout + done.stderr


# What servers may do


Odd = Callable[..., OddServer]


@pytest.fixture
def odd() -> Iterator[Odd]:
    with ExitStack() as stack:

        def start(users: list[Any], groups: list[Any] | None = None, **more: Any) -> OddServer:
            return stack.enter_context(serving(OddServer(users, groups or [], **more)))

        yield start


def user(id_: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "userName": f"u{id_}", **more}


def group(id_: str, *members: dict[str, Any]) -> dict[str, Any]:
    return {"id": id_, "displayName": f"g{id_}", "members": list(members)}


def person(id_: str) -> dict[str, Any]:
    return {"value": id_, "type": "User"}


def inner(id_: str) -> dict[str, Any]:
    return {"value": id_, "$ref": f"https://idp/v2/Groups/{id_}"}


def people(server: OddServer, **more: Any) -> list[Person]:
    source = ScimSource.model_validate({"type": "scim", "base_url": server.url, **more})
    with open_source("idp", source, ()) as found:
        return list(found)


def held(server: OddServer, **more: Any) -> dict[str, set[str]]:
    return {one.username: set(one.groups or ()) for one in people(server, **more)}


def test_a_group_in_a_group_counts_and_a_circle_ends(odd: Odd) -> None:
    server = odd(
        [user("1"), user("2"), user("3")],
        # Ids are unique per kind only.
        [
            group("1", person("1"), inner("2")),
            group("2", person("2"), inner("3"), inner("9")),
            group("3", person("3"), inner("1")),
            group("4", {"value": "1"}),
        ],
    )
    assert held(server) == {
        "u1": {"g1", "g2", "g3", "g4"},
        "u2": {"g1", "g2", "g3"},
        "u3": {"g1", "g2", "g3"},
    }


def test_members_that_a_list_leaves_out_are_asked_for(odd: Odd) -> None:
    groups = [group("0"), group("1", person("1")), group("2", person("2")), group("3")]
    server = odd([user("1"), user("2")], groups, hides=frozenset({"members"}))
    assert held(server) == {"u1": {"g1"}, "u2": {"g2"}}
    shown = odd([user("1"), user("2")], groups)
    assert held(shown) == {"u1": {"g1"}, "u2": {"g2"}}
    assert [path for path in shown.asked if path.startswith("/Groups/")] == ["/Groups/0"]


def test_pages_by_cursor_are_read(odd: Odd) -> None:
    server = odd([user(str(number)) for number in range(7)], cursor=True)
    assert [one.source_id for one in people(server, page_size=3)] == list("0123456")


def test_what_a_user_does_not_say_is_unknown_and_words_for_yes_are_understood(odd: Odd) -> None:
    server = odd([user("1"), user("2", active="True"), user("3", active="false"), user("4")])
    assert [one.active for one in people(server)] == [None, True, False, None]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"userName": " "}, "user 2: /Users/2: userName is empty"),
        ({"userName": None}, "user 2: /Users/2: userName is empty"),
        ({"userName": ["ada"]}, "userName is not text"),
        ({"userName": "a\u202eb"}, "userName contains the control or invisible character U+202E"),
        ({"userName": "u1"}, "the username 'u1' was already at directory.sources.idp: user 1"),
        ({"active": "perhaps"}, "active is neither true nor false"),
        ({"active": 3}, "active is neither true nor false"),
        ({"displayName": {"a": 1}}, "displayName has several parts"),
        ({"displayName": "x\0"}, "displayName: contains a NUL character"),
        ({"emails": [[1]]}, "emails has several parts"),
        ({"id": None}, "a resource has no id"),
    ],
)
def test_a_user_that_is_not_one_refuses_all_of_them(
    odd: Odd, entry: dict[str, Any], words: str
) -> None:
    server = odd([user("1"), {**user("2"), **entry}])
    with pytest.raises(SourceError) as refused:
        people(server)
    assert words in refused.value.message
    assert refused.value.exit_code is ExitCode.INCOMPLETE
    assert refused.value.hint


def test_a_group_that_cannot_be_named_refuses_all_of_them(odd: Odd) -> None:
    server = odd([user("1")], [{"id": "7", "displayName": "a\nb"}])
    with pytest.raises(SourceError, match="/Groups/7: displayName contains the control"):
        people(server)
    assert held(server, groups="id") == {"u1": set()}


def test_an_expired_certificate_changes_nobody(here: "Site", svcctl: "Svcctl") -> None:
    svcctl("directory", "pull")
    with serving(OddServer([user("1")]), tls=expired(here.folder / "ca.pem")) as server:
        config = CONFIG.format(base=server.url, more="")
        here.configure(config.replace("http = {", 'http = { ca_file = "ca.pem",'))
        refused(here, svcctl, "certificate has expired", "http.ca_file")


def test_200_megabytes_change_nobody(here: "Site", svcctl: "Svcctl") -> None:
    svcctl("directory", "pull")
    with serving(OddServer([user("1")], megabytes=200)) as server:
        here.configure(CONFIG.format(base=server.url, more=""))
        refused(here, svcctl, "the answer is longer than 1,048,576 bytes")
