"""`svcctl users`: looking at people, and what an operator says of them."""

import json
import time
from typing import TYPE_CHECKING

import pytest

from svcctl.locks import service_locks

if TYPE_CHECKING:
    from tests.conftest import Prepared, Site, Svcctl

CONFIG = """
[directory]
attributes = ["office", "phones"]

[directory.sources.people]
type = "csv"
path = "people.csv"

[states.Member]
priority = 100
groups = ["corp"]
attributes = { office = ["HQ"] }
"""
CHAT = """
[services.chat]
hook = "sandbox"
path = "chat.db"
create = "auto"
access = { states = ["Member"] }
"""


@pytest.fixture
def club(prepared: "Prepared", svcctl: "Svcctl") -> "Site":
    """ada (corp, fc) and bob of a source, own of nobody's."""

    def prepare(made: "Site") -> None:
        made.write("people.csv", "id,username,groups,email\n1,ada,corp;fc,ada@x\n2,bob,,bob@x\n")
        assert svcctl("directory", "pull").exit_code == 0
        assert svcctl("users", "add", "own").exit_code == 0

    return prepared(CONFIG, prepare)


def snapshot(site: "Site") -> list[object]:
    return [site.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in ("users", "memberships")]


def shown(svcctl: "Svcctl", user: str) -> dict[str, object]:
    document = json.loads(svcctl("users", "show", user, "--json").stdout)
    assert document["schema"] == "svcctl.user/1"
    found: dict[str, object] = document["user"]
    return found


def listed(svcctl: "Svcctl", *options: str) -> list[str]:
    done = svcctl("users", "list", *options, "--json")
    assert done.exit_code == 0
    return [row["username"] for row in json.loads(done.stdout)["rows"]]


def test_the_list_is_narrowed_by_state_group_activity_and_name(
    club: "Site", svcctl: "Svcctl"
) -> None:
    svcctl("users", "set", "bob", "--inactive")
    assert listed(svcctl) == ["ada", "bob", "own"]
    assert listed(svcctl, "--state", "Member") == ["ada"]
    assert listed(svcctl, "--group", "fc") == ["ada"]
    assert listed(svcctl, "--inactive") == ["bob"]
    assert listed(svcctl, "--active", "--state", "Guest") == ["own"]
    club.write("names", "own\nada\n")
    assert listed(svcctl, "@names") == ["ada", "own"]
    assert svcctl("users", "list", "nobody").exit_code == 2


def test_the_list_as_text_and_csv(club: "Site", svcctl: "Svcctl") -> None:
    assert svcctl("users", "list", "ada").stdout.splitlines() == [
        "username  state   active  superuser  source  missing pulls  removed at",
        "ada       Member  yes     no         people  0",
    ]
    assert svcctl("users", "list", "ada", "--format", "csv").stdout == (
        "username,state,active,superuser,source,missing_pulls,removed_at\n"
        "ada,Member,yes,no,people,0,\n"
    )


def test_show_says_everything_and_why(club: "Site", svcctl: "Svcctl") -> None:
    assert svcctl("users", "show", "ada").stdout.splitlines() == [
        "username        ada",
        "state           Member",
        "why             is in group corp, which is in states.Member.groups",
        "active          yes",
        "superuser       no",
        "source          people (id 1)",
        "email           ada@x",
        "group           corp  (people)",
        "group           fc  (people)",
    ]
    about = shown(svcctl, "ada")
    assert about["groups"] == [
        {"name": "corp", "origin": "people"},
        {"name": "fc", "origin": "people"},
    ]


def test_an_unknown_user_is_a_usage_error_with_close_names(club: "Site", svcctl: "Svcctl") -> None:
    for command in ("show", "set", "remove", "forget"):
        more = ["email=x"] if command == "set" else []
        done = svcctl("users", command, "adda", *more)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr == "error: no such user: adda\nhint: did you mean ada?\n"


def test_add_makes_a_user_of_ones_own(club: "Site", svcctl: "Svcctl") -> None:
    done = svcctl(
        "users", "add", "eve", "office=HQ", "phones:=[1, 2]", "--group", "new", "--superuser"
    )
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == (
        "eve: added; office: (none) -> HQ; phones: (none) -> [1,2]; "
        "superuser: false -> true; state: (none) -> Member\n"
    )
    about = shown(svcctl, "eve")
    assert about["attributes"] == {"office": "HQ", "phones": [1, 2]}
    assert about["groups"] == [{"name": "new", "origin": "operator"}]
    assert (about["source"], about["superuser"], about["state"]) == (None, True, "Member")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ada"], "ada is already a user"),
        ([" "], "the username is empty"),
        (["e\x1bve"], "the username contains the control or invisible character U+001B"),
        (["eve", "shoe=39"], "no such attribute: shoe"),
        (["eve", "office"], "not KEY=VALUE: office"),
        (["eve", "phones:={"], "phones: not JSON: {"),
        (["eve", "phones:=NaN"], "phones: not JSON: NaN"),
        (["eve", "phones:=null"], "phones: not a value"),
        (["eve", "--restore"], "no such user: eve"),
        (["ada", "--restore"], "ada was not removed"),
        (["ada", "--restore", "office=HQ"], "--restore takes no values"),
    ],
)
def test_add_refuses_what_cannot_be(
    club: "Site", svcctl: "Svcctl", arguments: list[str], message: str
) -> None:
    before = snapshot(club)
    done = svcctl("users", "add", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}\n")
    assert snapshot(club) == before


def test_an_unknown_attribute_is_refused_naming_where_to_add_it(
    club: "Site", svcctl: "Svcctl"
) -> None:
    done = svcctl("users", "set", "ada", "xyz=39")
    assert (done.exit_code, done.stderr) == (
        2,
        "error: no such attribute: xyz\nhint: add it to directory.attributes\n",
    )
    done = svcctl("users", "set", "ada", "ofice=HQ")
    assert done.stderr.endswith("hint: did you mean office? Or add it to directory.attributes\n")


def test_what_set_says_survives_the_next_pull_until_it_is_unset(
    club: "Site", svcctl: "Svcctl"
) -> None:
    done = svcctl("users", "set", "bob", "email=mine", "office=HQ")
    assert done.stdout == (
        "bob: email: bob@x -> mine; office: (none) -> HQ; origin of email: people -> operator; "
        "origin of office: people -> operator; state: Guest -> Member\n"
    )
    assert svcctl("directory", "pull").stdout == ""
    assert shown(svcctl, "bob")["operator"] == ["attributes.email", "attributes.office"]
    assert "email           mine  (operator)" in svcctl("users", "show", "bob").stdout
    done = svcctl("users", "set", "bob", "--unset", "email")
    assert done.stdout == "bob: origin of email: operator -> people\n"
    assert svcctl("directory", "pull").stdout == (
        "people: 2 read, 1 changed\n  bob: email: mine -> bob@x\n"
    )


def test_an_own_user_loses_what_is_unset(club: "Site", svcctl: "Svcctl") -> None:
    svcctl("users", "set", "own", "office=HQ", "--superuser")
    done = svcctl("users", "set", "own", "--unset", "office", "--unset", "superuser")
    assert done.stdout == (
        "own: superuser: true -> false; office: HQ -> (none); state: Member -> Guest\n"
    )


def test_set_without_anything_or_twice_the_same_changes_nothing(
    club: "Site", svcctl: "Svcctl"
) -> None:
    assert svcctl("users", "set", "ada").exit_code == 2
    assert svcctl("users", "set", "ada", "email=x", "--unset", "email").exit_code == 2
    assert svcctl("users", "set", "ada", "--unset", "shoe").exit_code == 2
    svcctl("users", "set", "ada", "email=x")
    before = snapshot(club)
    done = svcctl("users", "set", "ada", "email=x")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "nothing to change\n")
    assert snapshot(club) == before


def test_an_inactive_user_is_a_guest_and_back(club: "Site", svcctl: "Svcctl") -> None:
    assert "state: Member -> Guest" in svcctl("users", "set", "ada", "--inactive").stdout
    assert shown(svcctl, "ada")["why"] == "is not active, so Guest"
    assert "state: Guest -> Member" in svcctl("users", "set", "ada", "--active").stdout


def test_a_removed_user_stays_away_until_restored(club: "Site", svcctl: "Svcctl") -> None:
    assert svcctl("users", "remove", "ada").stdout == "ada: removed; state: Member -> Guest\n"
    assert svcctl("directory", "pull").stdout == ""
    assert listed(svcctl) == ["bob", "own"]
    assert listed(svcctl, "--removed") == ["ada"]
    for command in (("users", "set", "ada", "email=x"), ("groups", "add", "fc", "ada")):
        refused = svcctl(*command)
        assert refused.exit_code == 2
        assert "hint: take the user back with: svcctl users add ada --restore" in refused.stderr
    assert svcctl("users", "add", "ada").exit_code == 2
    done = svcctl("users", "add", "ada", "--restore")
    assert done.stdout == "ada: restored; state: Guest -> Member\n"
    assert shown(svcctl, "ada")["active"] is True


def test_removing_asks_on_a_terminal(club: "Site", svcctl: "Svcctl") -> None:
    done = svcctl("users", "remove", "ada", "own", stdin="n\n")
    assert done.exit_code == 1
    assert "Remove 2 users, and with that their access?" in done.stderr
    assert listed(svcctl) == ["ada", "bob", "own"]
    svcctl("users", "remove", "ada", stdin="y\n")
    svcctl("users", "remove", "own", "--yes", stdin="")
    assert listed(svcctl) == ["bob"]


def test_forget_erases_a_person_and_warns_of_the_source(club: "Site", svcctl: "Svcctl") -> None:
    ada = shown(svcctl, "ada")["id"]
    done = svcctl("users", "forget", "ada")
    assert done.stdout == f"ada: forgotten; username: (none) -> forgotten-{ada}\n"
    assert "the source people may still have ada" in done.stderr
    row = club.rows("SELECT * FROM users WHERE id = :id", id=ada)[0]
    assert (row["username"], row["source"], row["source_id"], row["attributes"], row["active"]) == (
        f"forgotten-{ada}",
        None,
        None,
        "{}",
        False,
    )
    assert club.rows("SELECT * FROM memberships WHERE user_id = :id", id=ada) == []


@pytest.mark.parametrize(
    "command",
    [
        ("users", "add", "eve", "office=HQ", "--group", "new"),
        ("users", "set", "bob", "office=HQ", "--superuser", "--inactive"),
        ("users", "remove", "ada"),
        ("users", "forget", "ada"),
        ("groups", "add", "corp", "bob"),
        ("groups", "remove", "corp", "ada"),
        ("groups", "delete", "corp"),
    ],
)
def test_a_dry_run_shows_the_same_and_writes_nothing(
    club: "Site", svcctl: "Svcctl", command: tuple[str, ...]
) -> None:
    before = [*snapshot(club), club.rows("SELECT * FROM groups")]
    dry = svcctl(*command, "--dry-run")
    assert [*snapshot(club), club.rows("SELECT * FROM groups")] == before
    assert "dry run: nothing was written\n" in dry.stderr
    assert dry.stdout
    assert dry.stdout == svcctl(*command).stdout


def test_json_is_one_document_of_changes(club: "Site", svcctl: "Svcctl") -> None:
    assert json.loads(svcctl("users", "set", "own", "office=HQ", "--json").stdout) == {
        "schema": "svcctl.changes/1",
        "dry_run": False,
        "changes": [
            {
                "user": "own",
                "change": "changed",
                "fields": {"attributes.office": [None, "HQ"], "state": ["Guest", "Member"]},
            }
        ],
    }


def test_the_accounts_of_a_changed_user_follow(club: "Site", svcctl: "Svcctl") -> None:
    club.configure(CONFIG + CHAT)
    assert svcctl("sync", "--all").exit_code == 0
    assert club.rows("SELECT name, status FROM accounts") == [{"name": "ada", "status": "active"}]
    for options in (["--dry-run"], ["--no-sync"]):
        svcctl("users", "set", "ada", "--inactive", *options)
        assert club.rows("SELECT status FROM accounts") == [{"status": "active"}]
    done = svcctl("users", "remove", "ada", "--format", "json")
    assert json.loads(done.stdout)["schema"] == "svcctl.report/1"
    assert "ada: removed" in done.stderr
    # The only account of a service is never removed without a word: it is held.
    assert done.exit_code == 4
    assert svcctl("delete", "ada").exit_code == 0
    assert club.rows("SELECT status FROM accounts") == [{"status": "disabled"}]
    refused = svcctl("users", "forget", "ada")
    assert refused.exit_code == 2
    assert refused.stderr.startswith("error: ada still has an account on chat\n")


@pytest.mark.parametrize(
    ("change", "undo"),
    [
        (["users", "set", "ada", "email=new@x"], ["users", "set", "ada", "--unset", "email"]),
        (["groups", "add", "fleet", "ada"], ["groups", "delete", "fleet"]),
    ],
    ids=["users", "groups"],
)
def test_what_follows_a_change_waits_for_another_run_if_told_to(
    club: "Site", svcctl: "Svcctl", change: list[str], undo: list[str]
) -> None:
    club.configure(CONFIG + CHAT)
    assert svcctl("sync", "--all").exit_code == 0
    with service_locks(club.database, ["chat"], timeout=0, holder="sync"):
        done = svcctl(*change)
        assert (done.exit_code, done.stdout.startswith("ada: ")) == (75, True)
        assert "chat: another run is at work: sync (pid " in done.stderr
        assert done.stderr.splitlines()[0] == (
            "the change is made; the next sync brings the accounts in step"
        )
        assert svcctl(*undo, "--no-sync").exit_code == 0
        before = snapshot(club)
        refused = svcctl(*change, "--lock-timeout", "soon")
        assert (refused.exit_code, snapshot(club)) == (2, before)
        assert refused.stderr.startswith("error: --lock-timeout: not a duration: 'soon'")
    assert svcctl(*change, "--lock-timeout", "5s").exit_code == 0


def test_a_no_leaves_the_accounts_to_the_next_sync(club: "Site", svcctl: "Svcctl") -> None:
    club.configure(CONFIG + CHAT)
    assert svcctl("users", "add", "eve", "--group", "corp").exit_code == 0
    assert svcctl("sync", "--all").exit_code == 0
    done = svcctl("users", "set", "eve", "--inactive", stdin="n\n")
    assert (done.exit_code, done.stdout.splitlines()[0][:27]) == (1, "eve: active: true -> false;")
    assert done.stderr.endswith(
        "the change is made; the next sync brings the accounts in step\nno account was changed\n"
    )
    assert {row["status"] for row in club.rows("SELECT status FROM accounts")} == {"active"}
    assert svcctl("sync", "--all").exit_code == 0
    assert "disabled" in {row["status"] for row in club.rows("SELECT status FROM accounts")}


def test_the_wait_for_another_run_ends_when_the_time_is_up(club: "Site", svcctl: "Svcctl") -> None:
    club.configure(CONFIG + CHAT)
    with service_locks(club.database, ["chat"], timeout=0, holder="sync"):
        began = time.monotonic()
        done = svcctl("users", "set", "ada", "--superuser", "--lock-timeout", "1s")
        assert (done.exit_code, time.monotonic() - began >= 1) == (75, True)
