"""`svcctl states`: who stands where, and what another configuration would make of it."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl

CONFIG = """
[states.Member]
priority = 100
groups = ["corp"]

[states.Guest]
priority = 0
public = true
"""
OTHER = """
[states.Member]
priority = 100
groups = ["corp"]

[states.Blue]
priority = 50
users = ["bob"]
"""


@pytest.fixture
def club(site: "Callable[[str], Site]", svcctl: "Svcctl") -> "Site":
    made = site(CONFIG)
    for name, group in (("ada", "corp"), ("bob", "fc"), ("eve", "fc")):
        assert svcctl("users", "add", name, "--group", group).exit_code == 0
    return made


def test_the_list_has_priorities_and_counts(club: "Site", svcctl: "Svcctl") -> None:
    done = svcctl("states", "list")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "name    priority  public  users",
        "Member  100       no      1",
        "Guest   0         yes     2",
    ]


def test_show_lists_the_members(club: "Site", svcctl: "Svcctl") -> None:
    rows = json.loads(svcctl("states", "show", "Guest", "--json").stdout)["rows"]
    assert [row["username"] for row in rows] == ["bob", "eve"]
    wrong = svcctl("states", "show", "Memmber")
    assert wrong.exit_code == 2
    assert "no such state: Memmber\nhint: did you mean Member?" in wrong.stderr


def test_preview_says_what_the_configuration_would_make_of_users_and_why(
    club: "Site", svcctl: "Svcctl"
) -> None:
    club.configure(OTHER)
    assert svcctl("states", "preview").stdout.splitlines() == [
        "username  state   preview  why",
        "ada       Member  Member   is in group corp, which is in states.Member.groups",
        "bob       Guest   Blue     is named in states.Blue.users",
        "eve       Guest   Guest    may be Guest as everybody may"
        " and no state of higher priority matches",
    ]
    (row,) = json.loads(svcctl("states", "preview", "--changed", "--json").stdout)["rows"]
    assert (row["username"], row["state"], row["preview"]) == ("bob", "Guest", "Blue")
    assert len(svcctl("states", "preview", "ada", "eve").stdout.splitlines()) == 3
    assert len(svcctl("states", "preview", "--group", "fc").stdout.splitlines()) == 3
    assert club.rows("SELECT state FROM users WHERE username = 'bob'") == [{"state": "Guest"}]


def test_new_rules_are_told_and_applied_with_the_next_change(
    club: "Site", svcctl: "Svcctl"
) -> None:
    club.configure(OTHER)
    assert "the rules have changed" in svcctl("states", "list").stderr
    assert svcctl("users", "set", "eve", "--superuser").stdout.splitlines() == [
        "eve: superuser: false -> true",
        "bob: state: Guest -> Blue",
    ]
    assert svcctl("states", "list").stderr == ""
