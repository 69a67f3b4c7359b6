"""`svcctl why USER SERVICE`: the decision with its reasons, and what would happen next."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

CONFIG = """
default_name_format = "[{corp_ticker}] {character_name}"
[states.Member]
priority = 10
groups = ["corp"]
[services.chat]
hook = "sandbox"
path = "chat.db"
create = "auto"
access.states = ["Member"]
groups.map = { corp = "pilots", fc = "commanders" }
removal = { mode = "disable", delete_after = "30d" }
[services.web]
hook = "htpasswd"
password_file = "passwords"
cost = 4
access.states = ["Member"]
"""
GIVEN = "state Member is in access.states"
REFUSED = "state Guest is not in access.states"
MOMENT = "2026-11-22T20:40:22Z"


@pytest.fixture(autouse=True)
def _moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime(2026, 11, 22, 20, 40, 22, tzinfo=UTC)
    monkeypatch.setattr("svcctl.clock.now", lambda: moment)
    monkeypatch.setenv("LOGNAME", "olga")
    monkeypatch.delenv("SUDO_USER", raising=False)


@pytest.fixture
def here(prepared: Any, svcctl: Any) -> Any:
    """ada, bob and eve are members and have accounts on chat; zed is a guest."""

    def prepare(built: Any) -> None:
        built.write("passwords", "")
        for user in ("ada", "bob", "eve"):
            arguments = ("corp_ticker=X", f"character_name={user.title()}", "--group", "corp")
            svcctl("users", "add", user, *arguments, "--no-sync")
        svcctl("users", "add", "zed", "--no-sync")
        for user in ("ada", "bob", "eve"):
            assert svcctl("sync", user).exit_code == 0

    return prepared(CONFIG, prepare)


def document(result: Any, exit_code: int = 0) -> Any:
    assert result.exit_code == exit_code, result.stderr
    return json.loads(result.stdout)


def lines(result: Any) -> list[str]:
    assert (result.exit_code, result.stderr) == (0, "")
    return list(result.stdout.splitlines())


ADA: dict[str, Any] = {
    "schema": "svcctl.why/1",
    "user": "ada",
    "service": "chat",
    "allowed": True,
    "access": GIVEN,
    "directory": {
        "active": True,
        "superuser": False,
        "source": None,
        "source_id": None,
        "missing_pulls": 0,
        "removed_at": None,
        "state": "Member",
        "state_reason": "is in group corp, which is in states.Member.groups",
        "attributes": {
            "character_name": {"value": "Ada", "origin": "operator"},
            "corp_ticker": {"value": "X", "origin": "operator"},
        },
        "groups": [{"name": "corp", "origin": "operator"}],
        "kept_out_of": [],
    },
    "name": {"wanted": "ada", "is": "ada", "problem": None},
    "nickname": {"managed": True, "wanted": "[X] Ada", "is": "[X] Ada", "problem": None},
    "groups": {"managed": True, "wanted": ["pilots"], "are": ["pilots"], "problem": None},
    "account": {
        "status": "active",
        "uid": "sb-000001",
        "pin": None,
        "undo_pin": None,
        "disabled_at": None,
        "grace_until": None,
    },
    "create": "auto",
    "protected": False,
    "paused": None,
    "open": [],
    "next": [],
    "notes": [],
    "problems": [],
}


def test_it_is_one_document_of_everything_that_decides(here: Any, svcctl: Any) -> None:
    assert document(svcctl("why", "ada", "chat", "--json")) == ADA


def test_it_is_told_in_sentences_that_begin_with_yes(here: Any, svcctl: Any) -> None:
    assert lines(svcctl("why", "ada", "chat")) == [
        f"ada may have an account on chat: {GIVEN}",
        "ada is in group corp, which is in states.Member.groups: state Member",
        "the directory has ada from an operator",
        '  character_name = "Ada" (operator)',
        '  corp_ticker = "X" (operator)',
        "  in group corp (operator)",
        "the account ada is active; its uid is sb-000001",
        "its nickname should be [X] Ada; last set to [X] Ada",
        "its groups should be pilots; last put into pilots",
        "sync ada would do nothing now",
    ]


def test_a_user_without_access_gets_the_reason_in_the_first_line(here: Any, svcctl: Any) -> None:
    assert lines(svcctl("why", "zed", "chat")) == [
        f"zed may not have an account on chat: {REFUSED}",
        "zed may be Guest as everybody may and no state of higher priority matches: state Guest",
        "the directory has zed from an operator",
        "zed has no account on chat",
        "it would be called zed",
        "its nickname should be [] zed",
        "its groups should be (none)",
        "sync zed would do nothing now",
    ]
    svcctl("users", "set", "zed", "--inactive", "--no-sync")
    first = lines(svcctl("why", "zed", "chat"))[0]
    assert first == "zed may not have an account on chat: the user is not active"


def test_what_sync_would_do_comes_with_its_reason_and_is_what_sync_does(
    here: Any, svcctl: Any
) -> None:
    svcctl("groups", "add", "fc", "ada", "--no-sync")
    before = here.rows("SELECT * FROM operations")
    assert document(svcctl("why", "ada", "chat", "--json")) == {
        **ADA,
        "directory": {
            **ADA["directory"],
            "groups": [
                {"name": "corp", "origin": "operator"},
                {"name": "fc", "origin": "operator"},
            ],
        },
        "groups": {**ADA["groups"], "wanted": ["commanders", "pilots"]},
        "next": [
            {
                "operation": "change_groups",
                "args": {"add": ["commanders"], "remove": []},
                "status": "planned",
                "reason": "the user's groups map to others",
                "before": {"groups": ["pilots"]},
                "after": {"groups": ["commanders", "pilots"]},
            }
        ],
    }
    assert lines(svcctl("why", "ada", "chat"))[-1] == (
        "sync ada would now change_groups +commanders: the user's groups map to others"
    )
    assert here.rows("SELECT * FROM operations") == before
    svcctl("sync", "ada")
    assert document(svcctl("why", "ada", "chat", "--json"))["next"] == []


def test_where_creating_is_manual_it_names_the_command(here: Any, svcctl: Any) -> None:
    found = lines(svcctl("why", "ada", "web"))
    assert found[-5:] == [
        "ada has no account on web",
        "it would be called ada",
        "its nickname is left alone",
        "its groups are left alone",
        'sync ada would do nothing: create = "manual"; to create it: '
        "svcctl accounts create ada --service web",
    ]


def test_a_disabled_account_tells_since_when_and_until_when(here: Any, svcctl: Any) -> None:
    svcctl("users", "set", "ada", "--inactive")
    found = document(svcctl("why", "ada", "chat", "--json"))
    assert found["account"] == {
        "status": "disabled",
        "uid": "sb-000001",
        "pin": None,
        "undo_pin": None,
        "disabled_at": MOMENT,
        "grace_until": "2026-12-22T20:40:22Z",
    }
    assert (
        f"it was disabled at {MOMENT}, and deleted at the first run after 2026-12-22T20:40:22Z"
        in lines(svcctl("why", "ada", "chat"))
    )


def test_a_held_removal_is_named_and_may_be_held_again(here: Any, svcctl: Any) -> None:
    for user in ("ada", "bob"):
        svcctl("users", "set", user, "--inactive", "--no-sync")
    assert svcctl("sync", "--all").exit_code == 4
    found = document(svcctl("why", "ada", "chat", "--json"))
    assert [(row["run"], row["operation"], row["status"]) for row in found["open"]] == [
        (4, "disable_account", "held")
    ]
    assert lines(svcctl("why", "ada", "chat"))[-3:] == [
        "disable_account of run 4 is held: 2 of 3 accounts would lose access; 1 allowed",
        "note: held before: a sync of everybody may hold it again; see: svcctl holds list",
        "sync ada would now disable_account: lost access: the user is not active",
    ]


def test_a_failed_operation_tells_the_error_and_the_next_attempt(here: Any, svcctl: Any) -> None:
    svcctl("service", "chat", "break", "disable_account", "denied")
    svcctl("users", "set", "ada", "--inactive", "--no-sync")
    assert svcctl("sync", "ada").exit_code == 1
    (failed,) = document(svcctl("why", "ada", "chat", "--json"))["open"]
    assert (failed["operation"], failed["status"]) == ("disable_account", "failed")
    assert failed["next_attempt_at"] > MOMENT
    said = lines(svcctl("why", "ada", "chat"))
    again = f"to be tried again after {failed['next_attempt_at']}"
    assert f"disable_account of run 4 is failed, {again}: {failed['error']}" in said
    assert said[-1] == "sync ada would now disable_account: lost access: the user is not active"


def test_a_pin_a_protection_and_a_pause_are_told(here: Any, svcctl: Any) -> None:
    here.configure(f'protected = ["eve"]\n{CONFIG}')
    svcctl("accounts", "disable", "bob", "--service", "chat")
    said = lines(svcctl("why", "bob", "chat"))
    assert (
        "the account is pinned: accounts disable by olga; no run changes whether it is active"
        in said
    )
    svcctl("users", "set", "eve", "--inactive", "--no-sync")
    found = document(svcctl("why", "eve", "chat", "--json"))
    assert (found["protected"], found["next"], found["notes"]) == (
        True,
        [],
        ["the user is protected here"],
    )
    assert "eve is protected: no run disables or deletes the account" in lines(
        svcctl("why", "eve", "chat")
    )
    svcctl("services", "pause", "chat", "--reason", "moving")
    svcctl("groups", "add", "fc", "ada", "--no-sync")
    assert lines(svcctl("why", "ada", "chat"))[-2:] == [
        f"chat is paused since {MOMENT} by olga: moving",
        "sync ada would do nothing until: svcctl services resume chat",
    ]


def test_origins_and_absences_of_a_source_are_told(site: Any, svcctl: Any) -> None:
    here = site(f'{CONFIG}[directory.sources.people]\ntype = "csv"\npath = "people.csv"\n')
    header = "id,username,groups,corp_ticker,corp_name\n"
    here.write("people.csv", f"{header}7,ada,corp;fc,X,Corp\n8,bob,,,\n")
    assert svcctl("directory", "pull").exit_code == 0
    svcctl("users", "set", "ada", "corp_ticker=Y", "--no-sync")
    svcctl("groups", "remove", "fc", "ada", "--no-sync")
    here.write("people.csv", f"{header}8,bob,,,\n")
    svcctl("directory", "pull")
    found = document(svcctl("why", "ada", "chat", "--json"))
    assert found["directory"] == {
        "active": True,
        "superuser": False,
        "source": "people",
        "source_id": "7",
        "missing_pulls": 1,
        "removed_at": None,
        "state": "Member",
        "state_reason": "is in group corp, which is in states.Member.groups",
        "attributes": {
            "corp_name": {"value": "Corp", "origin": "people"},
            "corp_ticker": {"value": "Y", "origin": "operator"},
        },
        "groups": [{"name": "corp", "origin": "people"}],
        "kept_out_of": ["fc"],
    }
    assert lines(svcctl("why", "ada", "chat"))[2:8] == [
        "ada was missing from the last 1 pull of source people",
        "the directory has ada from source people (id 7)",
        '  corp_name = "Corp" (people)',
        '  corp_ticker = "Y" (operator)',
        "  in group corp (people)",
        "  kept out of group fc (operator)",
    ]


def test_a_removed_user_is_explained_too(here: Any, svcctl: Any) -> None:
    svcctl("users", "remove", "zed", "--yes")
    said = lines(svcctl("why", "zed", "chat"))
    assert said[0] == "zed may not have an account on chat: the user is not active"
    assert f"zed was removed by an operator at {MOMENT}" in said


def test_a_name_that_is_taken_is_a_problem(here: Any, svcctl: Any) -> None:
    here.configure(
        CONFIG.replace('create = "auto"', 'create = "auto"\nusername_format = "{corp_ticker}"')
    )
    svcctl("users", "add", "dan", "corp_ticker=ada", "--group", "corp", "--no-sync")
    found = document(svcctl("why", "dan", "chat", "--json"))
    assert (found["next"], found["problems"]) == (
        [],
        [
            {
                "message": "the name 'ada' would be the same as that of ada",
                "hint": "give one of them another username, or link the account that is meant",
            }
        ],
    )


def test_a_hook_that_fails_is_an_answer(
    site: Any, svcctl: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    here = site('[services.shop]\nhook = "moody:Moody"\n')
    monkeypatch.syspath_prepend(here.folder)
    here.write(
        "moody.py",
        "from svcctl.hooks.contract import ServiceHook\n"
        "class Moody(ServiceHook):\n"
        "    def service_active_for_user(self, user):\n"
        "        return True\n"
        "    def username_for(self, user):\n"
        "        raise LookupError('no mood')\n",
    )
    request.addfinalizer(lambda: sys.modules.pop("moody", None))
    svcctl("users", "add", "ada", "--no-sync")
    said = lines(svcctl("why", "ada", "shop"))
    assert said[0] == "ada may have an account on shop: Moody decides"
    assert "it could have no name: the hook failed: LookupError: no mood" in said


def test_unknown_users_and_services_are_usage_errors(here: Any, svcctl: Any) -> None:
    result = svcctl("why", "adda", "chat")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: no such user: adda\nhint: did you mean ada?\n",
    )
    result = svcctl("why", "ada", "caht")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: no such service: caht\nhint: did you mean chat?\n",
    )
    here.configure(f'{CONFIG}[services.broken]\nhook = "nosuch"\n')
    assert svcctl("why", "ada", "broken").exit_code == 78
