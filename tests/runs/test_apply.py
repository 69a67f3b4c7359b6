"""Applying: order, pace, retries, and what happens when a service does not answer as it should."""

import signal
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import engine_hooks  # type: ignore[import-not-found]
import pytest
from engine_world import World, lab, names  # type: ignore[import-not-found]

from svcctl.clock import now, stamp
from svcctl.hooks.manager import RateLimit
from svcctl.runs import apply, lane
from svcctl.runs.apply import back_off
from svcctl.runs.lane import Pacer, new_password

Build = Callable[..., World]
RENAME = 'name_format = "x {username}"'


@pytest.fixture(autouse=True)
def nothing_noted() -> None:
    engine_hooks.NOTED.clear()


@pytest.fixture
def out_of_step(world: Build) -> Callable[..., World]:
    """`out_of_step(20)`: so many people on lab whose nicknames are to become x…; then `more`."""

    def build(count: int, more: str = "", *, hook: str = "sandbox", also: str = "") -> World:
        def people(w: World) -> None:
            w.people(names(count), "staff")
            assert w.svcctl("sync", "--all").exit_code == 0

        w = world(lab(), people=people, variant=count)
        text = (w.site.folder / "svcctl.toml").read_text().replace('"sandbox"', f'"{hook}"')
        w.site.configure(text + 'name_format = "{username}x"\n' + more + also)
        return w

    return build


def nicknames(w: World) -> set[str]:
    return {account.nickname or "" for account in w.remote().values()}


def changed(w: World) -> int:
    return sum(nickname.endswith("x") for nickname in nicknames(w))


# Order and pace


def test_removals_come_first_then_enables_then_creates_then_the_rest(world: Build) -> None:
    w = world(lab(more="concurrency = 1\nlimits.removals = 20"))
    w.people(names(12), "staff")
    assert w.run("sync", "--all")[0] == 0
    w.regroup(names(3), out_of="staff")
    assert w.run("sync", "--all")[0] == 0
    w.svcctl("groups", "add", "staff", *names(3), "--no-sync")
    w.regroup(names(3, 9), out_of="staff")
    w.people(["anna", "zoe"], "staff")
    w.site.configure((w.site.folder / "svcctl.toml").read_text() + 'name_format = "{username}x"\n')
    before = len(w.calls())
    assert w.run("sync", "--all")[0] == 0
    order = [call.method for call in w.calls()[before:]]
    assert order == [
        *["disable_account"] * 3,
        *["enable_account", "set_nickname"] * 3,
        *["create_account", "change_groups", "set_nickname"] * 2,
        *["set_nickname"] * 6,
    ]


def test_as_many_calls_at_once_as_declared_and_never_more(out_of_step: Any) -> None:
    w = out_of_step(40, "concurrency = 64\n", hook="engine_hooks:MeetingHook")
    code, report = w.run("sync", "--all")
    # Each waited for three others: with fewer threads none would have been done.
    assert (code, report["counts"]) == (0, {"lab": {"done": 40}})
    assert engine_hooks.MeetingManager.most == 4


def test_a_rate_is_used_up_and_never_exceeded(out_of_step: Any) -> None:
    w = out_of_step(80, hook="engine_hooks:MeteredHook")
    assert w.run("sync", "--all")[0] == 0
    moments = [moment for _, moment in engine_hooks.NOTED]
    assert len(moments) == 80
    # A thread may be late on a busy machine: the window is measured with a little grace.
    assert all(later - first > 0.85 for first, later in zip(moments, moments[20:], strict=False))
    assert (80 - 20) / (moments[-1] - moments[0]) > 0.95 * 20


def test_the_pacer_itself_is_exact() -> None:
    pacer, moment = Pacer(RateLimit(20)), 1000.0
    moments = []
    for _ in range(200):
        while (pause := pacer._turn(moment)) > 0:
            moment += pause
        moments.append(moment)
    assert all(later - first >= 1 for first, later in zip(moments, moments[20:], strict=False))
    assert (200 - 20) / (moments[-1] - moments[0]) >= 0.95 * 20


@pytest.mark.parametrize(
    ("rate", "calls", "window"), [(RateLimit(0.5), 1, 2.0), (RateLimit(2.5), 2, 1)]
)
def test_a_broken_rate_is_never_rounded_up(rate: RateLimit, calls: int, window: float) -> None:
    pacer = Pacer(rate)
    assert [pacer._turn(100.0) for _ in range(calls)] == [0] * calls
    assert pacer._turn(100.0 + window - 0.1) > 0
    assert pacer._turn(100.0 + window + 0.1) == 0


def test_a_service_that_asks_for_a_pause_gets_one_from_everybody(out_of_step: Any) -> None:
    w = out_of_step(40, "concurrency = 4\n", hook="engine_hooks:BusyHook")
    code, report = w.run("sync", "--all")
    assert (code, report["counts"]) == (0, {"lab": {"done": 40}})
    moments = [moment for _, moment in engine_hooks.NOTED]
    asked = moments[9]
    # Whoever had been let go already is allowed a moment to be noted.
    assert [m for m in moments[10:] if asked + 0.25 < m < asked + 1.49] == []


def test_a_pause_too_long_for_a_run_ends_the_lane_at_once(out_of_step: Any) -> None:
    w = out_of_step(60, "concurrency = 4\n", hook="engine_hooks:ClosedHook", also=lab("other"))
    code, report = w.run("sync", "--all")
    assert code == 1
    assert len(engine_hooks.NOTED) <= 4
    assert report["left"]["lab"] >= 56
    assert report["counts"]["other"] == {"done": 180}
    waits = w.rows("SELECT next_attempt_at FROM operations WHERE status = 'failed'")
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3500))
    assert waits
    assert all(row["next_attempt_at"] > soon for row in waits)


def test_a_service_that_always_asks_for_a_moment_more_is_left_in_the_end(
    out_of_step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "LONGEST_WAIT", 0.5)
    w = out_of_step(30, "concurrency = 2\n", hook="engine_hooks:NaggingHook")
    code, report = w.run("sync", "--all")
    assert code == 1
    assert report["left"]["lab"] >= 28


# Retries


@pytest.mark.usefixtures("quick")
def test_what_fails_in_passing_is_tried_again_at_once(out_of_step: Any) -> None:
    w = out_of_step(3, 'faults = { set_nickname = "transient@1" }\n')
    w.sandbox().break_method("set_nickname", "transient@1")
    code, report = w.run("sync", "--all")
    assert (code, report["counts"]) == (0, {"lab": {"done": 3}})
    assert sorted(row["attempts"] for row in w.rows(LATEST)) == [1, 1, 2]


LATEST = "SELECT * FROM operations WHERE run_id = (SELECT max(id) FROM runs) ORDER BY id"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("fault", "attempts", "status"),
    [("transient", 3, "unknown"), ("denied", 1, "failed"), ("invalid:ada", 1, "failed")],
)
def test_what_goes_on_failing_waits_for_longer_and_longer(
    world: Build, fault: str, attempts: int, status: str
) -> None:
    w = world(lab())
    w.people(["ada", "bob"], "staff")
    assert w.run("sync", "--all")[0] == 0
    w.site.configure((w.site.folder / "svcctl.toml").read_text() + 'name_format = "{username}x"\n')
    w.sandbox().break_method("set_nickname", fault)
    code, report = w.run("sync", "ada")
    assert (code, report["operations"][0]["status"]) == (1, status)
    (row,) = w.rows(LATEST)
    assert row["attempts"] == attempts
    calls = len(w.calls())
    # Not yet: cron's next run leaves it alone, and says so.
    for _ in range(2):
        code, report = w.run("sync", "--all")
        assert code == 1
        assert [op["status"] for op in report["operations"] if op["user"] == "ada"] == ["deferred"]
        assert [call for call in w.calls()[calls:] if call.name == "ada"] == []
    (row,) = w.rows("SELECT * FROM operations WHERE next_attempt_at IS NOT NULL AND user_id = 1")
    first = row["next_attempt_at"]
    assert row["attempts"] == attempts
    # An operator who names the user, or asks for what failed, does not wait.
    for words in (["ada"], ["--failed"]):
        before = len(w.calls())
        assert w.run("sync", *words)[0] == 1
        assert len([call for call in w.calls()[before:] if call.name == "ada"]) == attempts
    (row,) = w.rows("SELECT * FROM operations WHERE next_attempt_at IS NOT NULL AND user_id = 1")
    assert row["attempts"] == 3 * attempts
    assert row["next_attempt_at"] > first
    # When it is time, it is tried, and when it is healed, it is done.
    w.age()
    w.sandbox().heal()
    assert w.run("sync", "--all")[0] == 0
    assert nicknames(w) == {"adax", "bobx"}
    assert w.run("sync", "--failed")[1]["operations"] == []


def test_a_wait_that_a_wrong_clock_wrote_down_is_none(out_of_step: Any) -> None:
    """The clock was a year ahead when it failed: nobody waits for a year."""
    w = out_of_step(3, 'faults = { set_nickname = "denied" }\n')
    assert w.svcctl("sync", "--all").exit_code == 1
    w.site.configure((w.site.folder / "svcctl.toml").read_text().replace("denied", "none"))
    w.site.execute(
        "UPDATE operations SET next_attempt_at = :then WHERE next_attempt_at IS NOT NULL",
        then=stamp(now() + timedelta(days=366)),
    )
    assert w.svcctl("sync", "--all").exit_code == 0
    assert changed(w) == 3


def test_the_wait_doubles_up_to_a_day() -> None:
    waits = [back_off(attempts).total_seconds() for attempts in (0, 1, 2, 3, 9, 10, 500)]
    assert waits == [300, 300, 600, 1200, 76800, 86400, 86400]


def test_one_bad_account_never_stops_the_others(out_of_step: Any) -> None:
    w = out_of_step(30, 'faults = { set_nickname = "invalid:user00007" }\n')
    code, report = w.run("sync", "--all")
    assert (code, report["counts"]) == (1, {"lab": {"done": 29, "failed": 1}})
    assert report["left"] == {}
    failed = [op for op in report["operations"] if op["status"] == "failed"]
    assert failed[0]["error"].startswith("sandbox: set_nickname is broken on purpose: invalid")


def test_what_comes_after_a_failure_on_the_same_account_is_skipped(world: Build) -> None:
    w = world(lab(more='faults = { change_groups = "invalid:bob" }'))
    w.people(["ada", "bob"], "staff")
    code, report = w.run("sync", "--all")
    statuses = [
        (op["operation"], op["status"]) for op in report["operations"] if op["user"] == "bob"
    ]
    assert (code, statuses) == (
        1,
        [("create_account", "done"), ("change_groups", "failed"), ("set_nickname", "skipped")],
    )
    w.sound()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("fault", ["transient", "denied"])
def test_a_lane_gives_up_after_repeated_failures_and_the_next_run_goes_on(
    out_of_step: Any, fault: str
) -> None:
    w = out_of_step(40, "concurrency = 2\n", also=lab("other"))
    w.sandbox().break_method("set_nickname", fault)
    result = w.svcctl("sync", "--all")
    assert result.exit_code == 1
    assert "lab: gave up after repeated failures: sandbox: set_nickname is broken" in result.stderr
    assert "accounts are left for the next run" in result.stderr
    accounts = {call.name for call in w.calls() if call.outcome in ("Transient", "Denied")}
    assert 5 <= len(accounts) <= 7
    assert len(w.remote("other")) == 40
    w.sandbox().heal()
    w.age()
    code, _ = w.run("sync", "--all")
    assert (code, changed(w)) == (0, 40)
    w.sound()


# Answers that are lost


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("hook", ["sandbox", "engine_hooks:UnfinishedHook"])
@pytest.mark.parametrize("external_ids", ["true", "false"])
def test_a_create_whose_answer_is_lost_is_found_and_done_once(
    world: Build, external_ids: str, hook: str
) -> None:
    w = world(lab(hook=hook, more=f"external_ids = {external_ids}"))
    w.people(names(10), "staff")
    w.sandbox().break_method("create_account", "lost@3")
    code, report = w.run("sync", "--all")
    assert (code, report["counts"]) == (0, {"lab": {"done": 30}})
    creates = [name for method, name, _ in w.said() if method == "create_account"]
    assert sorted(creates) == names(10)
    assert len(w.remote()) == 10
    uids = {row["name"]: row["uid"] for row in w.accounts().values()}
    assert uids == {account.name: account.uid for account in w.remote().values()}


@pytest.mark.usefixtures("quick")
def test_where_nothing_can_be_searched_a_lost_create_waits_for_the_operator(world: Build) -> None:
    w = world(lab(hook="engine_hooks:UnsearchableHook"))
    w.people(names(4), "staff")
    w.sandbox().break_method("create_account", "lost@3")
    code, _ = w.run("sync", "--all")
    assert code == 1
    ((user, verb, _),) = w.operations("status = 'unknown'")
    assert verb == "create_account"
    w.sandbox().heal()
    for _ in range(2):
        w.run("sync", "--all")
        assert w.operations("status = 'unknown'") == [(user, "create_account", "unknown")]
        assert len([1 for method, _, _ in w.said() if method == "create_account"]) == 4
    w.sound()
    uid = w.remote()[user].uid
    assert w.svcctl("accounts", "link", user, "--service", "lab", "--uid", uid).exit_code == 0
    assert w.operations("status = 'unknown'") == []
    assert w.run("sync", "--all")[0] == 0
    assert set(w.status().values()) == {"active"}


def test_a_lost_create_that_was_never_done_is_settled_by_who_looked(world: Build) -> None:
    w = world(lab(hook="engine_hooks:UnsearchableHook"))
    w.people(names(4), "staff")
    w.sandbox().break_method("create_account", "lost@3")
    assert w.svcctl("sync", "--all").exit_code == 1
    w.sandbox().heal()
    ((user, _, _),) = w.operations("status = 'unknown'")
    w.sandbox().drop(user)  # as if it had not been done
    words = ("accounts", "unlink", user, "--service", "lab")
    assert w.svcctl(*words, "--dry-run").exit_code == 0
    assert w.operations("status = 'unknown'") != []
    said = w.svcctl(*words)
    assert (said.exit_code, said.stderr) == (
        0,
        f"lab: {user} is taken to have no account; svcctl accounts create makes one\n",
    )
    assert w.operations("status = 'unknown'") == []
    assert w.svcctl(*words).exit_code == 2
    assert w.svcctl("sync", "--all").exit_code == 0
    assert w.status()[user] == "absent"
    assert w.svcctl("accounts", "create", user).exit_code == 0
    assert set(w.status().values()) == {"active"}
    assert len(w.remote()) == 4
    w.sound()


@pytest.mark.parametrize("external_ids", ["true", "false"])
def test_a_run_that_is_stopped_while_an_answer_is_lost_does_not_create_again(
    world: Build, monkeypatch: pytest.MonkeyPatch, external_ids: str
) -> None:
    monkeypatch.setattr(engine_hooks.SignallingManager, "made", 0)
    w = world(
        lab(
            hook="engine_hooks:SignallingHook",
            more=f"concurrency = 1\nexternal_ids = {external_ids}",
        )
    )
    w.people(names(6), "staff")
    assert w.run("sync", "--all")[0] == 143
    assert w.operations("status = 'unknown'") == [("user00002", "create_account", "unknown")]
    code, _ = w.run("sync", "--all")
    assert code == 0
    creates = [(name, outcome) for method, name, outcome in w.said() if method == "create_account"]
    assert creates == [(name, "done") for name in names(6)]
    w.sound()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("fault", ["lost", "denied@2", "rate_limited:3600@2"])
def test_of_groups_that_were_changed_in_part_none_is_forgotten(world: Build, fault: str) -> None:
    """One was added, nobody knows; then the user is to be without it."""
    top = 'default_name_format = "{username}"\n'
    w = world(lab(hook="engine_hooks:PiecemealHook"), top=top)
    w.people(["ada", "bob"], "staff")
    assert w.run("sync", "--all")[0] == 0
    w.svcctl("groups", "add", "chess", "ada", "--no-sync")
    w.svcctl("groups", "add", "go", "ada", "--no-sync")
    w.sandbox().break_method("change_groups", fault)
    w.run("sync", "--all")
    w.regroup(["ada"], out_of="chess")
    w.sandbox().heal()
    w.age()
    assert w.run("sync", "--all")[0] == 0
    assert w.remote()["ada"].groups == {"staff", "go"}
    assert w.accounts()["ada"]["groups"] == '["go","staff"]'
    w.sound()


@pytest.mark.parametrize(
    ("verb", "was", "becomes"),
    [("disable_account", "active", "disabled"), ("enable_account", "disabled", "active")],
)
@pytest.mark.parametrize("hook", ["sandbox", "engine_hooks:UnfinishedHook"])
def test_a_lost_answer_is_looked_at_before_it_is_forgotten(
    world: Build, hook: str, verb: str, was: str, becomes: str
) -> None:
    """It was done, nobody knows; then the user's standing turns and nothing would be planned."""
    w = world(lab(hook=hook))
    w.people(["ada", *names(9)], "staff")
    assert w.run("sync", "--all")[0] == 0
    if was == "disabled":
        w.regroup(["ada"], out_of="staff")
        assert w.run("sync", "--all")[0] == 0
        w.age("ended_at")

    def turn(*, may: bool) -> None:
        if may:
            assert w.svcctl("groups", "add", "staff", "ada", "--no-sync").exit_code == 0
        else:
            w.regroup(["ada"], out_of="staff")

    w.sandbox().break_method(verb, "lost")
    turn(may=becomes == "active")
    assert w.run("validate", "--all")[0] == 1
    assert w.remote()["ada"].active == (becomes == "active")
    assert w.status()["ada"] == was
    w.sandbox().heal()
    w.site.configure((w.site.folder / "svcctl.toml").read_text().replace(hook, "sandbox"))
    turn(may=was == "active")
    assert w.run("validate", "--all")[0] == 0
    # svcctl and the service say the same, and it is what the rules say.
    assert w.status()["ada"] == was
    assert w.remote()["ada"].active == (was == "active")
    w.sound(aged=was == "disabled")


def test_another_name_than_was_asked_for_is_a_conflict(world: Build) -> None:
    w = world(lab(hook="engine_hooks:RenamingHook"))
    w.people(["ada"], "staff")
    code, report = w.run("sync", "--all")
    assert code == 1
    assert report["operations"][0]["error"] == (
        "the service created 'ada_2' (uid sb-000001) instead of 'ada'"
    )
    assert w.status() == {"ada": "absent"}


@pytest.mark.usefixtures("quick")
def test_another_name_is_a_conflict_also_when_the_answer_was_lost(world: Build) -> None:
    w = world(lab(hook="engine_hooks:RenamingHook"))
    w.people(["ada"], "staff")
    w.sandbox().break_method("create_account", "lost@1")
    assert w.run("sync", "--all")[0] == 1
    w.sandbox().heal()
    w.run("sync", "ada")
    assert w.status() == {"ada": "absent"}
    assert len(w.remote()) == 1


def test_an_answer_with_another_users_account_is_a_conflict(world: Build) -> None:
    """Alliance Auth's case 48: the second of a name was given the first one's account."""
    w = world(lab(hook="engine_hooks:TakeoverHook"))
    w.people(["Ada", "bob"], "staff")
    assert w.run("sync", "--all")[0] == 0
    w.people(["ada", "ADA", "cleo"], "staff")
    for code in (1, 1):
        assert w.run("sync", "--all")[0] == code
        assert {name for name, status in w.status().items() if status == "active"} == {
            "Ada",
            "bob",
            "cleo",
        }
    errors = {
        row["error"] for row in w.rows("SELECT error FROM operations WHERE status = 'failed'")
    }
    uid = w.accounts()["Ada"]["uid"]
    assert errors == {f"the service answered with account '{uid}', which is not a new one"}
    w.sound()


def test_two_creates_of_one_run_answered_with_one_account_are_not_both_believed(
    world: Build,
) -> None:
    w = world(lab(hook="engine_hooks:TakeoverHook"))
    w.people(["Ada", "ada", "ADA", "cleo"], "staff")
    assert w.run("sync", "--all")[0] == 1
    assert sorted(w.status().values()) == ["absent", "absent", "active", "active"]
    w.sound()


@pytest.mark.parametrize("removal", ["delete", "disable"])
def test_an_account_that_is_gone_already_is_removed(world: Build, removal: str) -> None:
    w = world(lab(more=f'removal = "{removal}"'))
    w.people(["ada", "bob"], "staff")
    assert w.run("sync", "--all")[0] == 0
    w.sandbox().drop("ada")
    w.regroup(["ada"], out_of="staff")
    code, report = w.run("validate", "--all")
    assert (code, report["counts"]) == (0, {"lab": {"done": 1}})
    assert w.status()["ada"] == "absent"
    note = w.rows("SELECT error FROM operations WHERE verb LIKE '%e_account' AND user_id = 1")[-1]
    assert note == {"error": "the account was gone already"}
    w.svcctl("groups", "add", "staff", "ada", "--no-sync")
    assert w.run("sync", "--all")[0] == 0
    assert w.remote()["ada"].active
    w.sound()


def test_a_manager_that_fails_in_ways_of_its_own_stops_nobody(out_of_step: Any) -> None:
    w = out_of_step(30, hook="sandbox")
    w.site.configure(
        (w.site.folder / "svcctl.toml")
        .read_text()
        .replace("sandbox", "engine_hooks:OddHook")
        .replace("{username}x", "{username}")
    )
    w.site.execute("UPDATE accounts SET nickname = 'old'")
    code, report = w.run("sync", "--all")
    assert (code, report["counts"]) == (1, {"lab": {"done": 26, "unknown": 4}})
    assert {op["error"] for op in report["operations"] if op["status"] == "unknown"} == {
        "KeyError: 'id'",
        "SystemExit: 3",
        "Unsayable",
        "KeyboardInterrupt: ",
    }
    # They had been done: the next run sees that and asks for nothing.
    calls = len(w.calls())
    code, report = w.run("sync", "--all")
    assert (code, report["operations"], len(w.calls())) == (0, [], calls)
    w.sound()


def test_a_create_that_ends_in_an_odd_error_is_found_and_not_repeated(world: Build) -> None:
    w = world(lab(hook="engine_hooks:OddCreatingHook"))
    w.people(names(8), "staff")
    assert w.run("sync", "--all")[0] == 1
    assert w.run("sync", "--all")[0] == 0
    creates = [name for method, name, _ in w.said() if method == "create_account"]
    assert sorted(creates) == names(8)
    assert set(w.status().values()) == {"active"}


@pytest.mark.usefixtures("quick")
def test_a_service_that_cannot_be_looked_at_stops_only_itself(world: Build) -> None:
    w = world(lab(), lab("other"))
    w.people(names(3), "staff")
    w.sandbox().break_method("create_account", "lost@2")
    w.sandbox().break_method("find_account", "transient")
    assert w.run("sync", "--all")[0] == 1
    assert len(w.operations("status = 'unknown'")) == 1
    text = (w.site.folder / "svcctl.toml").read_text()
    w.site.configure(text.replace("sandbox", "engine_hooks:OddReadingHook", 1))
    w.people(["new"], "staff")
    code, report = w.run("sync", "--all")
    assert code == 5
    assert report["problems"][0]["message"] == (
        "what an earlier run left open could not be verified: LookupError: unexpected answer"
    )
    assert "new" in w.remote("other")
    assert len(w.operations("status = 'unknown'")) == 1
    w.sandbox().heal()
    w.site.configure(text)
    assert w.run("sync", "--all")[0] == 0
    creates = [name for method, name, _ in w.said() if method == "create_account"]
    assert sorted(creates) == sorted([*names(3), "new"])


@pytest.mark.parametrize("hook", ["UnbuildableHook", "UnclosableHook"])
def test_a_manager_that_cannot_be_built_or_closed_stops_nobody(world: Build, hook: str) -> None:
    w = world(lab(hook=f"engine_hooks:{hook}"), lab("other"))
    w.people(["ada"], "staff")
    code, _ = w.run("sync", "--all")
    assert "ada" in w.remote("other")
    assert code == (78 if hook == "UnbuildableHook" else 0)
    w.sound()


# The end of a run


def test_a_run_out_of_time_stops_and_the_next_one_finishes(out_of_step: Any) -> None:
    w = out_of_step(60, "latency = 0.1\nconcurrency = 2\n")
    code, report = w.run("sync", "--all", "--max-runtime", "1s")
    assert code == 75
    done = report["counts"]["lab"]["done"]
    assert 0 < done < 60
    assert report["left"] == {"lab": 60 - done}
    w.sound()
    text = (w.site.folder / "svcctl.toml").read_text().replace("latency = 0.1", "latency = 0")
    w.site.configure(text)
    code, report = w.run("sync", "--all")
    assert (code, report["counts"]) == (0, {"lab": {"done": 60 - done}})
    assert len([1 for method, _, _ in w.said() if method == "set_nickname"]) == 120


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_between_operations(
    out_of_step: Any, number: signal.Signals, code: int
) -> None:
    w = out_of_step(80, "latency = 0.1\nconcurrency = 4\n")
    before = len(w.calls())
    run = w.start("sync", "--all", "--json")
    w.until(before + 8, run)
    run.send(number)
    assert run.wait() == code, run.stderr
    done = len(w.calls()) - before
    assert 8 <= done < 80
    statuses = [status for _, _, status in w.operations("verb = 'set_nickname'")]
    assert statuses.count("done") == 80 + done
    assert statuses.count("running") == statuses.count("unknown") == 0
    assert w.rows("SELECT exit_code FROM runs ORDER BY id DESC LIMIT 1") == [{"exit_code": code}]
    w.sound()
    w.site.configure((w.site.folder / "svcctl.toml").read_text().replace("0.1", "0"))
    assert w.run("sync", "--all")[0] == 0
    assert (len(w.calls()) - before, changed(w)) == (80, 80)


def test_a_call_that_hangs_does_not_keep_a_stopped_run(
    out_of_step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apply, "GOODBYE", 0.5)
    w = out_of_step(10, 'concurrency = 2\nfaults = { set_nickname = "hang:3@3" }\n')
    w.sandbox().break_method("set_nickname", "hang:3@3")
    assert w.run("sync", "--all", "--max-runtime", "1s")[0] == 75
    assert [status for _, _, status in w.operations("status = 'running'")] == ["running"]
    # A run that left a call behind has not ended well, and the next one looks.
    w.sound()
    w.sandbox().heal()
    w.site.configure((w.site.folder / "svcctl.toml").read_text().replace("hang:3@3", "none"))
    assert w.run("sync", "--all")[0] == 0
    assert changed(w) == 10
    w.sound()


@pytest.fixture
def filling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_hooks.FullDiskManager, "count", 0)


@pytest.mark.usefixtures("filling")
def test_a_database_that_takes_no_more_ends_the_run_and_the_next_one_looks(
    out_of_step: Any,
) -> None:
    w = out_of_step(100, "latency = 0.005\n", hook="engine_hooks:FullDiskHook")
    result = w.svcctl("sync", "--all")
    assert result.exit_code == 74
    assert result.stderr.splitlines() == [
        f"error: {w.site.folder / 'svcctl.db'}: database or disk is full",
        "hint: free some space; everything recorded so far is safe",
    ]
    assert w.operations("status = 'running'")
    w.site.execute("DROP TRIGGER full")
    w.sound()
    before = {name: account.nickname for name, account in w.remote().items()}
    assert 30 <= sum(nickname == f"{name}x" for name, nickname in before.items()) < 100
    calls = len(w.calls())
    code, report = w.run("sync", "--all")
    assert (code, changed(w)) == (0, 100)
    # What had been done is seen to be done, and not asked for again.
    verified = [one for one in report["verified"] if one["result"] == "had been done"]
    assert len(w.calls()) - calls == 100 - sum(
        nickname == f"{name}x" for name, nickname in before.items()
    )
    assert verified
    w.sound()


def test_a_disk_that_is_really_full_ends_the_run(out_of_step: Any) -> None:
    """No file may grow beyond what it is: the process has a limit, as a full disk would be."""
    w = out_of_step(200)
    code = (
        "import resource, signal, svcctl.runs.apply as apply\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "work = apply.Writer._work\n"
        "def full(self):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "    work(self)\n"
        "apply.Writer._work = full\n"
    )
    run = w.start("sync", "--all", code=code)
    assert run.wait() == 74, run.stderr
    assert "error: " in run.stderr
    assert "Traceback" not in run.stderr
    w.sound()
    assert w.run("sync", "--all")[0] == 0
    assert changed(w) == 200
    w.sound()


def test_one_run_at_a_time(out_of_step: Any) -> None:
    w = out_of_step(30, "latency = 0.1\nconcurrency = 1\n", also=lab("other"))
    before = len(w.calls())
    run = w.start("sync", "--all", "--service", "lab")
    w.until(before + 2, run)
    code, report = w.run("sync", "--all")
    assert code == 75
    assert [problem["service"] for problem in report["problems"]] == ["lab"]
    assert f"pid {run.pid}" in report["problems"][0]["message"]
    assert len(w.remote("other")) == 30
    run.send(signal.SIGTERM)
    assert run.wait() == 143


def test_a_new_password_has_what_a_domain_asks_for() -> None:
    """Of 24 random characters one in sixty has no digit."""
    made = {new_password() for _ in range(1000)}
    assert len(made) == 1000
    for password in made:
        assert len(password) == 24
        assert any(map(str.isupper, password))
        assert any(map(str.islower, password))
        assert any(map(str.isdigit, password))
