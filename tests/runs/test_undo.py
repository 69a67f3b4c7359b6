"""Undo: what a run really changed is taken back where it still stands, and stays for a while."""

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest
from engine_world import World, lab, names  # type: ignore[import-not-found]

Build = Callable[..., World]
TOP = 'default_name_format = "{username}"\n'


@pytest.fixture
def site_of(world: Build) -> Callable[..., World]:
    """`site_of(more)`: ada, and twenty others in staff and fc, with accounts on lab; run 1."""

    def people(w: World) -> None:
        w.people(["ada"], "staff", "fc", "pilots")
        w.people(names(20), "staff", "fc")
        assert w.run("sync", "--all")[0] == 0

    def build(more: str = "", **options: Any) -> World:
        return world(lab(more=more, **options), top=TOP, people=people)

    return build


def latest(w: World) -> int:
    found: int = w.rows("SELECT max(id) AS id FROM runs")[0]["id"]
    return found


def ran(w: World, *words: str, code: int = 0) -> int:
    """The number of the run that the command made."""
    result = w.svcctl(*words)
    assert result.exit_code == code, result.stdout + result.stderr
    return latest(w)


def shown(w: World, name: str = "ada") -> tuple[Any, ...]:
    one = w.remote()[name]
    return one.active, one.groups or frozenset(), one.nickname


def undone(w: World, run: int, *words: str, code: int = 0) -> list[tuple[str, str]]:
    found, report = w.run("undo", str(run), *words)
    assert found == code, report
    return [(op["user"], op["operation"]) for op in report["operations"]]


def in_step(w: World) -> None:
    """A sync of everybody has nothing to do."""
    code, report = w.run("sync", "--all")
    assert (code, report["operations"]) == (0, []), report


# What is taken back


def test_groups_and_nickname_are_as_they_were_and_stay_so(site_of: Callable[..., World]) -> None:
    w = site_of()
    before = shown(w)
    w.svcctl("groups", "remove", "pilots", "ada", "--no-sync")
    w.svcctl("groups", "add", "hr", "ada", "--no-sync")
    text = (w.site.folder / "svcctl.toml").read_text()
    w.site.configure(text.replace('= "{username}"', '= "x {username}"'))
    run = ran(w, "sync", "ada")
    assert shown(w) == (True, {"staff", "fc", "hr"}, "x ada")
    assert undone(w, run, "--dry-run") == [("ada", "set_nickname"), ("ada", "change_groups")]
    assert shown(w) == (True, {"staff", "fc", "hr"}, "x ada")
    assert undone(w, run) == [("ada", "set_nickname"), ("ada", "change_groups")]
    assert shown(w) == before
    for command in ("sync", "validate", "update-groups", "sync-nickname"):
        assert w.run(command, "ada")[0] == 0
    assert w.run("update-all-groups")[0] == 0
    assert shown(w) == before
    w.sound()


def test_access_that_was_lost_is_given_back_and_stays(site_of: Callable[..., World]) -> None:
    w = site_of()
    before = shown(w)
    run = ran(w, "users", "set", "ada", "--inactive")
    assert not shown(w)[0]
    assert undone(w, run) == [("ada", "enable_account")]
    assert shown(w) == before
    in_step(w)
    assert shown(w) == before
    assert w.run("validate", "--all")[1]["operations"] == []
    assert w.run("update-all-groups")[1]["operations"] == []
    assert shown(w) == before


def test_groups_that_were_there_before_are_not_taken_away(site_of: Callable[..., World]) -> None:
    w = site_of()
    uid = w.remote()["ada"].uid
    w.sandbox().change_groups(uid, frozenset({"hr", "by hand"}), frozenset())
    run = ran(w, "groups", "add", "hr", "ada", code=0)
    w.svcctl("groups", "add", "medics", "ada", "--no-sync")
    run = ran(w, "sync", "ada")
    assert undone(w, run) == [("ada", "change_groups")]
    assert shown(w)[1] == {"staff", "fc", "pilots", "hr", "by hand"}
    assert undone(w, run - 1) == []
    assert shown(w)[1] == {"staff", "fc", "pilots", "hr", "by hand"}


def test_an_account_that_was_created_is_taken_away_as_removal_says(
    site_of: Callable[..., World],
) -> None:
    w = site_of()
    w.people(["new"], "staff")
    run = ran(w, "sync", "--all")
    assert undone(w, run) == [("new", "disable_account")]
    assert not shown(w, "new")[0]
    in_step(w)
    assert not shown(w, "new")[0]
    # The undo is a run like any other.
    assert undone(w, latest(w) - 1) == [("new", "enable_account")]
    assert shown(w, "new") == (True, {"staff"}, "new")
    in_step(w)
    assert w.rows("SELECT id FROM accounts WHERE undo_pin IS NOT NULL") == []
    assert undone(w, run) == [("new", "disable_account")]


def test_where_removal_deletes_it_is_said_that_it_is_for_good(
    site_of: Callable[..., World],
) -> None:
    w = site_of('removal = "delete"')
    w.people(["new"], "staff")
    run = ran(w, "sync", "--all")
    dry = w.svcctl("undo", str(run), "--dry-run")
    assert "lab: new: the account is deleted for good" in dry.stderr
    assert undone(w, run) == [("new", "delete_account")]
    assert "new" not in w.remote()
    in_step(w)
    assert "new" not in w.remote()
    refused = w.svcctl("undo", str(latest(w) - 1))
    assert refused.exit_code == 1
    assert "the account is gone for good" in refused.stderr
    assert "svcctl accounts create USER --service lab" in refused.stderr
    # Of what was created nothing is left to undo.
    assert undone(w, run) == []


def test_an_undo_of_an_undo_and_again(site_of: Callable[..., World]) -> None:
    w = site_of()
    w.svcctl("groups", "add", "hr", "ada", "--no-sync")
    first = ran(w, "sync", "ada")
    for expected in ({"staff", "fc", "pilots"}, {"staff", "fc", "pilots", "hr"}) * 2:
        last = max(first, latest(w))
        assert undone(w, last) == [("ada", "change_groups")]
        assert shown(w)[1] == expected
    # Twice undone and twice done again, it stands: it can be undone by its own number.
    assert undone(w, first) == [("ada", "change_groups")]
    assert undone(w, first) == []
    rows = w.rows("SELECT id, undo_of FROM operations WHERE undo_of IS NOT NULL ORDER BY id")
    assert [row["undo_of"] for row in rows][1:4] == [row["id"] for row in rows][:3]


def test_the_pin_that_a_run_set_is_taken_back_with_it(site_of: Callable[..., World]) -> None:
    w = site_of()
    run = ran(w, "accounts", "disable", "ada")
    assert w.accounts()["ada"]["pin"]
    assert undone(w, run) == [("ada", "enable_account")]
    assert w.accounts()["ada"]["pin"] is None
    in_step(w)
    assert undone(w, latest(w) - 1) == [("ada", "disable_account")]
    assert w.accounts()["ada"]["pin"].startswith("accounts disable by")
    in_step(w)
    assert not shown(w)[0]


# How long it stays so


@pytest.mark.parametrize(
    "change",
    [
        ("groups", "add", "medics", "ada"),
        ("groups", "remove", "fc", "ada"),
        ("users", "set", "ada", "--superuser"),
    ],
)
def test_it_stays_until_what_the_policy_goes_by_is_another(
    site_of: Callable[..., World], change: tuple[str, ...]
) -> None:
    w = site_of()
    w.svcctl("groups", "add", "hr", "ada", "--no-sync")
    undone(w, ran(w, "sync", "ada"))
    w.svcctl("users", "set", "ada", "corp_ticker=GEAR")
    in_step(w)
    assert "hr" not in shown(w)[1]
    assert w.svcctl(*change, "--no-sync").exit_code == 0
    assert w.run("sync", "--all")[0] == 0
    assert "hr" in shown(w)[1]
    assert w.accounts()["ada"]["undo_pin"] is None
    in_step(w)


def test_a_pin_that_has_ended_does_not_come_back(site_of: Callable[..., World]) -> None:
    w = site_of()
    undone(w, ran(w, "users", "set", "ada", "--inactive"))
    assert shown(w)[0]
    # In and out again: nothing was to be done in between.
    assert w.svcctl("users", "set", "ada", "--active", "--no-sync").exit_code == 0
    in_step(w)
    assert w.svcctl("users", "set", "ada", "--inactive", "--no-sync").exit_code == 0
    assert w.run("sync", "--all")[0] == 0
    assert not shown(w)[0]


def test_who_leaves_after_an_undo_loses_access(site_of: Callable[..., World]) -> None:
    w = site_of()
    w.regroup(["ada"], out_of="staff")
    undone(w, ran(w, "sync", "ada"))
    in_step(w)
    assert shown(w)[0]
    assert w.svcctl("users", "set", "ada", "--inactive").exit_code == 0
    assert not shown(w)[0]


def test_other_rules_end_it_too(site_of: Callable[..., World]) -> None:
    w = site_of()
    text = (w.site.folder / "svcctl.toml").read_text()
    w.site.configure(text.replace('["Member"]', "[]", 1))
    assert w.run("sync", "ada", "user00000", "user00001")[0] == 0
    undone(w, latest(w))
    in_step_after = w.run("sync", "ada", "user00000", "user00001")[1]
    assert in_step_after["operations"] == []
    w.site.configure(text)
    in_step(w)
    assert w.rows("SELECT id FROM accounts WHERE undo_pin IS NOT NULL") == []


def test_groups_that_were_put_back_do_not_keep_an_account(site_of: Callable[..., World]) -> None:
    """What is pinned is what was undone: that somebody may have no account goes on."""
    w = site_of("limits.removals = 1")
    w.svcctl("groups", "add", "hr", "ada", "--no-sync")
    run = ran(w, "sync", "ada")
    w.regroup(["ada", "user00000"], out_of="staff")
    assert w.run("sync", "--all")[0] == 4
    assert undone(w, run) == [("ada", "change_groups")]
    code, report = w.run("validate", "--all")
    assert (code, {op["user"] for op in report["operations"]}) == (4, {"ada", "user00000"})
    assert w.run("holds", "approve", str(latest(w)))[0] == 0
    assert not shown(w)[0]


def test_an_operator_ends_it(site_of: Callable[..., World]) -> None:
    w = site_of()
    w.svcctl("groups", "add", "hr", "ada", "--no-sync")
    run = ran(w, "sync", "ada")
    undone(w, run)
    told = w.svcctl("why", "ada", "lab").stdout
    assert f"undo {run} by " in told
    assert "svcctl accounts hold ada --service lab --release" in told
    assert f"undo {run} by " in w.svcctl("accounts", "list", "ada").stdout
    assert w.svcctl("accounts", "hold", "ada", "--release").exit_code == 0
    assert w.run("sync", "--all")[0] == 0
    assert "hr" in shown(w)[1]


def test_an_operators_own_word_comes_first(site_of: Callable[..., World]) -> None:
    w = site_of()
    undone(w, ran(w, "users", "set", "ada", "--inactive"))
    assert w.run("accounts", "disable", "ada")[0] == 0
    assert (shown(w)[0], w.accounts()["ada"]["undo_pin"]) == (False, None)


def test_drift_takes_what_was_put_back_for_right(site_of: Callable[..., World]) -> None:
    w = site_of()
    w.svcctl("groups", "add", "hr", "ada", "--no-sync")
    undone(w, ran(w, "sync", "ada"))
    assert w.run("drift")[1]["findings"] == []
    w.sandbox().change_groups(w.remote()["ada"].uid, frozenset({"hr"}), frozenset())
    (found,) = w.run("drift")[1]["findings"]
    assert (found["kind"], found["expected"]["groups"]) == ("groups", ["fc", "pilots", "staff"])


# What is not taken back, and is said


def test_what_another_run_changed_since_is_left_alone(site_of: Callable[..., World]) -> None:
    w = site_of()
    w.svcctl("groups", "add", "hr", "ada", "user00000", "--no-sync")
    run = ran(w, "sync", "--all")
    w.svcctl("groups", "remove", "hr", "ada")
    later = latest(w)
    w.svcctl("groups", "add", "medics", "user00000")
    result = w.svcctl("undo", str(run))
    assert result.exit_code == 1
    assert f"cannot undo change_groups: change_groups of run {later} changed it since" in (
        result.stderr
    )
    assert f"hint: undo that first: svcctl undo {later}" in result.stderr
    # Of the other account another group was changed.
    assert shown(w, "user00000")[1] == {"staff", "fc", "medics"}
    assert shown(w)[1] == {"staff", "fc", "pilots"}
    assert undone(w, later) == [("ada", "change_groups")]
    assert undone(w, run) == [("ada", "change_groups")]
    assert "hr" not in shown(w)[1]


def test_what_somebody_changed_on_the_service_is_left_alone(
    site_of: Callable[..., World],
) -> None:
    w = site_of()
    w.svcctl("groups", "add", "hr", "ada", "user00000", "--no-sync")
    run = ran(w, "sync", "--all")
    uid = w.remote()["ada"].uid
    w.sandbox().change_groups(uid, frozenset(), frozenset({"hr"}))
    calls = len(w.calls())
    for words in (["--dry-run"], []):
        result = w.svcctl("undo", str(run), *words)
        assert result.exit_code == 1
        assert "lab: ada: cannot undo: the service shows that it is in hr no more" in result.stderr
    assert shown(w, "user00000")[1] == {"staff", "fc"}
    assert len(w.calls()) == calls + 1


def test_an_account_that_is_gone_or_another_ones_is_left_alone(
    site_of: Callable[..., World],
) -> None:
    w = site_of()
    w.people(["new", "newer"], "staff")
    run = ran(w, "sync", "--all")
    w.sandbox().delete_account(w.remote()["new"].uid)
    assert w.svcctl("accounts", "unlink", "newer", "--service", "lab").exit_code == 0
    w.people(["heir"], "staff")
    assert w.run("accounts", "link", "heir", "--service", "lab", "--name", "newer")[0] == 0
    result = w.svcctl("undo", str(run))
    assert result.exit_code == 1
    assert "new: cannot undo: the service shows that there is no such account" in result.stderr
    assert "newer: cannot undo create_account: unlink_account of run" in result.stderr
    assert shown(w, "newer")[0]


def test_a_service_that_does_not_answer_is_left_alone(site_of: Callable[..., World]) -> None:
    w = site_of()
    w.svcctl("groups", "add", "hr", "ada", "--no-sync")
    run = ran(w, "sync", "ada")
    w.sandbox().break_method("get_account", "transient")
    code, report = w.run("undo", str(run))
    assert (code, report["operations"]) == (5, [])
    assert "hr" in shown(w)[1]
    w.sandbox().heal()
    assert undone(w, run) == [("ada", "change_groups")]


def test_passwords_and_records_have_no_way_back(site_of: Callable[..., World]) -> None:
    w = site_of()
    run = ran(w, "accounts", "reset-password", "ada", "--service", "lab")
    result = w.svcctl("undo", str(run))
    assert result.exit_code == 1
    assert "ada: cannot undo set_password: the password that was there before is not known" in (
        result.stderr
    )
    assert "hint: svcctl accounts reset-password USER --service lab" in result.stderr
    uid = w.remote()["ada"].uid
    run = ran(w, "accounts", "unlink", "ada", "--service", "lab")
    told = w.svcctl("undo", str(run), "--dry-run")
    assert f"hint: svcctl accounts link USER --service lab --uid {uid}" in told.stderr
    run = ran(w, "accounts", "link", "ada", "--service", "lab", "--uid", uid)
    told = w.svcctl("undo", str(run))
    assert told.exit_code == 1
    assert "hint: svcctl accounts unlink USER --service lab" in told.stderr
    w.sandbox().disable_account(uid)
    run = ran(w, "accounts", "refresh", "ada", "--service", "lab")
    assert undone(w, run) == []
    assert w.svcctl("undo", "999").exit_code == 2


def test_of_a_user_who_was_removed_nothing_is_enabled(site_of: Callable[..., World]) -> None:
    w = site_of()
    run = ran(w, "users", "remove", "ada")
    result = w.svcctl("undo", str(run))
    assert result.exit_code == 1
    assert "cannot undo disable_account: the user was removed from the directory" in result.stderr
    assert not shown(w)[0]


def test_what_cannot_be_undone_is_said_before_the_question(site_of: Callable[..., World]) -> None:
    w = site_of()
    w.people(["new"], "staff")
    w.svcctl("groups", "add", "hr", "ada", "--no-sync")
    run = ran(w, "sync", "--all")
    w.svcctl("groups", "remove", "hr", "ada")
    result = w.svcctl("undo", str(run), stdin="n\n")
    assert result.exit_code == 1
    said = result.stderr
    assert said.index("cannot undo change_groups") < said.index("Take access away from 1 accounts?")
    assert shown(w, "new")[0]
    assert w.rows("SELECT id FROM operations WHERE undo_of IS NOT NULL") == []


def test_a_service_that_is_not_configured_any_more_is_told(site_of: Callable[..., World]) -> None:
    w = site_of()
    w.svcctl("groups", "add", "hr", "ada", "--no-sync")
    run = ran(w, "sync", "ada")
    text = (w.site.folder / "svcctl.toml").read_text()
    w.site.configure(text.replace("[services.lab]", "[services.other]"))
    result = w.svcctl("undo", str(run))
    assert result.exit_code == 1
    assert "the service is not configured any more" in result.stderr


def test_a_paused_service_is_left_alone(site_of: Callable[..., World]) -> None:
    w = site_of()
    w.svcctl("groups", "add", "hr", "ada", "--no-sync")
    run = ran(w, "sync", "ada")
    w.svcctl("services", "pause", "lab")
    assert undone(w, run) == []
    assert "hr" in shown(w)[1]
    w.svcctl("services", "resume", "lab")
    assert undone(w, run) == [("ada", "change_groups")]


# Limits, holds, protected users


def test_what_an_undo_takes_away_counts_like_everything(site_of: Callable[..., World]) -> None:
    w = site_of()
    w.people(names(10, 100), "staff")
    run = ran(w, "sync", "--all")
    code, report = w.run("undo", str(run), "--dry-run")
    assert (code, report["held"][0]["removals"]) == (4, 10)
    code, report = w.run("undo", str(run))
    assert (code, report["counts"]) == (4, {"lab": {"held": 10}})
    assert all(one.active for one in w.remote().values())
    undo = latest(w)
    # It stays held, whatever runs come along.
    in_step(w)
    assert w.run("validate", "--all")[0] == 0
    assert len(w.operations("status = 'held'")) == 10
    code, report = w.run("holds", "approve", str(undo), "--dry-run")
    assert (code, report["counts"]) == (0, {"lab": {"planned": 10}})
    assert w.run("holds", "approve", str(undo))[0] == 0
    assert sum(one.active for one in w.remote().values()) == 21
    in_step(w)
    assert undone(w, run) == []


def test_accepting_and_rejecting_work_as_for_any_run(site_of: Callable[..., World]) -> None:
    w = site_of()
    w.people(names(10, 100), "staff")
    run = ran(w, "sync", "--all")
    assert w.run("undo", str(run))[0] == 4
    assert w.svcctl("holds", "reject", str(latest(w))).exit_code == 0
    result = w.svcctl("undo", str(run), "--accept-removals", "10")
    assert result.exit_code == 1
    assert "the account is pinned: removal rejected by" in result.stderr
    assert w.svcctl("accounts", "hold", *names(9, 100), "--release").exit_code == 0
    assert len(undone(w, run, "--accept-removals", "9", code=1)) == 9
    assert shown(w, "user00109")[0]


def test_small_undos_are_no_way_round_the_limit(site_of: Callable[..., World]) -> None:
    w = site_of()
    runs = []
    for number in range(8):
        w.people(names(1, 100 + number), "staff")
        runs.append(ran(w, "sync", "--all"))
    codes = [w.run("undo", str(run))[0] for run in runs]
    # 20 % of those 29 who were there.
    assert codes == [0] * 5 + [4] * 3


def test_who_is_held_or_protected_keeps_the_account(site_of: Callable[..., World]) -> None:
    w = site_of('protected = ["user00101"]')
    w.people(names(3, 100), "staff")
    run = ran(w, "sync", "--all")
    assert w.svcctl("accounts", "hold", "user00100", "--reason", "on leave").exit_code == 0
    result = w.svcctl("undo", str(run), "--yes")
    assert result.exit_code == 1
    assert "user00100: cannot undo create_account: the account is pinned: on leave by" in (
        result.stderr
    )
    assert "user00101: not done: the user is protected here" in result.stderr
    active = {name for name, one in w.remote().items() if one.active}
    assert active == {"ada", *names(20), "user00100", "user00101"}


def test_a_hold_survives_that_groups_are_undone(site_of: Callable[..., World]) -> None:
    w = site_of()
    w.svcctl("groups", "add", "hr", "ada", "--no-sync")
    run = ran(w, "sync", "ada")
    assert w.svcctl("accounts", "hold", "ada", "--reason", "on leave").exit_code == 0
    assert undone(w, run) == [("ada", "change_groups")]
    assert w.accounts()["ada"]["pin"].startswith("on leave by")
    assert w.svcctl("users", "set", "ada", "--inactive").exit_code == 0
    assert shown(w)[0]


# After a crash


def test_after_a_crash_in_the_middle_what_was_done_is_undone(
    site_of: Callable[..., World],
) -> None:
    w = site_of("latency = 0.05\nconcurrency = 2")
    before = {name: one.groups for name, one in w.remote().items()}
    for name in names(20):
        w.svcctl("groups", "add", "hr", name, "--no-sync")
    killed = w.start("sync", "--all")
    w.until(len(w.calls()) + 4, killed)
    killed.send(signal.SIGKILL)
    killed.wait()
    run = latest(w)
    code, dry = w.run("undo", str(run), "--dry-run")
    assert code == 0
    changed = {name for name, one in w.remote().items() if "hr" in (one.groups or ())}
    assert 0 < len(changed) < 20
    assert {op["user"] for op in dry["operations"]} == changed
    assert {user for user, _ in undone(w, run)} == changed
    assert {name: one.groups for name, one in w.remote().items()} == before
    w.sound()


def test_an_undo_that_is_killed_is_completed_by_another_and_nothing_is_done_twice(
    site_of: Callable[..., World],
) -> None:
    w = site_of("latency = 0.05\nconcurrency = 2")
    before = {name: one.groups for name, one in w.remote().items()}
    for name in names(20):
        w.svcctl("groups", "add", "hr", name, "--no-sync")
    run = ran(w, "sync", "--all")
    calls = len(w.calls())
    killed = w.start("undo", str(run))
    w.until(calls + 4, killed)
    killed.send(signal.SIGKILL)
    killed.wait()
    done = {name for name, one in w.remote().items() if one.groups == before[name]} - {"ada"}
    assert 0 < len(done) < 20
    # A sync in between verifies, and does not do again what was undone.
    assert not done & {op["user"] for op in w.run("sync", "--all", "--dry-run")[1]["operations"]}
    assert w.run("sync", "--all")[0] == 0
    assert {n for n, one in w.remote().items() if one.groups == before[n]} - {"ada"} == done
    assert {user for user, _ in undone(w, run)} == set(names(20)) - done
    assert {name: one.groups for name, one in w.remote().items()} == before
    changes = [call for call in w.said()[calls:] if call[0] == "change_groups"]
    assert len(changes) == 20
    assert undone(w, run) == []
    in_step(w)
    w.sound()


# The record


def test_history_shows_what_undid_what(site_of: Callable[..., World]) -> None:
    w = site_of()
    w.svcctl("groups", "add", "hr", "ada", "--no-sync")
    run = ran(w, "sync", "ada")
    undone(w, run)
    undo = latest(w)
    (done,) = w.run("history", str(run))[1]["rows"]
    (back,) = w.run("history", str(undo))[1]["rows"]
    assert (done["undone_by"], back["undoes"]) == (undo, run)
    assert back["undo_of"] == done["id"]
    assert f"undone by run {undo}" in w.svcctl("history", str(run)).stdout
    assert f"undo of change_groups of run {run}" in w.svcctl("history", str(undo)).stdout
    said = json.loads(w.svcctl("history", "--json").stdout)["rows"][0]["command"]
    assert said == f"undo {run}"
    undone(w, undo)
    (done,) = w.run("history", str(run))[1]["rows"]
    (back,) = w.run("history", str(undo))[1]["rows"]
    assert (done["undone_by"], back["undone_by"]) == (None, latest(w))
