"""Killed at any moment: every operation is done once, or is looked at before it is done again."""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from engine_world import World, lab, names  # type: ignore[import-not-found]

from svcctl.hooks.manager import NewAccount

Build = Callable[..., World]
CRASHES = 20


def whole(w: World, people: list[str], *services: str) -> None:
    """Everybody has what the rules say, once, and svcctl knows it."""
    for service in services or ("lab",):
        remote = w.remote(service)
        assert remote.keys() == set(people)
        assert {(a.active, a.groups, a.nickname == name) for name, a in remote.items()} == {
            (True, frozenset({"staff"}), True)
        }
        creates = Counter(
            name
            for method, name, outcome in w.said(service)
            if method == "create_account" and outcome == "done"
        )
        assert creates == Counter(people)
        known = {
            name: (row["uid"], row["groups"], row["nickname"], row["status"])
            for name, row in w.accounts(service).items()
        }
        assert known == {
            name: (account.uid, '["staff"]', name, "active") for name, account in remote.items()
        }
        done = Counter(
            row["username"]
            for row in w.rows(
                "SELECT username FROM operations JOIN users ON users.id = user_id"
                " WHERE service = :service AND verb = 'create_account' AND status = 'done'",
                service=service,
            )
        )
        assert done == Counter(people)
    assert w.operations("status IN ('pending', 'running', 'unknown', 'held')") == []
    assert w.rows("SELECT id FROM runs WHERE ended_at IS NULL") == []
    w.sound()
    calls = [w.calls(service) for service in services]
    code, report = w.run("sync", "--all")
    assert (code, report["operations"], report["verified"]) == (0, [], [])
    assert [w.calls(service) for service in services] == calls


def test_killed_at_random_moments_and_nothing_is_lost_or_done_twice(world: Build) -> None:
    """Two thousand operations, sixteen threads each, two services of which one keeps our key."""
    latency = "latency = 0.002\n"
    w = world(lab("lab", latency), lab("other", f"{latency}external_ids = false"))
    people = names(334)
    w.people(people, "staff")
    chance = random.Random("crash")
    done = killed = 0
    for number in range(CRASHES):
        run = w.start("sync", "--all")
        if number % 3:
            # so far into what is left, and then a moment that nobody chose
            w.until(done + chance.randrange(1, 50), run)
            time.sleep(chance.random() * 0.01)
        else:
            time.sleep(chance.uniform(0, 0.4))
        run.send(signal.SIGKILL)
        if run.wait() != -signal.SIGKILL:
            break  # on a busy machine the last of them may be done before the kill comes
        done = len(w.calls())
        killed += 1
    assert killed > CRASHES / 2
    assert done > 0
    code, report = w.run("sync", "--all")
    assert (code, report["problems"]) == (0, [])
    whole(w, people, "lab", "other")


@pytest.fixture
def dying(world: Build) -> Callable[..., World]:
    """`dying("create_account after 3")`: ten people, and a first run that was killed there."""

    def build(where: str, *, external_ids: bool = True, code: str = "") -> World:
        more = "" if external_ids else "external_ids = false"
        w = world(lab(hook="engine_hooks:DyingHook", more=more))
        w.people(names(10), "staff")
        die(w, where, code=code)
        return w

    return build


def die(w: World, where: str, *words: str, code: str = "") -> None:
    run = w.start(*(words or ("sync", "--all")), code=code, ENGINE_KILL=where)
    assert run.wait() == -signal.SIGKILL, run.stderr


@pytest.mark.parametrize("external_ids", [True, False])
@pytest.mark.parametrize(
    ("where", "creates"),
    [
        # journaled, and no call yet
        ("build before 1", 0),
        ("create_account before 3", 2),
        ("create_account after 3", 3),
        ("change_groups after 3", 3),
        ("set_nickname before 3", 3),
    ],
)
def test_killed_at_a_chosen_moment(
    dying: Callable[..., World], where: str, creates: int, *, external_ids: bool
) -> None:
    w = dying(where, external_ids=external_ids)
    assert len(w.remote()) == creates
    # The kernel has freed the lock: nobody has to wait or to clean up.
    code, report = w.run("sync", "--all")
    assert (code, report["problems"]) == (0, [])
    whole(w, names(10))


def test_what_a_crash_left_is_looked_at_as_many_at_once_as_the_service_allows(
    world: Build,
) -> None:
    w = world(lab(hook="engine_hooks:DyingHook"))
    w.people(names(8), "staff")
    die(w, "build before 1")
    assert len(w.operations("status = 'pending' AND verb = 'create_account'")) == 8
    text = (w.site.folder / "svcctl.toml").read_text()
    w.site.configure(text.replace("DyingHook", "SearchingHook"))
    code, report = w.run("sync", "--all")
    assert (code, report["problems"], len(report["verified"])) == (0, [], 8)
    w.site.configure(text.replace("engine_hooks:DyingHook", "sandbox"))
    whole(w, names(8))


def test_killed_between_the_look_and_the_create(dying: Callable[..., World]) -> None:
    w = dying("find_account after 3", external_ids=False)
    assert len(w.remote()) == 2
    assert w.run("sync", "--all")[0] == 0
    whole(w, names(10))


def test_killed_after_a_create_that_cannot_be_told_from_a_strangers(
    dying: Callable[..., World],
) -> None:
    """The name was not known to be free: then it is not taken over, and the operator decides."""
    w = dying("create_account before 3", external_ids=False)
    # No look had proved the name free when somebody else took it.
    w.site.execute("UPDATE operations SET looked = 0 WHERE status = 'running'")
    (user, _, _), *_ = w.operations("status = 'running'")
    w.sandbox(external_ids=False).create_account(NewAccount(user, "", "theirs"))
    for _ in range(2):
        _, report = w.run("sync", "--all")
        assert "exists and may be ours: link it or delete it" in report["verified"][0]["result"]
        assert w.status()[user] == "absent"
    assert list(w.status().values()).count("active") == 9


def test_killed_while_what_was_found_is_written_down(dying: Callable[..., World]) -> None:
    w = dying("create_account after 3")
    code = (
        "import os, signal, svcctl.runs.recover as recover\n"
        "recover.account_rows.write = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    before = w.rows("SELECT * FROM operations")
    die(w, "never", code=code)
    assert w.rows("SELECT * FROM operations") == before
    assert w.run("sync", "--all")[0] == 0
    whole(w, names(10))


def test_killed_again_while_the_next_run_is_at_work(dying: Callable[..., World]) -> None:
    w = dying("create_account after 2")
    for where in ("create_account after 1", "create_account before 1", "build before 1"):
        die(w, where)
    die(w, "create_account after 2")
    assert w.run("sync", "--all")[0] == 0
    whole(w, names(10))


def test_killed_when_all_is_recorded_but_the_end(world: Build) -> None:
    w = world(lab(), lab("other"))
    w.people(names(3), "staff")
    code = (
        "import os, signal, svcctl.runs.engine as engine\n"
        "engine.run_rows.end = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    for service in ("lab", "other"):
        die(w, "never", "sync", "--all", "--service", service, code=code)
    unended = "SELECT id FROM runs WHERE ended_at IS NULL"
    assert w.rows(unended) == [{"id": 1}, {"id": 2}]
    # Whether the other one is still at work is known to who holds its lock.
    assert w.run("sync", "--all", "--service", "lab")[0] == 0
    assert w.rows(unended) == [{"id": 2}]
    assert w.run("sync", "--all")[0] == 0
    assert w.rows(unended) == []
    _, shown = w.run("history")
    assert [run["end"] for run in shown["rows"]] == ["ended", "ended", "died", "died"]


@pytest.mark.parametrize("removal", ["disable", "delete"])
def test_killed_after_a_removal(world: Build, removal: str) -> None:
    """And its user is back before the next run: what was done is known then."""
    w = world(lab(hook="engine_hooks:DyingHook", more=f'removal = "{removal}"'))
    w.people(["ada", *names(9)], "staff")
    assert w.run("sync", "--all")[0] == 0
    uid = w.remote()["ada"].uid
    w.regroup(["ada"], out_of="staff")
    die(w, f"{removal}_account after 1", "validate", "--all")
    w.svcctl("groups", "add", "staff", "ada", "--no-sync")
    code, report = w.run("sync", "--all")
    assert (code, report["verified"]) == (
        0,
        [{"service": "lab", "operation": f"{removal}_account", "result": "had been done"}],
    )
    told = w.rows("SELECT username, title FROM notifications JOIN users ON users.id = user_id")
    taken = {"disable": "disabled", "delete": "removed"}[removal]
    assert told == [{"username": "ada", "title": f"Your Lab account was {taken}"}]
    assert w.remote()["ada"].active
    assert (w.remote()["ada"].uid == uid) == (removal == "disable")
    w.sound()


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("disable_account after 1", ("accounts", "disable", "ada")),
        ("disable_account after 1", ("delete", "ada")),
    ],
)
def test_killed_after_what_an_operator_wanted(
    world: Build, where: str, words: tuple[str, ...]
) -> None:
    """No policy undoes it afterwards: that it is an operator's word was written down before."""
    w = world(lab(hook="engine_hooks:DyingHook"))
    w.people(["ada", *names(9)], "staff")
    assert w.run("sync", "--all")[0] == 0
    die(w, where, *words)
    for _ in range(2):
        code, report = w.run("sync", "--all")
        assert (code, report["operations"]) == (0, [])
        assert not w.remote()["ada"].active
    row = w.accounts()["ada"]
    assert (row["status"], row["pin"].split(" by ")[0]) == ("disabled", " ".join(words[:-1]))
    w.sound()


def test_what_could_not_be_looked_at_is_looked_at_later(dying: Callable[..., World]) -> None:
    """A run that cannot verify must not give the open operations up for newer ones."""
    w = dying("create_account after 3", external_ids=False)
    w.site.configure(
        (w.site.folder / "svcctl.toml").read_text() + 'faults = { find_account = "transient" }\n'
    )
    code, report = w.run("sync", "user00002")
    assert (code, report["problems"][0]["exit_code"]) == (5, 5)
    assert "could not be verified" in report["problems"][0]["message"]
    assert w.operations("status = 'running'") == [("user00002", "create_account", "running")]
    w.site.configure((w.site.folder / "svcctl.toml").read_text().replace("transient", "none"))
    assert w.run("sync", "--all")[0] == 0
    whole(w, names(10))


def test_a_run_about_another_service_leaves_this_ones_crash_alone(world: Build) -> None:
    w = world(lab(hook="engine_hooks:DyingHook"), lab("other", hook="engine_hooks:DyingHook"))
    w.people(names(10), "staff")
    die(w, "create_account after 3")
    assert w.run("sync", "--all", "--service", "other")[0] == 0
    w.sound()
    assert w.run("sync", "--all")[0] == 0
    whole(w, names(10), "lab", "other")


def test_what_was_looked_at_before_the_service_failed_is_settled(
    dying: Callable[..., World],
) -> None:
    """A service that allows few looks at a time is got through in several runs."""
    w = dying("create_account after 3")
    fault = 'faults = { find_account = "rate_limited@4" }\n'
    w.site.configure((w.site.folder / "svcctl.toml").read_text() + fault)
    before = len(w.operations("status IN ('pending', 'running') AND verb = 'create_account'"))
    assert w.run("sync", "--all")[0] == 5
    # Two creates had been recorded as done, one was found, two were seen not to be done.
    assert before == 8
    assert sum(status == "active" for status in w.status().values()) == 5
    w.site.configure((w.site.folder / "svcctl.toml").read_text().replace(fault, ""))
    assert w.run("sync", "--all")[0] == 0
    whole(w, names(10))


def test_after_a_crash_a_dry_run_sees_what_is_there_and_writes_nothing(
    dying: Callable[..., World],
) -> None:
    w = dying("create_account after 3")
    before: Any = w.rows("SELECT * FROM operations"), w.rows("SELECT * FROM accounts")
    code, report = w.run("sync", "--all", "--dry-run")
    assert code == 0
    assert ("lab", "create_account", "had been done") in [
        tuple(one.values()) for one in report["verified"]
    ]
    planned = [op["user"] for op in report["operations"] if op["operation"] == "create_account"]
    assert sorted(planned) == names(7, 3)
    assert (w.rows("SELECT * FROM operations"), w.rows("SELECT * FROM accounts")) == before
