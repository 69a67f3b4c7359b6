"""`svcctl retry`: what failed or is due, for those accounts and no others."""

import json
from contextlib import closing
from typing import Any

import pytest

from svcctl.hooks.sandbox import SandboxManager

CONFIG = """
directory.sources.people = { type = "csv", path = "people.csv" }
[states.Member]
priority = 10
groups = ["corp"]
[services.chat]
hook = "sandbox"
path = "chat.db"
access.states = ["Member"]
[services.forum]
hook = "sandbox"
path = "forum.db"
create = "auto"
access.states = ["Member"]
"""
PEOPLE = ("ada", "bob", "eve", "kim", "zoe")


@pytest.fixture
def here(prepared: Any, svcctl: Any) -> Any:
    """Five people who may have accounts; chat creates none by itself."""

    def prepare(built: Any) -> None:
        rows = "".join(f"{number},{user},corp\n" for number, user in enumerate(PEOPLE))
        built.write("people.csv", f"id,username,groups\n{rows}")
        assert svcctl("directory", "pull").exit_code == 0

    return prepared(CONFIG, prepare)


def break_(svcctl: Any, service: str, method: str, fault: str) -> None:
    assert svcctl("service", service, "break", method, fault).exit_code == 0


def done(svcctl: Any, *words: str) -> list[tuple[str, str, str, str]]:
    """What the command did: service, user, operation, status."""
    document = json.loads(svcctl(*words, "--json").stdout)
    return sorted(
        (row["service"], row["user"], row["operation"], row["status"])
        for row in document["operations"]
    )


def remote(here: Any, service: str) -> dict[str, Any]:
    with closing(SandboxManager(here.folder / f"{service}.db")) as manager:
        return {account.name: account for account in manager.accounts()}


def last_run(here: Any) -> str:
    return str(here.rows("SELECT max(id) AS id FROM runs")[0]["id"])


MADE = ("change_groups", "create_account", "set_nickname")


def test_nothing_to_retry_is_said(here: Any, svcctl: Any) -> None:
    for words in ((), ("--dry-run",), ("--service", "chat")):
        result = svcctl("retry", *words)
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr == "nothing to retry\n"
    assert json.loads(svcctl("retry", "--json").stdout)["operations"] == []
    assert svcctl("sync", "--all").exit_code == 0
    assert svcctl("retry", last_run(here)).stderr == "nothing to retry\n"
    assert here.rows("SELECT count(*) AS n FROM runs") == [{"n": 1}]


def test_what_is_not_there_is_a_wrong_command_line(here: Any, svcctl: Any) -> None:
    assert svcctl("retry", "7").stderr == "error: there is no run 7\nhint: see: svcctl history\n"
    for words in (("7",), (str(10**30),), ("-1",), ("--service", "nope"), ("x",)):
        assert svcctl("retry", *words).exit_code == 2


def test_a_failed_create_by_an_operator_is_tried_again(here: Any, svcctl: Any) -> None:
    """Also after a sync, which creates nothing there."""
    break_(svcctl, "chat", "create_account", "invalid:bob")
    words = ("accounts", "create", "ada", "bob", "--service", "chat")
    assert svcctl(*words).exit_code == 1
    assert svcctl("sync", "--all").exit_code == 0
    svcctl("service", "chat", "heal")
    before = here.rows("SELECT * FROM operations"), here.rows("SELECT * FROM runs")
    wanted = [("chat", "bob", verb, "planned") for verb in MADE]
    assert done(svcctl, "retry", "--dry-run") == wanted
    assert (here.rows("SELECT * FROM operations"), here.rows("SELECT * FROM runs")) == before
    assert done(svcctl, "retry") == [("chat", "bob", verb, "done") for verb in MADE]
    assert remote(here, "chat").keys() == {"ada", "bob"}
    assert svcctl("retry").stderr == "nothing to retry\n"
    rows = here.rows(
        "SELECT attempts FROM operations WHERE verb = 'create_account' AND service = 'chat'"
        " AND user_id = 2"
    )
    assert [row["attempts"] for row in rows] == [1, 2]


def test_a_create_for_somebody_who_lost_access_is_not_needed(here: Any, svcctl: Any) -> None:
    break_(svcctl, "chat", "create_account", "denied")
    assert svcctl("accounts", "create", "ada", "--service", "chat").exit_code == 1
    svcctl("service", "chat", "heal")
    svcctl("groups", "remove", "corp", "ada", "--no-sync")
    document = json.loads(svcctl("retry", "--json").stdout)
    assert (document["exit_code"], document["operations"]) == (0, [])
    said = [(note["user"], note["message"]) for note in document["notes"]]
    assert said == [("ada", "create_account: not needed now")]
    assert svcctl("retry").stderr == "nothing to retry\n"


def test_a_create_ends_the_pin_that_was_there_before_it(here: Any, svcctl: Any) -> None:
    """As `accounts create` would have done."""
    here.configure(CONFIG.replace('path = "chat.db"', 'path = "chat.db"\nremoval = "delete"'))
    create = ("accounts", "create", "ada", "--service", "chat")
    assert svcctl(*create).exit_code == 0
    assert svcctl("delete", "ada", "--service", "chat").exit_code == 0
    pins = "SELECT status, pin FROM accounts"
    assert here.rows(pins)[0]["pin"]
    break_(svcctl, "chat", "create_account", "denied")
    assert svcctl(*create).exit_code == 1
    svcctl("service", "chat", "heal")
    assert svcctl("retry").exit_code == 0
    assert here.rows(pins) == [{"status": "active", "pin": None}]


def test_only_those_accounts_are_planned_anew(here: Any, svcctl: Any) -> None:
    assert svcctl("sync", "--all").exit_code == 0
    svcctl("groups", "add", "fc", "ada", "bob", "--no-sync")
    break_(svcctl, "forum", "change_groups", "denied")
    assert svcctl("sync", "ada", "--service", "forum").exit_code == 1
    break_(svcctl, "chat", "create_account", "denied")
    assert svcctl("accounts", "create", "bob", "--service", "chat").exit_code == 1
    for service in ("chat", "forum"):
        svcctl("service", service, "heal")
    # Bob's groups are out of date too, and nothing failed there.
    assert svcctl("sync", "--all", "--dry-run").exit_code == 1
    made = [("chat", "bob", verb, "done") for verb in MADE]
    assert done(svcctl, "retry") == [*made, ("forum", "ada", "change_groups", "done")]
    assert remote(here, "forum")["ada"].groups == {"corp", "fc"}
    assert remote(here, "forum")["bob"].groups == {"corp"}


def test_a_run_and_a_service_narrow_it(here: Any, svcctl: Any) -> None:
    for service in ("chat", "forum"):
        break_(svcctl, service, "create_account", "denied")
    assert svcctl("accounts", "create", "ada", "--service", "chat").exit_code == 1
    first = last_run(here)
    assert svcctl("sync", "bob", "--service", "forum").exit_code == 1
    second = last_run(here)
    for service in ("chat", "forum"):
        svcctl("service", service, "heal")
    assert {row[:2] for row in done(svcctl, "retry", "--dry-run")} == {
        ("chat", "ada"),
        ("forum", "bob"),
    }
    words = ("retry", "--service", "forum", "--dry-run")
    assert {row[:2] for row in done(svcctl, *words)} == {("forum", "bob")}
    assert svcctl("retry", first, "--service", "forum").stderr == "nothing to retry\n"
    assert {row[:2] for row in done(svcctl, "retry", second)} == {("forum", "bob")}
    assert {row[:2] for row in done(svcctl, "retry", first)} == {("chat", "ada")}
    assert {row["command"] for row in here.rows("SELECT command FROM runs WHERE id > 2")} == {
        f"retry {first}",
        f"retry {second}",
    }


def test_a_run_is_retried_although_a_later_one_planned_anew(here: Any, svcctl: Any) -> None:
    break_(svcctl, "chat", "create_account", "denied")
    assert svcctl("accounts", "create", "ada", "--service", "chat").exit_code == 1
    first = last_run(here)
    assert svcctl("accounts", "create", "ada", "--service", "chat").exit_code == 1
    svcctl("service", "chat", "heal")
    assert {row[:2] for row in done(svcctl, "retry", first)} == {("chat", "ada")}
    # Made, and taken away since: the old word does not count any more.
    svcctl("groups", "remove", "corp", "ada", "--no-sync")
    here.configure(CONFIG.replace('path = "chat.db"', 'path = "chat.db"\nremoval = "delete"'))
    words = ("sync", "ada", "--service", "chat", "--accept-removals", "1")
    assert svcctl(*words).exit_code == 0
    svcctl("groups", "add", "corp", "ada", "--no-sync")
    assert done(svcctl, "retry", first) == []
    assert remote(here, "chat") == {}


def test_what_a_run_had_no_time_for_is_due(here: Any, svcctl: Any) -> None:
    text = CONFIG.replace('path = "forum.db"', 'path = "forum.db"\nlatency = 0.3\nconcurrency = 1')
    here.configure(text)
    assert svcctl("sync", "--all", "--max-runtime", "1s").exit_code == 75
    assert len(remote(here, "forum")) < 5
    here.configure(CONFIG)
    assert {row[3] for row in done(svcctl, "retry")} == {"done"}
    assert remote(here, "forum").keys() == set(PEOPLE)


def test_a_removal_is_decided_anew_and_the_limits_hold(here: Any, svcctl: Any) -> None:
    assert svcctl("sync", "--all").exit_code == 0
    svcctl("groups", "remove", "corp", *PEOPLE[:4], "--no-sync")
    break_(svcctl, "forum", "disable_account", "denied")
    accept = ("--accept-removals", "4", "--service", "forum")
    assert svcctl("sync", "--all", *accept).exit_code == 1
    svcctl("service", "forum", "heal")
    svcctl("groups", "add", "corp", "ada", "--no-sync")
    result = svcctl("retry")
    assert result.exit_code == 4
    assert all(account.active for account in remote(here, "forum").values())
    held = here.rows(
        "SELECT DISTINCT username FROM operations JOIN users ON users.id = user_id"
        " WHERE status = 'held' ORDER BY 1"
    )
    assert [row["username"] for row in held] == ["bob", "eve", "kim"]
    # What is held is not retried: that is for its approval.
    assert svcctl("retry").stderr == "nothing to retry\n"


def test_an_unknown_end_is_looked_at_first(here: Any, svcctl: Any) -> None:
    slow = 'path = "chat.db"\nfaults = { create_account = "lost", find_account = "denied" }'
    here.configure(CONFIG.replace('path = "chat.db"', slow))
    assert svcctl("accounts", "create", "ada", "--service", "chat").exit_code == 1
    assert here.rows("SELECT count(*) AS n FROM operations WHERE status = 'unknown'") == [{"n": 1}]
    here.configure(CONFIG)
    assert svcctl("retry").exit_code == 0
    with closing(SandboxManager(here.folder / "chat.db")) as manager:
        created = [call for call in manager.calls() if call.method == "create_account"]
    assert len(created) == 1
    assert remote(here, "chat")["ada"].groups == {"corp"}


def test_a_password_is_never_set_again(here: Any, svcctl: Any) -> None:
    assert svcctl("sync", "--all").exit_code == 0
    break_(svcctl, "forum", "set_password", "denied")
    words = ("accounts", "reset-password", "ada", "--service", "forum")
    assert svcctl(*words).exit_code == 1
    run = last_run(here)
    svcctl("service", "forum", "heal")
    said = (
        "forum: ada: a password is not set again; "
        "svcctl accounts reset-password ada --service forum\n"
    )
    for line in (("retry",), ("retry", run)):
        result = svcctl(*line)
        assert (result.exit_code, result.stdout, result.stderr) == (
            0,
            "",
            f"{said}nothing to retry\n",
        )
    assert svcctl(*words).exit_code == 0
    assert svcctl("retry").stderr == "nothing to retry\n"
