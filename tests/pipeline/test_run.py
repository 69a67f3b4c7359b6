"""`svcctl pipeline run`: all or nothing, and what a person is told."""

import json
import re
import signal
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from svcctl.errors import ExitCode
from svcctl.hooks.manager import NewAccount
from svcctl.hooks.sandbox import SandboxManager
from tests.support.pipelines import ME, NOTHING, STEPS, TOKEN, kept, pipeline, ran

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl


def test_somebody_new_becomes_a_user_and_is_known_the_next_time(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    one = club()
    first = ran(svcctl, "run", "join", "-r", "me.json")
    assert (first["outcome"], first["user"], first["is_new"]) == ("done", "ada", True)
    second = ran(svcctl, "run", "join", "--backend", "github", "-r", "me.json")
    assert (second["user"], second["is_new"]) == ("ada", False)
    (user,) = one.rows("SELECT username, attributes FROM users")
    assert json.loads(user["attributes"]) == {
        "email": "ada@example.org",
        "fullname": "Ada Lovelace",
    }
    (known,) = one.rows("SELECT provider, uid, extra_data FROM associations")
    assert (known["provider"], known["uid"]) == ("github", "5")


def test_what_a_token_is_stands_nowhere(club: "Callable[..., Site]", svcctl: "Svcctl") -> None:
    one = club(*STEPS, "debug", "confirm")
    done = svcctl("pipeline", "run", "join", "-r", "me.json", "--trace", "--json")
    assert done.exit_code == ExitCode.PAUSED
    assert TOKEN not in done.stdout + done.stderr
    one.database.close()
    for path in one.folder.iterdir():
        if path.name not in ("me.json", "svcctl.toml"):
            assert TOKEN.encode() not in path.read_bytes(), path
    assert (one.folder / "svcctl.key").stat().st_mode & 0o777 == 0o600


def test_a_failing_step_is_named_and_nothing_is_kept(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    one = club(*STEPS, "acme_steps.fail")
    done = svcctl("pipeline", "run", "join", "-r", "me.json")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "error: join (github): step acme_steps.fail: KeyError: '***'\n"
        "hint: -vv shows where in the step\n"
    )
    assert kept(one) == NOTHING
    (run,) = one.rows("SELECT command, exit_code, summary FROM runs")
    assert (run["command"], run["exit_code"]) == ("pipeline run join", 1)
    assert json.loads(run["summary"])["step"] == "acme_steps.fail"
    assert TOKEN not in str(run)


def test_a_refusal_has_its_own_exit_code_and_keeps_nothing(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    one = club(settings='WHITELISTED_DOMAINS = ["example.com"]')
    done = ran(svcctl, "run", "join", "-r", "me.json", code=7)
    assert (done["outcome"], done["code"]) == ("refused", "authentication_disallowed")
    assert kept(one) == NOTHING


def test_a_response_of_a_step_ends_the_run_and_keeps_nothing(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    one = club(*STEPS, "acme_steps.answer")
    done = ran(svcctl, "run", "join", "-r", "me.json", code=7)
    assert (done["outcome"], done["step"]) == ("answered", "acme_steps.answer")
    assert done["response"].startswith("redirect to https://example.org/closed")
    assert kept(one) == NOTHING


def test_a_missing_input_is_found_before_the_first_step_runs(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    one = club("social_details", "associate_user")
    done = svcctl("pipeline", "run", "join", "-r", "me.json")
    assert done.exit_code == ExitCode.CONFIG
    assert done.stderr == (
        "error: pipelines.join: cannot be run as it is\n"
        "  associate_user: uid: no step before it gives this; put social_uid before it\n"
    )
    assert one.rows("SELECT * FROM runs") == []


def test_a_typo_in_the_ninth_step_is_found_before_the_first_one(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    club(*STEPS[:9], "acme_steps.nobody", "user_detials", "social_core.pipeline.user.set_password")
    done = svcctl("pipeline", "run", "join", "-r", "me.json")
    assert done.exit_code == ExitCode.CONFIG
    assert "pipelines.join.steps[9]: 'acme_steps.nobody' " in done.stderr
    assert "user_detials: no such step; did you mean user_details" in done.stderr
    assert "svcctl has no step set_password" in done.stderr


def test_lists_from_django_and_from_the_old_documentation_run_as_they_are(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    one = club(
        "social.pipeline.social_auth.social_details",
        "social.pipeline.social_auth.social_uid",
        "social_core.pipeline.social_auth.auth_allowed",
        "social_core.pipeline.social_auth.social_user",
        "social.pipeline.user.get_username",
        "social.pipeline.user.create_user",
        "acme_steps.save_profile",
        "social.pipeline.social_auth.associate_user",
        "social.pipeline.social_auth.load_extra_data",
    )
    assert ran(svcctl, "run", "join", "-r", "me.json")["user"] == "ada"
    (user,) = one.rows("SELECT attributes FROM users")
    assert json.loads(user["attributes"])["fullname"] == "ADA LOVELACE"


def test_a_step_without_kwargs_gets_only_what_it_names(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    club("social_details", "acme_steps:pause")
    done = ran(svcctl, "run", "join", "-r", "me.json", "--set", "confirmed_by=bob")
    assert done["context"]["witness"] == "bob"


@pytest.mark.parametrize("name", ["user", "strategy", "backend", "is_new", "pipeline_index"])
def test_what_the_run_itself_gives_cannot_be_given(
    club: "Callable[..., Site]", svcctl: "Svcctl", name: str
) -> None:
    one = club()
    done = svcctl("pipeline", "run", "join", "-r", "me.json", "--set", f"{name}=x")
    assert (done.exit_code, f"--set {name}" in done.stderr) == (2, True)
    assert one.rows("SELECT * FROM runs") == []


def test_until_a_step_nothing_is_kept(club: "Callable[..., Site]", svcctl: "Svcctl") -> None:
    one = club()
    done = svcctl("pipeline", "run", "join", "-r", "me.json", "--until", "social_uid")
    assert done.exit_code == 0
    assert "stopped after social_uid, nothing was kept" in done.stdout
    assert "  uid = 5" in done.stdout
    ran(svcctl, "run", "join", "-r", "me.json", "--until", "create_user")
    assert kept(one) == NOTHING
    assert svcctl("pipeline", "run", "join", "--until", "nothing").exit_code == 2


def test_somebody_inactive_or_removed_does_not_get_through(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    one = club()
    ran(svcctl, "run", "join", "-r", "me.json")
    assert svcctl("users", "set", "ada", "--inactive", "--no-sync").exit_code == 0
    assert ran(svcctl, "run", "join", "-r", "me.json", code=7)["code"] == "inactive_user"
    assert svcctl("users", "remove", "ada", "--no-sync", "--yes").exit_code == 0
    assert ran(svcctl, "run", "join", "-r", "me.json", code=7)["code"] == "user_removed"
    assert len(one.rows("SELECT id FROM users")) == 1


def test_what_belongs_to_an_operator_stays(club: "Callable[..., Site]", svcctl: "Svcctl") -> None:
    one = club()
    ran(svcctl, "run", "join", "-r", "me.json")
    svcctl("users", "set", "ada", "fullname=Countess", "--no-sync")
    one.write("me.json", json.dumps({**ME, "name": "Ada King"}))
    done = ran(svcctl, "run", "join", "-r", "me.json")
    assert done["notes"] == ["ada: fullname is an operator's, and stays"]
    (user,) = one.rows("SELECT attributes FROM users")
    assert json.loads(user["attributes"])["fullname"] == "Countess"


# Services


JOIN = (*STEPS, "assign_state", "activate_services")


def test_a_login_gives_a_state_and_accounts_and_a_leave_takes_them_away(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    leave = pipeline(
        "load_user",
        "delete_services",
        "allowed_to_disconnect",
        "get_entries",
        "disconnect",
        settings="ALLOW_LAST_DISCONNECT = true",
        kind="disconnect",
        name="leave",
    )
    one = club(*JOIN, settings='JOIN_GROUPS = ["staff"]', more=leave)
    one.write("bob.json", json.dumps({**ME, "id": 6, "login": "bob"}))
    ran(svcctl, "run", "join", "-r", "bob.json")
    done = ran(svcctl, "run", "join", "-r", "me.json")
    assert done["context"]["state"] == "Member"
    assert done["report"]["counts"] == {"lab": {"done": 3}}
    hers = "SELECT service, status, name, groups FROM accounts WHERE name = 'ada'"
    (account,) = one.rows(hers)
    assert account == {"service": "lab", "status": "active", "name": "ada", "groups": '["staff"]'}
    gone = ran(svcctl, "run", "leave", "--user", "ada")
    assert gone["report"]["counts"] == {"lab": {"done": 1}}
    assert [row["status"] for row in one.rows(hers)] == ["disabled"]
    assert [row["uid"] for row in one.rows("SELECT uid FROM associations")] == ["6"]
    # The person left; that the rules would still allow an account does not bring it back.
    assert svcctl("sync", "--all").exit_code == 0
    assert [row["status"] for row in one.rows(hers)] == ["disabled"]


def test_leaving_is_no_way_round_the_limits(club: "Callable[..., Site]", svcctl: "Svcctl") -> None:
    leave = pipeline("load_user", "delete_services", kind="disconnect", name="leave")
    one = club(*JOIN, settings='JOIN_GROUPS = ["staff"]', more=leave)
    for number in range(6):
        one.write("me.json", json.dumps({**ME, "id": number, "login": f"user{number}"}))
        ran(svcctl, "run", "join", "-r", "me.json")
    codes = [
        svcctl("pipeline", "run", "leave", "--user", f"user{number}").exit_code
        for number in range(6)
    ]
    assert codes[0] == 0
    assert set(codes[1:]) == {ExitCode.HELD}
    active = "SELECT id FROM accounts WHERE status = 'active'"
    assert len(one.rows(active)) == 5
    # They may have accounts: neither cron takes back that they left, nor the approval.
    assert svcctl("sync", "--all").exit_code == 0
    held = json.loads(svcctl("holds", "list", "--json").stdout)["rows"]
    assert len(held) == 5
    assert svcctl("holds", "approve", str(held[0]["run"]), "--yes").exit_code == 0
    assert len(one.rows(active)) == 4
    assert svcctl("sync", "--all").exit_code == 0
    assert len(one.rows(active)) == 4


def test_what_was_promised_is_done_later_where_the_service_is_down(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    one = club(*JOIN, settings='JOIN_GROUPS = ["staff"]')
    text = (one.folder / "svcctl.toml").read_text()
    down = 'path = "lab.sqlite"\nfaults = { create_account = "denied" }'
    one.configure(text.replace('path = "lab.sqlite"', down))
    assert ran(svcctl, "run", "join", "-r", "me.json", code=1)["outcome"] == "done"
    one.configure(text)
    assert svcctl("retry").exit_code == 0
    assert [row["status"] for row in one.rows("SELECT status FROM accounts")] == ["active"]


def test_a_provider_s_uid_links_the_account_of_a_service(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    one = club(*STEPS, "link_account", settings='LINK_SERVICES = { github = "lab" }')
    done = ran(svcctl, "run", "join", "-r", "me.json", code=1)
    assert done["problems"][0]["message"].startswith("lab: not linked: ")
    with closing(SandboxManager(one.folder / "lab.sqlite")) as manager:
        uid = manager.create_account(NewAccount("ada", "-", "x" * 20, {})).uid
    one.write("me.json", json.dumps({**ME, "id": uid}))
    ran(svcctl, "run", "join", "-r", "me.json")
    assert [row["uid"] for row in one.rows("SELECT uid FROM accounts")] == [uid]


# Dry runs


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def test_a_dry_run_refuses_and_lists_what_foreign_steps_would_do(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    one = club(
        *STEPS,
        "acme_steps.write_a_file",
        "acme_steps.needs_written",
        "acme_steps.open_a_socket",
        "acme_steps.start_a_process",
        "assign_state",
        "activate_services",
        settings='JOIN_GROUPS = ["staff"]',
    )
    before = files(one.folder)
    done = ran(svcctl, "run", "join", "-r", "me.json", "--dry-run")
    would = "\n".join(done["would"])
    assert "step acme_steps.write_a_file: would write " in would
    assert "step acme_steps.open_a_socket: would connect to 127.0.0.1:9" in would
    assert "step acme_steps.start_a_process: would start ['/bin/true']" in would
    assert "would add the user ada" in would
    skipped = [one["step"] for one in done["trace"] if one["skipped"]]
    assert skipped == ["acme_steps.needs_written"]
    assert [row["status"] for row in done["report"]["operations"]] == ["planned"] * 3
    assert files(one.folder) == before


def test_a_trace_says_who_read_and_changed_what_and_which_settings_counted(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    club(settings="GITHUB_UUID_LENGTH = 4\nSOCIAL_AUTH_CLEAN_USERNAMES = false")
    done = ran(svcctl, "run", "join", "-r", "me.json", "--dry-run")
    by_step = {one["step"]: one for one in done["trace"]}
    assert by_step["social_uid"]["added"] == [
        "uid",
        "id_key",
        "legacy_identifiers",
        "legacy_uids",
    ]
    assert by_step["create_user"]["changed"] == ["is_new", "user"] or by_step["create_user"][
        "changed"
    ] == ["user"]
    settings = {one["name"]: one["from"] for one in by_step["get_username"]["settings"]}
    assert settings["UUID_LENGTH"] == "pipelines.join.settings.GITHUB_UUID_LENGTH"
    assert settings["CLEAN_USERNAMES"] == "pipelines.join.settings.CLEAN_USERNAMES"
    assert settings["USER_FIELDS"] == "default"
    text = svcctl("pipeline", "run", "join", "-r", "me.json", "--dry-run", "--trace").stderr
    assert "setting UUID_LENGTH: pipelines.join.settings.GITHUB_UUID_LENGTH" in text


# Input


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "1:1: not JSON"),
        ("[1]", "no JSON object but a list"),
        ('{"id": NaN}', "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"id": ' + '"x' * 5, "not JSON"),
    ],
)
def test_a_bad_response_is_an_unreadable_source(
    club: "Callable[..., Site]", svcctl: "Svcctl", content: str, said: str
) -> None:
    one = club()
    one.write("bad.json", content)
    done = svcctl("pipeline", "run", "join", "-r", "bad.json")
    assert (done.exit_code, said in done.stderr) == (5, True), done
    assert one.rows("SELECT * FROM runs") == []


def test_no_such_things_are_usage_errors_with_the_closest_name(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    club()
    for words, said in (
        (("run", "jion"), "no such pipeline: jion\nhint: did you mean join?"),
        (("run", "join", "-b", "gitub"), "no such backend: gitub\nhint: did you mean github?"),
        (("run", "join", "--user", "eve"), "no such user: eve"),
        (("resume", "nothing"), "no such partial"),
        (("run", "join", "--set", "x"), "--set: not K=V"),
        (("run", "join", "--set", "x:=[1"), "--set x: not JSON"),
        (("run", "join", "--set", "x:=NaN"), "--set x: not JSON"),
        (("run", "join", "-r", "nowhere.json"), "nowhere.json: cannot be read"),
    ):
        done = svcctl("pipeline", *words)
        assert said in done.stderr, words
        assert done.exit_code in (2, 5)


def test_a_setting_that_nobody_knows_is_found(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    club(settings='WHITELISTED_DOMAIN = ["example.org"]')
    done = svcctl("pipeline", "check")
    assert done.exit_code == ExitCode.CONFIG
    assert "no such setting; did you mean WHITELISTED_DOMAINS" in done.stderr
    done = svcctl("pipeline", "run", "join", "-r", "me.json")
    assert done.exit_code == ExitCode.CONFIG
    assert "WHITELISTED_DOMAIN: no such setting" in done.stderr


# Batches


def test_a_batch_runs_each_line_and_one_bad_line_stops_nobody(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    one = club(settings='WHITELISTED_DOMAINS = ["example.org"]')
    lines = [
        json.dumps({"id": "a", "response": {**ME, "id": 1, "login": "one"}}),
        "{not json",
        json.dumps({"response": {**ME, "id": 2, "email": "x@evil.example"}}),
        "",
        json.dumps({"response": 3}),
        json.dumps({"respnse": {}}),
        json.dumps({"response": {**ME, "id": 3, "login": "three"}}),
    ]
    one.write("people.ndjson", "\n".join(lines))
    done = svcctl("pipeline", "run", "join", "--batch", "people.ndjson", "--format", "ndjson")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["line"], row["outcome"], row["exit_code"]) for row in rows] == [
        (1, "done", 0),
        (2, "failed", 5),
        (3, "refused", 7),
        (5, "failed", 5),
        (6, "failed", 5),
        (7, "done", 0),
    ]
    assert rows[0]["id"] == "a"
    assert done.exit_code == 5
    assert TOKEN not in done.stdout
    assert [row["username"] for row in one.rows("SELECT username FROM users")] == ["one", "three"]
    (run,) = one.rows("SELECT command, exit_code, summary FROM runs")
    assert run["command"] == "pipeline run join --batch"
    assert json.loads(run["summary"]) == {"lines": {"0": 2, "5": 3, "7": 1}}


def test_a_batch_that_is_stopped_says_where_to_go_on(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    import acme_steps  # type: ignore[import-not-found]

    one = club(*STEPS, "acme_steps.meanwhile")
    lines = [json.dumps({"response": {**ME, "id": n, "login": f"user{n}"}}) for n in range(1, 6)]
    one.write("people.ndjson", "\n".join(lines))
    words = ("pipeline", "run", "join", "--batch", "people.ndjson")
    acme_steps.acts.append(lambda: signal.raise_signal(signal.SIGTERM))
    done = svcctl(*words)
    assert done.exit_code == ExitCode.TERMINATED
    assert "stopped after line 1; go on with: --from-line 2" in done.stderr
    assert svcctl(*words, "--from-line", "2").exit_code == 0
    assert len(one.rows("SELECT id FROM users")) == 5


def test_a_signal_while_a_service_is_at_work_ends_the_batch_too(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    one = club(*JOIN, settings='JOIN_GROUPS = ["staff"]')
    lines = [json.dumps({"response": {**ME, "id": n, "login": f"user{n}"}}) for n in range(1, 4)]
    one.write("people.ndjson", "\n".join(lines))
    text = (one.folder / "svcctl.toml").read_text()
    one.configure(text.replace('path = "lab.sqlite"', 'path = "lab.sqlite"\nlatency = 1'))
    timer = threading.Timer(0.7, signal.raise_signal, (signal.SIGTERM,))
    timer.start()
    done = svcctl("pipeline", "run", "join", "--batch", "people.ndjson")
    timer.join()
    assert done.exit_code == ExitCode.TERMINATED
    assert "stopped after line 1; go on with: --from-line 2" in done.stderr
    assert len(one.rows("SELECT id FROM users")) == 1


def test_two_who_want_one_name_get_two(club: "Callable[..., Site]", svcctl: "Svcctl") -> None:
    one = club()
    ran(svcctl, "run", "join", "-r", "me.json")
    one.write("me.json", json.dumps({**ME, "id": 6}))
    other = ran(svcctl, "run", "join", "-r", "me.json")["user"]
    assert re.fullmatch("ada[0-9a-f]{16}", other)


def test_a_name_that_was_given_away_meanwhile_is_said_and_nothing_is_kept(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    import acme_steps

    one = club(*STEPS, "acme_steps.meanwhile")
    acme_steps.acts.append(lambda: svcctl("users", "add", "ada", "--no-sync"))
    done = ran(svcctl, "run", "join", "-r", "me.json", code=75)
    assert done["error"] == "the username ada was given to somebody else meanwhile"
    assert one.rows("SELECT * FROM associations") == []
    again = ran(svcctl, "run", "join", "-r", "me.json")
    assert again["user"] != "ada"
