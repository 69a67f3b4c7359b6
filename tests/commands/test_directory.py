"""`svcctl directory pull`, as an operator and as cron sees it."""

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
SECOND = """
[directory.sources.guests]
type = "json"
path = "guests.json"
"""
CHAT = """
[services.chat]
hook = "sandbox"
path = "chat.db"
create = "auto"
access = { states = ["Member"] }
"""
PEOPLE = "id,username,groups,email\n1,ada,corp;fc,ada@example.org\n2,bob,,\n"


@pytest.fixture
def club(site: "Callable[[str], Site]") -> "Site":
    made = site(CONFIG)
    made.write("people.csv", PEOPLE)
    return made


def snapshot(site: "Site") -> list[object]:
    return [
        site.rows(f"SELECT * FROM {table} ORDER BY 1, 2")
        for table in ("users", "groups", "memberships", "states")
    ]


def test_a_first_pull_says_who_was_added(club: "Site", svcctl: "Svcctl") -> None:
    done = svcctl("directory", "pull")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == "people: 2 read, 2 added\n  ada: added\n  bob: added\n"
    assert club.rows("SELECT username, state FROM users ORDER BY username") == [
        {"username": "ada", "state": "Member"},
        {"username": "bob", "state": "Guest"},
    ]


def test_cron_hears_nothing_when_nothing_changed(club: "Site", svcctl: "Svcctl") -> None:
    svcctl("directory", "pull")
    done = svcctl("directory", "pull")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    seen = svcctl("directory", "pull", stdin="")
    assert (seen.stdout, seen.stderr) == ("", "people: 2 read, nothing changed\n")
    assert svcctl("-q", "directory", "pull", stdin="").stderr == ""


def test_a_later_pull_says_what_differs(club: "Site", svcctl: "Svcctl") -> None:
    svcctl("directory", "pull")
    club.write("people.csv", "id,username,groups,email\n1,ada,fc,new@example.org\n2,bobby,corp,\n")
    done = svcctl("directory", "pull")
    assert done.stdout.splitlines() == [
        "people: 2 read, 1 changed, 1 renamed, 1 joined, 1 left, 2 in another state",
        "  ada: email: ada@example.org -> new@example.org",
        "  bobby: renamed, was bob",
        "  bobby: +corp",
        "  ada: -corp",
        "  ada: state: Member -> Guest",
        "  bobby: state: Guest -> Member",
    ]


def test_a_dry_run_shows_the_same_and_writes_nothing(club: "Site", svcctl: "Svcctl") -> None:
    before = snapshot(club)
    dry = svcctl("directory", "pull", "--dry-run")
    assert snapshot(club) == before
    assert dry.stderr == "dry run: nothing was written\n"
    assert dry.stdout == svcctl("directory", "pull").stdout


def test_a_source_with_an_error_changes_nothing_and_the_others_go_on(
    club: "Site", svcctl: "Svcctl"
) -> None:
    club.configure(CONFIG + SECOND)
    club.write("people.csv", PEOPLE + "3,ada,,\n")
    club.write("guests.json", '[{"username": "eve"}]')
    done = svcctl("directory", "pull")
    assert done.exit_code == 5
    assert done.stdout == "guests: 1 read, 1 added\n  eve: added\n"
    assert "people.csv:4: the username 'ada' was already at " in done.stderr
    assert "hint: every user must occur once; nothing of this source was taken over" in done.stderr
    assert club.rows("SELECT username FROM users") == [{"username": "eve"}]
    assert club.rows("SELECT name FROM groups") == []


def test_a_missing_file_takes_access_from_nobody(club: "Site", svcctl: "Svcctl") -> None:
    svcctl("directory", "pull")
    before = snapshot(club)
    (club.folder / "people.csv").unlink()
    done = svcctl("directory", "pull")
    assert (done.exit_code, done.stdout) == (5, "")
    assert "people.csv: cannot be read: no such file or directory" in done.stderr
    assert snapshot(club) == before


def test_an_empty_source_is_refused_until_somebody_says_yes(club: "Site", svcctl: "Svcctl") -> None:
    svcctl("directory", "pull")
    club.write("people.csv", "id,username,groups,email\n")
    done = svcctl("directory", "pull")
    assert done.exit_code == 5
    assert "people: 2 of 2 users have vanished (ada, bob); at most 1 may at once" in done.stderr
    assert "svcctl directory pull --source people --accept-missing 2" in done.stderr
    assert svcctl("directory", "pull", "--accept-missing", "1").exit_code == 5
    assert club.rows("SELECT count(*) AS missing FROM users WHERE missing_pulls > 0") == [
        {"missing": 0}
    ]
    done = svcctl("directory", "pull", "--source", "people", "--accept-missing", "2")
    assert done.exit_code == 0
    assert "  ada: missing for good, not active any more\n" in done.stdout
    assert club.rows("SELECT count(*) AS active FROM users WHERE active") == [{"active": 0}]


def test_the_limit_is_configured(club: "Site", svcctl: "Svcctl") -> None:
    svcctl("directory", "pull")
    club.configure('[directory.limits]\nremovals = "0%"\n' + CONFIG)
    club.write("people.csv", "id,username,groups,email\n1,ada,corp;fc,ada@example.org\n")
    assert "1 of 2 users have vanished (bob); at most 0" in svcctl("directory", "pull").stderr


def test_json_is_one_document(club: "Site", svcctl: "Svcctl") -> None:
    club.configure(CONFIG + SECOND)
    done = svcctl("directory", "pull", "--json")
    assert done.exit_code == 5
    document = json.loads(done.stdout)
    assert (document["schema"], document["dry_run"]) == ("svcctl.pull/1", False)
    people, guests = document["sources"]
    changes = people.pop("changes")
    assert changes.pop("added") == {"count": 2, "shown": ["ada", "bob"]}
    assert set(changes) == {
        *("changed", "renamed", "missing", "lost", "returned"),
        *("removed", "joined", "left", "states"),
    }
    assert all(change == {"count": 0, "shown": []} for change in changes.values())
    assert people == {"source": "people", "ok": True, "read": 2}
    assert (guests["source"], guests["ok"]) == ("guests", False)
    assert "cannot be read" in guests["error"]


def test_ndjson_is_a_line_per_source_and_csv_a_row_per_change(
    club: "Site", svcctl: "Svcctl"
) -> None:
    (line,) = svcctl("directory", "pull", "--dry-run", "--format", "ndjson").stdout.splitlines()
    assert json.loads(line)["event"] == "pull"
    done = svcctl("directory", "pull", "--format", "csv")
    assert done.stdout == ("source,change,user,detail\npeople,added,ada,\npeople,added,bob,\n")


def test_only_the_sources_asked_for_are_read(club: "Site", svcctl: "Svcctl") -> None:
    club.configure(CONFIG + SECOND)
    assert svcctl("directory", "pull", "--source", "people").exit_code == 0
    wrong = svcctl("directory", "pull", "--source", "poeple")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "no such source: poeple\nhint: did you mean people?" in wrong.stderr
    both = svcctl("directory", "pull", "--accept-missing", "3")
    assert both.exit_code == 2
    club.configure("")
    assert svcctl("directory", "pull").exit_code == 2


def test_accounts_follow_when_asked_to(club: "Site", svcctl: "Svcctl") -> None:
    club.configure(CONFIG + CHAT)
    svcctl("directory", "pull")
    assert svcctl("sync", "--all").exit_code == 0
    assert club.rows("SELECT name, status FROM accounts") == [{"name": "ada", "status": "active"}]
    club.write("people.csv", PEOPLE.replace("corp;fc", "fc"))
    # The only account of a service is never disabled without a word: it is held, exit 4.
    dry = svcctl("directory", "pull", "--sync", "--dry-run")
    assert (dry.exit_code, club.rows("SELECT status FROM operations WHERE removal")) == (4, [])
    assert "disable_account" in dry.stdout
    done = svcctl("directory", "pull", "--sync")
    assert "ada: state: Member -> Guest" in done.stdout
    assert done.exit_code == 4
    assert club.rows("SELECT status FROM operations WHERE removal") == [{"status": "held"}]
