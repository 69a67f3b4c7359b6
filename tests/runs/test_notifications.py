"""What users and operators are told at the end of runs, seen in the file that takes it."""

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from engine_world import World, lab, names  # type: ignore[import-not-found]

from svcctl.locks import service_locks
from svcctl.runs.notices import MANY, Trouble, _names
from svcctl.store.notifications import add

if TYPE_CHECKING:
    from tests.conftest import Result

Build = Callable[..., World]

NOTIFY = '[notify]\ndeliver = "file"\nfile = "notices.ndjson"\noperators = ["ops@example.org"]\n'
CONFIG = """
[states.Member]
priority = 100
groups = ["corp"]
[services.lab]
hook = "sandbox"
path = "lab.db"
create = "auto"
access.states = ["Member"]
limits.removals = "100%"
"""


@pytest.mark.parametrize(("setting", "told"), [("", 1), ("notify = false\n", 0)])
def test_who_loses_an_account_is_told_unless_the_service_says_otherwise(
    site: Any, svcctl: Any, setting: str, told: int
) -> None:
    here = site(CONFIG + setting)
    for name in ("ada", "bob"):
        svcctl("users", "add", name, "--no-sync")
    svcctl("groups", "add", "corp", "ada", "bob", "--no-sync")
    assert svcctl("sync", "--all").exit_code == 0
    svcctl("groups", "remove", "corp", "ada", "--no-sync")
    assert svcctl("validate", "--all").exit_code == 0
    rows = here.rows("SELECT title, message FROM notifications")
    assert len(rows) == told
    if told:
        assert rows[0]["title"] == "Your Lab account was disabled"
        assert "state Guest is not in access.states" in rows[0]["message"]


def notices(w: World) -> list[dict[str, Any]]:
    path: Path = w.site.folder / "notices.ndjson"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def subjects(w: World) -> list[str]:
    return [notice["subject"].removeprefix("[svcctl] ") for notice in notices(w)]


@pytest.fixture
def w(world: Build, quick: None) -> World:
    """Twelve people with accounts on lab and wiki, and a file for whatever is to be told."""
    made = world(lab(), lab("wiki"), top=NOTIFY)
    made.people(names(12), "staff", attributes={"email": "somebody@example.org"})
    assert made.run("sync", "--all")[0] == 0
    assert notices(made) == []
    return made


def break_(w: World, method: str, text: str, service: str = "lab") -> None:
    w.sandbox(service).break_method(method, text)


def regroup(w: World, *people: str) -> None:
    """These people lose what only `staff` has."""
    w.regroup(list(people), out_of="staff")


def sync(w: World, *words: str) -> "Result":
    done: Result = w.svcctl("sync", *(words or ("--all",)))
    return done


# Users


def test_the_file_gets_a_line_per_message_and_is_the_operators_own(w: World) -> None:
    regroup(w, "user00003")
    assert sync(w).stderr == ""
    path = w.site.folder / "notices.ndjson"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lab_notice, wiki_notice = sorted(notices(w), key=lambda notice: notice["subject"])
    key = w.rows("SELECT \"key\" FROM notifications WHERE title LIKE '%Lab%'")[0]["key"]
    assert lab_notice == {
        "id": key,
        "to": ["somebody@example.org"],
        "user": "user00003",
        "level": "warning",
        "subject": "[svcctl] Your Lab account was disabled",
        "body": "Your Lab account was disabled.\n\nAccount: user00003\n"
        "Reason: lost access: state Guest is not in access.states\n\n"
        "This message was sent by a program. Answer it if you think that it is a mistake.\n",
        "created_at": lab_notice["created_at"],
    }
    assert wiki_notice["subject"] == "[svcctl] Your Wiki account was disabled"
    assert sync(w).stderr == ""
    assert len(notices(w)) == 2


def test_without_an_address_there_is_still_a_line(world: Build) -> None:
    w = world(lab(more='limits.removals = "100%"'), top=NOTIFY)
    w.people(["ada", "bob"], "staff")
    sync(w)
    regroup(w, "ada")
    assert sync(w).stderr == ""
    assert [(notice["user"], notice["to"]) for notice in notices(w)] == [("ada", [])]


def test_a_line_that_was_cut_short_spoils_no_other(w: World) -> None:
    path = w.site.folder / "notices.ndjson"
    path.write_text('{"id": "cut')
    regroup(w, "user00003")
    assert sync(w).stderr == ""
    lines = path.read_text().splitlines()
    assert lines[0] == '{"id": "cut'
    assert len([json.loads(line) for line in lines[1:]]) == 2


@pytest.mark.parametrize(
    ("file", "said"), [("/dev/full", "no space left on device"), (".", "is a directory")]
)
def test_a_file_that_takes_nothing_loses_nothing(w: World, file: str, said: str) -> None:
    right = (w.site.folder / "svcctl.toml").read_text()
    w.site.configure(right.replace("notices.ndjson", file))
    regroup(w, "user00003")
    result = sync(w)
    assert result.exit_code == 0
    assert "notify: 2 messages are kept, not sent: " in result.stderr
    assert f"{said}\nhint: check notify.file" in result.stderr
    w.site.configure(right)
    assert sync(w).stderr == ""
    assert len(notices(w)) == 2


def test_nobody_gets_old_news_on_the_day_that_messages_are_configured(world: Build) -> None:
    w = world(lab(more='limits.removals = "100%"'))
    w.people(["ada", "bob", "cyd"], "staff")
    sync(w)
    regroup(w, "ada")
    break_(w, "disable_account", "invalid:bob")
    assert sync(w).stderr == ""
    w.site.configure(NOTIFY + (w.site.folder / "svcctl.toml").read_text())
    w.sandbox().heal()
    regroup(w, "cyd")
    assert sync(w).stderr == ""
    assert [notice["user"] for notice in notices(w)] == ["cyd"]
    (old,) = w.rows("SELECT * FROM notifications WHERE sent_at IS NULL")
    assert (old["error"], bool(old["refused_at"])) == (
        "there was no [notify] in the configuration",
        True,
    )


# Operators


def test_operators_are_told_of_a_failure_once_a_day_and_when_it_is_over(w: World) -> None:
    break_(w, "disable_account", "invalid:user00003")
    regroup(w, "user00003")
    assert sync(w).exit_code == 1
    told = [notice for notice in notices(w) if notice["user"] is None]
    assert [notice["subject"] for notice in told] == ["[svcctl] sync: lab: failed"]
    assert (told[0]["to"], told[0]["level"]) == (["ops@example.org"], "error")
    head, *body = told[0]["body"].splitlines()
    assert head.startswith("svcctl sync on ")
    assert head.endswith(": run 2, exit code 1.")
    assert body == [
        "",
        "lab",
        "  failed",
        "    user00003: disable_account: sandbox: disable_account is broken on purpose: "
        "invalid for user00003",
        "  look closer: svcctl history lab --status failed",
    ]
    before = len(notices(w))
    # Not due yet, tried again, and failed again: the same trouble.
    assert sync(w).exit_code == 1
    w.age()
    assert sync(w).exit_code == 1
    assert sync(w, "user00003").exit_code == 1
    assert len(notices(w)) == before
    w.age("created_at", "notifications")
    assert sync(w).exit_code == 1
    assert subjects(w)[before:] == ["sync: lab: failed"]
    w.sandbox().heal()
    w.age()
    for _ in range(2):
        assert sync(w).exit_code == 0
        assert sorted(subjects(w)[before + 1 :]) == [
            "Your Lab account was disabled",
            "sync: all in order again",
        ]


def test_trouble_with_somebody_else_is_new(w: World) -> None:
    break_(w, "disable_account", "invalid:user00003")
    regroup(w, "user00003")
    sync(w)
    w.sandbox().heal()
    break_(w, "disable_account", "invalid:user00004")
    break_(w, "disable_account", "invalid:user00004", "wiki")
    regroup(w, "user00004")
    sync(w)
    told = [subject for subject in subjects(w) if subject.startswith("sync")]
    assert told == ["sync: lab: failed", "sync: lab: failed, wiki: failed"]
    # The first one's failure is over or not due, the second one's is known.
    sync(w)
    assert [s for s in subjects(w) if s.startswith("sync")] == told


def test_operators_are_told_what_is_held_and_how_to_look(w: World) -> None:
    regroup(w, *names(5))
    assert sync(w).exit_code == 4
    (notice,) = notices(w)
    assert notice["subject"] == ("[svcctl] sync: lab: removals are held, wiki: removals are held")
    assert (
        "lab\n  removals are held: 5 of 12 accounts would lose access; 2 allowed\n"
        "    user00000: disable_account: lost access: state Guest is not in access.states\n"
    ) in notice["body"]
    assert "  look closer: svcctl holds show --service lab\n" in notice["body"]
    # Neither a run for others, nor one that takes no access away, says that it is over.
    assert sync(w, "user00011").exit_code == 0
    assert w.svcctl("update-groups", "--all").exit_code == 0
    assert sync(w).exit_code == 4
    assert len(notices(w)) == 1
    for row in w.rows("SELECT DISTINCT run_id FROM operations WHERE status = 'held'"):
        assert w.svcctl("holds", "approve", str(row["run_id"])).exit_code == 0
    assert [s for s in subjects(w) if not s.startswith("Your")] == [
        "sync: lab: removals are held, wiki: removals are held"
    ]
    assert sync(w).exit_code == 0
    assert subjects(w)[-1] == "sync: all in order again"
    assert notices(w)[-1]["level"] == "info"


def test_a_service_that_cannot_be_read_is_told_per_command(w: World) -> None:
    break_(w, "list_accounts", "incomplete")
    assert w.svcctl("update-all-groups").exit_code == 5
    assert subjects(w) == ["update-all-groups: lab: could not be read completely"]
    assert "  look closer: svcctl services check lab\n" in notices(w)[0]["body"]
    # What another command, or another service, says is no answer to that.
    assert sync(w).exit_code == 0
    assert w.svcctl("update-all-groups", "--service", "wiki").exit_code == 0
    assert w.svcctl("update-all-groups").exit_code == 5
    assert len(notices(w)) == 1
    w.sandbox().heal()
    assert w.svcctl("update-all-groups").exit_code == 0
    assert subjects(w)[1:] == ["update-all-groups: all in order again"]
    break_(w, "list_accounts", "incomplete")
    assert w.svcctl("update-all-groups").exit_code == 5
    assert len(notices(w)) == 3


def test_a_run_for_somebody_else_says_nothing_of_what_is_over(world: Build) -> None:
    w = world(lab(hook="engine_hooks:CaselessHook"), top=NOTIFY)
    w.people(["Ada B", "ada_b", "cleo"], "staff")
    assert sync(w).exit_code == 1
    assert subjects(w) == ["sync: lab: left alone"]
    assert sync(w, "cleo").exit_code == 0
    assert len(notices(w)) == 1
    assert w.svcctl("users", "remove", "ada_b", "--no-sync").exit_code == 0
    assert sync(w).exit_code == 0
    assert subjects(w)[1:] == ["sync: all in order again"]


def test_what_stays_unknown_is_not_in_order(world: Build) -> None:
    w = world(lab(hook="engine_hooks:UnsearchableHook"), top=NOTIFY)
    w.people(["ada"], "staff")
    break_(w, "create_account", "lost")
    assert sync(w).exit_code == 1
    assert subjects(w) == ["sync: lab: unknown whether it was done"]
    w.sandbox().heal()
    codes = [sync(w).exit_code for _ in range(2)]
    assert w.operations("status = 'unknown'") == [("ada", "create_account", "unknown")]
    assert (codes, len(notices(w))) == ([0, 0], 1)


def test_which_accounts_failed_before_a_service_was_given_up_is_chance(world: Build) -> None:
    w = world(lab(more='limits.removals = "100%"\nconcurrency = 1'), top=NOTIFY)
    w.people(names(12), "staff")
    sync(w)
    break_(w, "disable_account", "denied")
    regroup(w, *names(11))
    for _ in range(2):
        assert sync(w).exit_code == 1
        assert subjects(w) == ["sync: lab: given up after repeated failures, lab: failed"]
    failed = {row["username"] for row in w.rows(FAILED)}
    assert len(failed) == 10
    assert notices(w)[0]["body"].count(": disable_account: ") == 5


FAILED = (
    "SELECT username FROM operations JOIN users ON users.id = user_id"
    " WHERE operations.status = 'failed'"
)


def test_a_run_that_stops_with_an_error_is_told_once(world: Build) -> None:
    w = world(lab(hook="engine_hooks:NotingHook"), lab("other"), top=NOTIFY)
    w.people(["ada"], "staff")
    assert sync(w, "--all", "--dry-run").exit_code == 78
    assert notices(w) == []
    for _ in range(2):
        assert sync(w).exit_code == 78
        assert subjects(w) == ["sync: the run stopped"]
    assert "exit code 78" in notices(w)[0]["body"]
    config = (w.site.folder / "svcctl.toml").read_text()
    w.site.configure(config.replace("engine_hooks:NotingHook", "sandbox"))
    assert sync(w).exit_code == 0
    assert subjects(w)[1:] == ["sync: all in order again"]


def test_a_busy_lock_a_pause_and_a_typo_are_no_trouble(w: World) -> None:
    with service_locks(w.site.database, ["lab"], timeout=0, holder="sync"):
        assert sync(w).exit_code == 75
    assert w.svcctl("services", "pause", "lab", "--reason", "moving").exit_code == 0
    assert sync(w).exit_code == 0
    assert sync(w, "--all", "--service", "labb").exit_code == 2
    assert sync(w, "--all", "--max-runtime", "0").exit_code == 75
    assert notices(w) == []


def test_what_could_not_be_sent_is_sent_by_the_next_run_with_nothing_to_do(w: World) -> None:
    w.site.configure(
        (w.site.folder / "svcctl.toml").read_text().replace("notices.ndjson", "/dev/full")
    )
    break_(w, "disable_account", "invalid:user00003")
    regroup(w, "user00003")
    assert sync(w).exit_code == 1
    w.site.configure(
        (w.site.folder / "svcctl.toml").read_text().replace("/dev/full", "notices.ndjson")
    )
    assert sync(w, "user00011").exit_code == 0
    assert sorted(subjects(w)) == ["Your Wiki account was disabled", "sync: lab: failed"]


def test_who_is_forgotten_is_forgotten_in_what_operators_were_told(world: Build) -> None:
    w = world(lab(more='removal = "delete"'), top=NOTIFY)
    w.people(["ada", "adalbert", "bob"], "staff", attributes={"email": "ada@example.org"})
    sync(w)
    break_(w, "delete_account", "denied")
    assert w.svcctl("delete", "ada", "adalbert", "--notify").exit_code == 1
    w.sandbox().heal()
    with w.site.database.write() as connection:
        row = {"user_id": None, "level": "warning", "title": "t"}
        add(connection, [{**row, "message": "550 <ada@example.org> unknown"}])
    assert w.svcctl("delete", "ada", "--notify").exit_code == 0
    columns = "title, message, command, trouble, error"
    about = f"SELECT {columns} FROM notifications ORDER BY id"
    assert "ada:" in str(w.rows(about))
    assert len(w.rows("SELECT id FROM notifications WHERE user_id IS NOT NULL")) == 1
    assert w.svcctl("users", "forget", "ada", "--yes").exit_code == 0
    left = str(w.rows(about))
    assert not re.search(r"\bada\b", left)
    assert "adalbert: delete_account" in left
    assert "forgotten-1: delete_account" in left
    assert '["lab","failed","forgotten-1"]' in left
    assert "550 <forgotten-1> unknown" in left
    assert w.rows("SELECT id FROM notifications WHERE user_id IS NOT NULL") == []


def test_many_accounts_in_the_same_trouble_are_one() -> None:
    many = [Trouble("lab", "failed", f"user{number}", "") for number in range(MANY + 1)]
    assert _names(many) == {("lab", "failed", "")}
    assert len(_names(many[1:])) == MANY


# Pulls


def test_operators_hear_of_a_source_that_cannot_be_taken_over_and_that_it_can_again(
    world: Build, quick: None
) -> None:
    source = '[directory.sources.{name}]\ntype = "csv"\npath = "{name}.csv"\n'
    sources = source.format(name="people") + source.format(name="guests")
    w = world(lab(), top=NOTIFY + sources)
    good, bad = "username\nada\n", "username\nada\nada\n"
    w.site.write("guests.csv", "username\neve\n")
    w.site.write("people.csv", good)
    assert w.svcctl("directory", "pull").exit_code == 0
    w.site.write("people.csv", bad)
    for words in ([], [], ["--source", "people"], ["--dry-run"]):
        assert w.svcctl("directory", "pull", *words).exit_code == 5
    (notice,) = notices(w)
    assert (notice["level"], notice["subject"]) == (
        "error",
        "[svcctl] directory pull: source people: nothing was taken over",
    )
    people = w.site.folder / "people.csv"
    head, *body = notice["body"].splitlines()
    assert head.endswith(": not everything was taken over.")
    assert body[1:] == [
        "source people",
        f"  nothing was taken over: {people}:3: the username 'ada' was already at {people}:2",
        "  look closer: svcctl directory pull --source people --dry-run",
    ]
    w.site.write("people.csv", good)
    # One source of two is not all of them.
    for words in (["--source", "guests"], ["--source", "people"], ["--dry-run"]):
        assert w.svcctl("directory", "pull", *words).exit_code == 0
    assert len(notices(w)) == 1
    for _ in range(2):
        assert w.svcctl("directory", "pull").exit_code == 0
    assert subjects(w)[1:] == ["directory pull: all in order again"]
    w.site.write("people.csv", bad)
    assert w.svcctl("directory", "pull").exit_code == 5
    assert len(notices(w)) == 3


def test_a_file_that_takes_nothing_does_not_spoil_a_pull(world: Build) -> None:
    source = '[directory.sources.people]\ntype = "csv"\npath = "people.csv"\n'
    w = world(lab(), top=NOTIFY.replace("notices.ndjson", "/dev/full") + source)
    w.site.write("people.csv", "username\nada\nada\n")
    done = w.svcctl("directory", "pull")
    assert done.exit_code == 5
    assert "notify: 1 message is kept, not sent: /dev/full: " in done.stderr
