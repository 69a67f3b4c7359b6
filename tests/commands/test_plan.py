"""`svcctl plan`: what sync would do now."""

import json
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
sync_names = false
groups.enabled = false
[services.web]
hook = "htpasswd"
password_file = "passwords"
cost = 4
create = "auto"
access.states = ["Member"]
"""
REASON = "may have an account: state Member is in access.states"


@pytest.fixture
def here(site: Any, svcctl: Any) -> Any:
    """ada and bob may have accounts, and have none."""
    built = site(CONFIG)
    built.write("passwords", "")
    for user in ("ada", "bob"):
        svcctl("users", "add", user, "--group", "corp", "--no-sync")
    return built


def document(result: Any, exit_code: int = 0) -> Any:
    assert result.exit_code == exit_code, result.stderr
    return json.loads(result.stdout)


def create(service: str, user: str) -> dict[str, Any]:
    return {
        "id": None,
        "service": service,
        "user": user,
        "account": user,
        "operation": "create_account",
        "args": {"name": user, "attributes": {}},
        "status": "planned",
        "reason": REASON,
        "error": None,
        "before": {"status": "absent", "name": ""},
        "after": {"status": "active", "name": user},
    }


def test_it_shows_what_sync_would_do_for_everybody_and_writes_nothing(
    here: Any, svcctl: Any
) -> None:
    found = document(svcctl("plan", "--service", "chat", "--json"))
    assert found == {
        "schema": "svcctl.report/1",
        "command": "plan",
        "dry_run": True,
        "run": None,
        "exit_code": 0,
        "counts": {"chat": {"planned": 2}},
        "held": [],
        "problems": [],
        "notes": [],
        "missing": [],
        "left": {},
        "verified": [],
        "operations": [
            create("chat", "ada"),
            create("chat", "bob"),
        ],
    }
    assert here.rows("SELECT * FROM runs") == []
    assert here.rows("SELECT * FROM accounts") == []
    assert not (here.folder / "chat.db").exists()


def test_users_and_services_narrow_it(here: Any, svcctl: Any) -> None:
    found = document(svcctl("plan", "bob", "--service", "web", "--json"))
    assert found["operations"] == [create("web", "bob")]
    assert document(svcctl("plan", "--group", "corp", "--json"))["counts"] == {
        "chat": {"planned": 2},
        "web": {"planned": 2},
    }
    assert svcctl("plan", "zoe").exit_code == 2
    assert svcctl("plan", "--all", "ada").exit_code == 2
    assert svcctl("plan", "--service", "nope").exit_code == 2


def test_what_it_shows_is_what_sync_does(here: Any, svcctl: Any) -> None:
    planned = document(svcctl("plan", "--json"))["operations"]
    done = document(svcctl("sync", "--all", "--json"))["operations"]
    keys = ("service", "user", "operation", "args", "reason")

    def essence(rows: list[dict[str, Any]]) -> list[str]:
        return sorted(json.dumps({key: row[key] for key in keys}) for row in rows)

    assert essence(planned) == essence(done)
    result = svcctl("plan")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_check_exits_3_while_something_is_to_be_done(here: Any, svcctl: Any) -> None:
    assert svcctl("plan").exit_code == 0
    assert svcctl("plan", "--check").exit_code == 3
    svcctl("sync", "--all")
    assert svcctl("plan", "--check").exit_code == 0


def test_what_is_graver_than_pending_changes_is_told_instead(here: Any, svcctl: Any) -> None:
    svcctl("sync", "--all")
    for user in ("ada", "bob"):
        svcctl("groups", "remove", "corp", user, "--no-sync")
    found = document(svcctl("plan", "--check", "--json"), 4)
    assert [held["service"] for held in found["held"]] == ["chat", "web"]
    here.configure(f'{CONFIG}[services.broken]\nhook = "nosuch"\n')
    assert svcctl("plan", "--check").exit_code == 78
