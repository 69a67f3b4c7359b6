"""`svcctl history`: who did what, when and why."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

CONFIG = """
[states.Member]
priority = 10
groups = ["corp"]
[services.chat]
hook = "sandbox"
path = "chat.db"
create = "auto"
access.states = ["Member"]
groups.map = { corp = "pilots" }
[services.wiki]
hook = "sandbox"
path = "wiki.db"
create = "auto"
access.users = ["ada"]
sync_names = false
groups.enabled = false
faults = { create_account = "denied" }
"""
MOMENT = "2026-11-22T20:40:22Z"


@pytest.fixture(autouse=True)
def _moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime(2026, 11, 22, 20, 40, 22, tzinfo=UTC)
    monkeypatch.setattr("svcctl.clock.now", lambda: moment)
    monkeypatch.setenv("LOGNAME", "olga")
    monkeypatch.delenv("SUDO_USER", raising=False)


@pytest.fixture
def here(prepared: Any, svcctl: Any) -> Any:
    """Run 1: ada's chat account, and a wiki account that was denied."""

    def prepare(_: Any) -> None:
        svcctl("users", "add", "ada", "--group", "corp", "--no-sync")
        svcctl("users", "add", "bob", "--no-sync")
        assert svcctl("sync", "--all").exit_code == 1

    return prepared(CONFIG, prepare)


def document(result: Any) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def operation(id_: int, service: str, verb: str, **more: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "when": MOMENT,
        "run": 1,
        "service": service,
        "user": "ada",
        "account": "ada",
        "operation": verb,
        "change": "",
        "status": "done",
        "actor": "olga",
        "error": None,
        "attempts": 1,
        "next_attempt_at": None,
        "undo_of": None,
        "undoes": None,
        "undone_by": None,
        **more,
    }


CREATED = operation(
    1,
    "chat",
    "create_account",
    change="ada",
    reason="may have an account: state Member is in access.states",
    args={"name": "ada", "attributes": {}},
    before={"status": "absent", "uid": None, "name": ""},
    after={"status": "active", "uid": "sb-000001", "name": "ada"},
)
GROUPED = operation(
    2,
    "chat",
    "change_groups",
    change="+pilots",
    reason="the user's groups map to others",
    args={"add": ["pilots"], "remove": []},
    before={"groups": []},
    after={"groups": ["pilots"], "added": ["pilots"], "removed": []},
)
NAMED = operation(
    3,
    "chat",
    "set_nickname",
    change="ada",
    reason="the name format gives another name",
    args={"nickname": "ada"},
    before={"nickname": ""},
    after={"nickname": "ada"},
)


def test_without_a_word_the_latest_runs_are_shown(here: Any, svcctl: Any) -> None:
    here.execute(
        "INSERT INTO runs (command, actor, host, pid, started_at, summary)"
        " VALUES ('validate', 'cron', 'box', 17, '2026-11-22T21:00:00Z', '{}')"
    )
    first, second = document(svcctl("history", "--json"))["rows"]
    assert first == {
        "id": 2,
        "when": "2026-11-22T21:00:00Z",
        "command": "validate",
        "actor": "cron",
        "host": "box",
        "pid": 17,
        "ended_at": None,
        "end": "running or died",
        "exit_code": None,
        "counts": {},
    }
    assert {key: second[key] for key in ("id", "when", "command", "actor", "end")} == {
        "id": 1,
        "when": MOMENT,
        "command": "sync",
        "actor": "olga",
        "end": "ended",
    }
    assert (second["exit_code"], second["counts"]["chat"]) == (1, {"done": 3})
    assert second["counts"]["wiki"]["failed"] == 1


def test_a_run_that_did_not_end_is_said_to_run_or_to_have_died(here: Any, svcctl: Any) -> None:
    here.execute("UPDATE runs SET ended_at = NULL, exit_code = NULL, summary = '{}'")
    line = svcctl("history").stdout.splitlines()[1].split(maxsplit=4)
    assert line == ["1", MOMENT, "sync", "olga", "running or died  chat 3 done, wiki 1 failed"]
    died = json.dumps({"died": True})
    here.execute("UPDATE runs SET ended_at = :at, summary = :died", at=MOMENT, died=died)
    line = svcctl("history").stdout.splitlines()[1].split(maxsplit=4)
    assert line[4].split()[0] == "died"


def test_a_number_shows_the_operations_of_that_run_with_before_and_after(
    here: Any, svcctl: Any
) -> None:
    found = document(svcctl("history", "1", "--service", "chat", "--json"))
    assert found == {"schema": "svcctl.history/1", "rows": [NAMED, GROUPED, CREATED]}


def test_a_user_shows_what_was_done_to_the_user_newest_first(here: Any, svcctl: Any) -> None:
    assert svcctl("groups", "remove", "corp", "ada").exit_code == 4
    rows = document(svcctl("history", "ada", "--json"))["rows"]
    assert [(row["run"], row["service"], row["operation"], row["status"]) for row in rows] == [
        (2, "chat", "disable_account", "held"),
        (1, "wiki", "create_account", "failed"),
        (1, "chat", "set_nickname", "done"),
        (1, "chat", "change_groups", "done"),
        (1, "chat", "create_account", "done"),
    ]
    assert rows[0]["when"] == MOMENT
    assert document(svcctl("history", "bob", "--json"))["rows"] == []


def test_a_service_shows_what_was_done_there_also_when_it_is_gone(here: Any, svcctl: Any) -> None:
    assert document(svcctl("history", "chat", "--json"))["rows"] == [NAMED, GROUPED, CREATED]
    here.configure("")
    assert document(svcctl("history", "chat", "--json"))["rows"] == [NAMED, GROUPED, CREATED]


def test_the_table_has_the_change_in_a_word(here: Any, svcctl: Any) -> None:
    result = svcctl("history", "chat", "--format", "csv")
    assert result.stdout.splitlines() == [
        "when,run,service,user,operation,change,status,reason,actor,error",
        f"{MOMENT},1,chat,ada,set_nickname,ada,done,the name format gives another name,olga,",
        f"{MOMENT},1,chat,ada,change_groups,'+pilots,done,the user's groups map to others,olga,",
        f"{MOMENT},1,chat,ada,create_account,ada,done,"
        "may have an account: state Member is in access.states,olga,",
    ]


def test_status_and_limit_narrow(here: Any, svcctl: Any) -> None:
    failed = document(svcctl("history", "--status", "failed", "--json"))["rows"]
    assert [(row["service"], row["status"]) for row in failed] == [("wiki", "failed")]
    assert document(svcctl("history", "chat", "--limit", "1", "--json"))["rows"] == [NAMED]
    assert svcctl("history", "--status", "burnt").exit_code == 2


def test_a_user_called_like_a_service_is_a_user(here: Any, svcctl: Any) -> None:
    svcctl("users", "add", "chat", "--no-sync")
    result = svcctl("history", "chat", "--json")
    assert document(result)["rows"] == []
    assert result.stderr == "chat is a user here; the service: svcctl history --service chat\n"
    assert document(svcctl("history", "--service", "chat", "--json"))["rows"][0] == NAMED


@pytest.mark.parametrize(
    ("word", "message", "hint"),
    [
        ("adda", "adda: no run, user or service", "did you mean ada?"),
        ("caht", "caht: no run, user or service", "did you mean chat?"),
        ("zzz", "zzz: no run, user or service", "svcctl users list shows everybody"),
        ("77", "no such run: 77", "svcctl history shows the latest runs"),
        ("9" * 30, f"no such run: {'9' * 30}", "svcctl history shows the latest runs"),
    ],
)
def test_a_word_that_means_nothing_gets_the_close_ones(
    here: Any, svcctl: Any, word: str, message: str, hint: str
) -> None:
    result = svcctl("history", word)
    assert (result.exit_code, result.stdout, result.stderr) == (
        2,
        "",
        f"error: {message}\nhint: {hint}\n",
    )
    assert svcctl("history", "--service", word).exit_code == 2
