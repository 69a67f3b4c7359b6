"""`drift` says where services are not as they should be, `accounts refresh` takes note of it."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from engine_world import World, lab, names  # type: ignore[import-not-found]

from svcctl.hooks.manager import NewAccount
from svcctl.runs.engine import current_actor

Build = Callable[..., World]
MAPPED = 'groups.map = { staff = "staff", fc = "commanders" }\npage_size = 4\n'
FORMAT = 'name_format = "{username} of us"\n'


@pytest.fixture
def club(world: Build) -> World:
    """Ten people in step with two services, and strangers on one of them."""
    w = world(lab(more=MAPPED + FORMAT), lab("other", MAPPED))
    w.people(names(6), "staff")
    w.people(["ada", "bob", "cyd", "dan"], "staff", "fc")
    assert w.run("sync", "--all")[0] == 0
    w.sandbox().create_account(NewAccount("stranger", "theirs", "pw"))
    return w


def found(w: World, *words: str, code: int = 0) -> dict[str, Any]:
    """What drift says, each time that nothing was written, and every format says the same."""
    before, accounts = w.calls(), w.rows("SELECT * FROM accounts")
    exit_code, document = w.run("drift", *words)
    assert isinstance(document, dict)
    assert exit_code == code, document
    lines = [
        json.loads(line)
        for line in w.svcctl("drift", *words, "--format", "ndjson").stdout.splitlines()
    ]
    assert [one | {"event": "finding"} for one in document["findings"]] == lines[:-1]
    assert lines[-1]["services"] == document["services"]
    table = w.svcctl("drift", *words, "--format", "csv").stdout.splitlines()
    assert len(table) == len(lines)
    text = w.svcctl("drift", *words).stdout.splitlines()
    assert len(text) == (len(lines) if len(lines) > 1 else 0)
    counted = Counter((one["service"], one["kind"]) for one in document["findings"])
    assert counted == {
        (one["service"], kind): number
        for one in document["services"]
        for kind, number in one["counts"].items()
    }
    assert (w.calls(), w.rows("SELECT * FROM accounts")) == (before, accounts)
    return document


def kinds(document: dict[str, Any]) -> set[tuple[str, str | None, str]]:
    return {(one["kind"], one["user"], one["what"]) for one in document["findings"]}


def test_in_step_there_is_no_drift_and_strangers_are_only_listed(club: World) -> None:
    w = club
    assert found(w, "--check")["findings"] == []
    document = found(w)
    assert document["services"] == [
        {"service": "lab", "listed": 11, "linked": 10, "counts": {"foreign": 1}},
        {"service": "other", "listed": 10, "linked": 10, "counts": {}},
    ]
    assert document["findings"] == [
        {
            "service": "lab",
            "kind": "foreign",
            "user": None,
            "account": "stranger",
            "uid": w.remote()["stranger"].uid,
            "what": "",
            "expected": {},
            "found": {"status": "active", "external_id": "theirs"},
            "repair": "svcctl accounts link USER --service lab --uid sb-000011",
        }
    ]
    assert found(w, "other")["findings"] == []
    assert len(found(w, "--kind", "foreign", "--check", code=3)["findings"]) == 1
    # A cron job of this line sends no mail.
    silent = w.svcctl("drift", "--check")
    assert (silent.stdout, silent.stderr) == ("", "")


def test_every_kind_of_drift_is_told_and_mended_by_the_command_that_it_names(club: World) -> None:
    w = club
    remote, service = w.remote(), w.sandbox()
    service.disable_account(remote["ada"].uid)
    service.change_groups(remote["bob"].uid, frozenset({"vip"}), frozenset({"commanders"}))
    service.change_groups(remote["user00001"].uid, frozenset({"commanders"}), frozenset())
    service.set_nickname(remote["cyd"].uid, "the [red]countess")
    service.drop("dan")
    service.drop("user00005")
    service.create_account(NewAccount("user00005 again", _key(w, "user00005"), "pw"))
    assert w.svcctl("accounts", "disable", "user00002", "--service", "lab").exit_code == 0
    service.enable_account(remote["user00002"].uid)
    w.regroup(["user00003"], out_of="staff")
    with service._file.transaction(write=True) as db:
        db.execute("UPDATE accounts SET name = 'four' WHERE name = 'user00004'")

    document = found(w, "lab", "--check", code=3)
    assert kinds(document) == {
        ("disabled", "ada", "disabled there, active here"),
        ("groups", "bob", "lacks commanders"),
        ("groups", "user00001", "should not be in commanders"),
        ("nickname", "cyd", "is 'the [red]countess', should be 'cyd of us'"),
        ("missing", "dan", "not on the service"),
        ("missing", "user00005", "not on the service"),
        (
            "enabled",
            "user00002",
            f"active there, disabled here: accounts disable by {current_actor()}",
        ),
        (
            "orphaned",
            "user00003",
            "lost access: state Guest is not in access.states",
        ),
        ("renamed", "user00004", "was 'user00004', is 'four'"),
    }
    assert ("foreign", "user00005") in {
        (one["kind"], one["user"]) for one in found(w, "lab")["findings"]
    }
    for one in document["findings"]:
        for command in one["repair"].split("; "):
            done = w.svcctl(*command.split(" ")[1:])
            assert done.exit_code in (0, 1), (command, done.stderr)
    assert w.status()["user00002"] == "disabled"
    left = found(w, "lab", "--check", code=3)
    assert kinds(left) == {
        ("unlinked", "user00005", "has svcctl's key of this user, who has no account here")
    }
    (unlinked,) = left["findings"]
    assert w.svcctl(*unlinked["repair"].split(" ")[1:]).exit_code == 0
    assert w.accounts()["user00005"]["name"] == "user00005 again"
    assert w.run("sync", "--all")[0] == 0
    assert found(w, "lab", "--check")["findings"] == []
    assert w.remote()["bob"].groups == {"staff", "commanders", "vip"}
    w.sound()


def _key(w: World, name: str) -> str:
    return f"svcctl:{w.rows('SELECT id FROM users WHERE username = :name', name=name)[0]['id']}"


def test_what_an_operator_fixed_and_whom_nobody_may_remove_is_no_drift(club: World) -> None:
    w = club
    w.site.configure('protected = ["bob"]\n' + (w.site.folder / "svcctl.toml").read_text())
    assert w.svcctl("accounts", "hold", "ada").exit_code == 0
    w.regroup(["ada", "bob"], out_of="staff")
    w.sandbox().change_groups(w.remote()["ada"].uid, frozenset(), frozenset({"staff"}))
    assert found(w, "lab", "--check")["findings"] == []


@pytest.mark.parametrize("fault", ["incomplete@2", "transient", "denied"])
def test_a_listing_that_breaks_off_says_nothing_of_that_service(club: World, fault: str) -> None:
    w = club
    w.sandbox().drop("ada")
    w.sandbox("other").drop("bob")
    w.sandbox().break_method("list_accounts", fault)
    document = json.loads(w.svcctl("drift", "--check", "--json").stdout)
    assert document["exit_code"] == 5
    assert kinds(document) == {("missing", "bob", "not on the service")}
    assert document["services"][0] == {
        "service": "lab",
        "listed": None,
        "linked": None,
        "counts": {},
    }
    w.sandbox().break_method("list_accounts", fault)
    done = w.svcctl("drift", "lab")
    assert (done.exit_code, done.stdout) == (5, "")
    assert "lab: could not be read completely: " in done.stderr
    assert "hint: " in done.stderr


def test_a_service_that_cannot_list_is_said(world: Build) -> None:
    w = world(lab(), lab("plain", hook="engine_hooks:OverreachingHook", create="manual"))
    done = w.svcctl("drift", "plain")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "services.plain: NoPasswordManager cannot list accounts" in done.stderr
    code, document = w.run("drift")
    assert code == 0
    assert document["notes"] == [
        {
            "service": "plain",
            "user": None,
            "message": "not compared: NoPasswordManager cannot list accounts",
        }
    ]
    assert w.svcctl("drift", "nothing").exit_code == 2


def test_a_paused_service_is_not_asked(club: World) -> None:
    w = club
    assert w.svcctl("services", "pause", "lab").exit_code == 0
    w.sandbox().drop("ada")
    code, document = w.run("drift", "--check")
    assert (code, document["findings"]) == (0, [])
    assert "not compared: paused since" in document["notes"][0]["message"]


def test_accounts_of_a_service_that_left_the_configuration_are_unmanaged(club: World) -> None:
    w = club
    config = (w.site.folder / "svcctl.toml").read_text()
    w.site.configure(config[: config.index("[services.other]")])
    document = found(w)
    assert Counter((one["service"], one["kind"]) for one in document["findings"]) == {
        ("lab", "foreign"): 1,
        ("other", "unmanaged"): 10,
    }
    assert found(w, "other", "--check")["findings"] == []
    assert len(found(w, "other", "--kind", "unmanaged", "--check", code=3)["findings"]) == 10


def test_a_name_that_is_the_same_to_the_service_is_not_another_one(world: Build) -> None:
    w = world(lab(hook="engine_hooks:CaselessHook"))
    w.people(["ada", "bob"], "staff")
    assert w.run("sync", "--all")[0] == 0
    for before, after in (("ada", "ADA"), ("bob", "Robert")):
        with w.sandbox()._file.transaction(write=True) as db:
            db.execute("UPDATE accounts SET name = ? WHERE name = ?", (after, before))
    assert kinds(found(w, "--check", code=3)) == {("renamed", "bob", "was 'bob', is 'Robert'")}


def test_what_was_listed_twice_is_counted_once(club: World) -> None:
    """Pages shift while they are read."""
    w = club
    w.site.configure(
        (w.site.folder / "svcctl.toml").read_text().replace("sandbox", "engine_hooks:TwiceHook", 1)
    )
    w.sandbox().set_nickname(w.remote()["ada"].uid, "Countess")
    document = found(w, "lab")
    assert document["services"][0]["linked"] == 10
    assert document["services"][0]["counts"]["nickname"] == 1


@pytest.mark.parametrize(
    ("hook", "code", "said"),
    [
        ("MoodyHook", 1, "the hook failed: KeyError: 'no main character'"),
        ("OddReadingHook", 5, "could not be read completely: LookupError: unexpected answer"),
        ("UnbuildableHook", 78, "UnbuildableManager cannot be built"),
    ],
)
def test_a_hook_that_fails_stops_only_itself(club: World, hook: str, code: int, said: str) -> None:
    w = club
    w.site.configure(
        (w.site.folder / "svcctl.toml").read_text().replace("sandbox", f"engine_hooks:{hook}", 1)
    )
    w.sandbox("other").drop("dan")
    exit_code, document = w.run("drift")
    assert exit_code == code
    assert said in document["problems"][0]["message"]
    assert ("missing", "dan", "not on the service") in kinds(document)


def test_a_hook_that_acts_while_it_decides_ends_the_look(club: World) -> None:
    w = club
    w.site.configure(
        (w.site.folder / "svcctl.toml").read_text().replace("sandbox", "engine_hooks:NotingHook", 1)
    )
    w.sandbox().set_nickname(w.remote()["ada"].uid, "Countess")
    done = w.svcctl("drift")
    assert done.exit_code == 78
    assert "would write" in done.stderr
    assert not (w.site.folder / "decisions.txt").exists()


def test_groups_that_cannot_be_told_are_not_compared(club: World) -> None:
    w = club
    config = (w.site.folder / "svcctl.toml").read_text()
    w.site.configure(config.replace("sandbox", "engine_hooks:SecretiveHook", 1))
    w.sandbox().change_groups(w.remote()["ada"].uid, frozenset(), frozenset({"staff"}))
    document = found(w, "lab", "--check")
    assert document["notes"][0]["message"].startswith("it does not say who is in which group")
    w.site.configure(config.replace("sandbox", "engine_hooks:TogetherHook", 1))
    document = found(w, "lab", "--check")
    assert document["notes"][0]["message"].startswith("groups are decided for everybody at once")


def test_what_a_run_is_changing_meanwhile_is_not_alarming(club: World) -> None:
    """A run that died in the middle, as far as anybody can see, is still at work."""
    w = club
    w.people(["eve"], "staff")
    run = w.start("sync", "--all", code=DIES)
    assert run.wait() == -9
    done = w.svcctl("drift", "lab", "--check", "--json")
    assert done.exit_code == 75
    assert "a run was at work" in json.loads(done.stdout)["problems"][0]["message"]
    assert w.run("sync", "--all")[0] == 0
    assert found(w, "lab", "--check")["findings"] == []


DIES = """
import os, signal
from svcctl.hooks.sandbox import SandboxManager
SandboxManager.create_account = lambda self, new: os.kill(os.getpid(), signal.SIGKILL)
"""


# Taking note


def test_a_refresh_takes_note_of_one_account_and_of_nothing_else(club: World) -> None:
    w = club
    remote, service = w.remote(), w.sandbox()
    for name in ("ada", "bob"):
        service.set_nickname(remote[name].uid, "Countess")
        service.disable_account(remote[name].uid)
    calls, before = w.calls(), w.accounts()
    code, document = w.run("accounts", "refresh", "ada", "--service", "lab")
    assert code == 0
    assert document["rows"] == [
        {
            "service": "lab",
            "user": "ada",
            "account": "ada",
            "before": {"status": "active", "nickname": "ada of us"},
            "after": {"status": "disabled", "nickname": "Countess"},
        }
    ]
    assert w.calls() == calls
    now = w.accounts()
    assert now["ada"]["disabled_at"]
    assert {**now, "ada": None} == {**before, "ada": None}
    assert w.operations("verb = 'refresh_account'") == [("ada", "refresh_account", "done")]
    assert w.run("accounts", "refresh", "ada", "--service", "lab")[1]["rows"] == []
    w.sound()


def test_that_everybody_is_gone_is_not_believed_of_a_list(club: World) -> None:
    w = club
    for name in w.accounts():
        w.sandbox().drop(name)
    before = w.accounts()
    done = w.svcctl("accounts", "refresh", "--all", "--service", "lab")
    assert done.exit_code == 0
    assert done.stderr.count("the account is not on the service; left as it is") == 10
    assert w.accounts() == before
    assert w.svcctl("accounts", "refresh", "ada", "--service", "lab").exit_code == 0
    assert w.status()["ada"] == "absent"


def test_an_answer_that_is_none_is_not_taken_note_of(club: World) -> None:
    w = club
    before = w.accounts()
    w.sandbox().break_method("get_account", "transient@1")
    assert w.svcctl("accounts", "refresh", "ada", "--service", "lab").exit_code == 1
    w.sandbox().break_method("list_accounts", "incomplete@1")
    assert w.svcctl("accounts", "refresh", "--all", "--service", "lab").exit_code == 5
    assert w.accounts() == before


def test_whose_account_to_look_at_has_to_be_said(club: World) -> None:
    assert club.svcctl("accounts", "refresh", "--service", "lab").exit_code == 2
    assert club.svcctl("accounts", "refresh", "ada", "--all", "--service", "lab").exit_code == 2


def test_what_an_earlier_run_left_open_is_left_alone(club: World) -> None:
    w = club
    w.regroup([*names(6), "ada", "bob"], out_of="staff")
    assert w.run("sync", "--all")[0] == 4
    w.sandbox().set_nickname(w.remote()["ada"].uid, "Countess")
    before = w.operations("status = 'held'")
    done = w.svcctl("accounts", "refresh", "ada", "--service", "lab")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "left alone: an earlier operation is open" in done.stderr
    assert w.operations("status = 'held'") == before
