"""`svcctl groups`: an operator's yes and no outlast every pull."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl

CONFIG = """
[directory.sources.people]
type = "csv"
path = "people.csv"

[states.Member]
priority = 100
groups = ["corp"]
"""


@pytest.fixture
def club(site: "Callable[[str], Site]", svcctl: "Svcctl") -> "Site":
    made = site(CONFIG)
    made.write("people.csv", "id,username,groups\n1,ada,corp;fc\n2,bob,\n")
    assert svcctl("directory", "pull").exit_code == 0
    assert svcctl("users", "add", "own").exit_code == 0
    return made


def members(svcctl: "Svcctl", group: str) -> dict[str, tuple[str, bool]]:
    done = svcctl("groups", "show", group, "--json")
    assert done.exit_code == 0
    return {
        row["username"]: (row["origin"], row["present"]) for row in json.loads(done.stdout)["rows"]
    }


def test_the_list_counts_who_is_there(club: "Site", svcctl: "Svcctl") -> None:
    svcctl("groups", "add", "new", "own", "bob")
    svcctl("groups", "remove", "fc", "ada")
    svcctl("users", "remove", "bob")
    assert svcctl("groups", "list").stdout.splitlines() == [
        "name  origin    users",
        "corp  people    1",
        "fc    people    0",
        "new   operator  1",
    ]


def test_an_unknown_group_is_a_usage_error_with_close_names(club: "Site", svcctl: "Svcctl") -> None:
    for command in (("show", "crop"), ("remove", "crop", "ada"), ("delete", "crop")):
        done = svcctl("groups", *command)
        assert done.exit_code == 2
        assert done.stderr == "error: no such group: crop\nhint: did you mean corp?\n"


def test_who_is_put_in_stays_in(club: "Site", svcctl: "Svcctl") -> None:
    assert svcctl("groups", "add", "corp", "bob", "ada").stdout == (
        "bob: +corp; state: Guest -> Member\n"
    )
    club.write("people.csv", "id,username,groups\n1,ada,fc\n2,bob,\n")
    assert svcctl("directory", "pull").stdout == ""
    assert members(svcctl, "corp") == {"ada": ("operator", True), "bob": ("operator", True)}


def test_who_is_taken_out_stays_out_until_unset(club: "Site", svcctl: "Svcctl") -> None:
    assert svcctl("groups", "remove", "corp", "ada").stdout == (
        "ada: -corp; state: Member -> Guest\n"
    )
    assert svcctl("directory", "pull").stdout == ""
    assert members(svcctl, "corp") == {"ada": ("operator", False)}
    assert "kept out of     corp  (operator)" in svcctl("users", "show", "ada").stdout
    assert svcctl("groups", "unset", "corp", "ada").stdout == "ada: unset corp\n"
    assert "  ada: +corp\n" in svcctl("directory", "pull").stdout
    assert members(svcctl, "corp") == {"ada": ("people", True)}


def test_an_own_user_simply_leaves(club: "Site", svcctl: "Svcctl") -> None:
    svcctl("groups", "add", "fc", "own")
    assert svcctl("groups", "remove", "fc", "own").stdout == "own: -fc\n"
    assert members(svcctl, "fc") == {"ada": ("people", True)}


def test_what_is_so_already_is_no_change(club: "Site", svcctl: "Svcctl") -> None:
    done = svcctl("groups", "remove", "fc", "bob")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "nothing to change\n")


def test_deleting_a_group_ends_what_it_grants(club: "Site", svcctl: "Svcctl") -> None:
    assert svcctl("groups", "delete", "corp").stdout == "ada: -corp; state: Member -> Guest\n"
    assert svcctl("groups", "show", "corp").exit_code == 2
    assert "ada: +corp" in svcctl("directory", "pull").stdout


def test_names_of_groups_are_checked(club: "Site", svcctl: "Svcctl") -> None:
    done = svcctl("groups", "add", "a\x07b", "ada")
    assert done.exit_code == 2
    assert "the group's name contains the control or invisible character U+0007" in done.stderr
