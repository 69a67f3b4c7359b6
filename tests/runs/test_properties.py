"""Limits and lifecycle, whatever comes in whatever order.

Each world is played through the real commands. SVCCTL_EXAMPLES gives how many times as many.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine_world import World, lab, names  # type: ignore[import-not-found]
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from svcctl.limits import allowance

Build = Callable[..., World]
MORE = int(os.environ.get("SVCCTL_EXAMPLES", "1"))
TOP = 'default_name_format = "[{corp_ticker}] {username}"\n'
LEAVE = """
[pipelines.leave]
kind = "disconnect"
steps = ["load_user", "delete_services"]
[backends.hub]
uid = "id"
"""


def worlds(count: int) -> settings:
    return settings(
        max_examples=count * MORE,
        deadline=None,
        # A world is short, and takes longer than what hypothesis makes shorter usually does.
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


class Stage:
    """A world that can be had anew, as it was prepared."""

    def __init__(self, world: World, kept: Path) -> None:
        self.world = world
        self.kept = kept
        world.site.database.close()
        shutil.copytree(world.site.folder, kept)

    def fresh(self) -> World:
        for manager in self.world._opened:
            manager.close()
        self.world._opened.clear()
        self.world.site.database.close()
        for path in self.world.site.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(self.kept, self.world.site.folder, dirs_exist_ok=True)
        return self.world


# Limits

PEOPLE = 12


@pytest.fixture
def crowd(world: Build, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Twelve people with accounts on two services, of whom two may lose one in a day."""

    def people(w: World) -> None:
        w.people(names(PEOPLE), "staff", "fc", attributes={"corp_ticker": "GEAR"})
        assert w.run("sync", "--all")[0] == 0

    w = world(lab(), lab("other"), top=TOP + LEAVE, people=people)
    return Stage(w, tmp_path_factory.mktemp("kept") / "site")


def lost_to_the_policy(w: World, who: str) -> None:
    w.regroup([who], out_of="staff")


def set_inactive(w: World, who: str) -> None:
    w.svcctl("users", "set", who, "--inactive")


def left_by_pipeline(w: World, who: str) -> None:
    assert w.svcctl("pipeline", "run", "leave", "--user", who).exit_code in (0, 1, 4)


def undone(w: World, who: str) -> None:
    """The latest run that did anything for the user."""
    found = w.rows(
        "SELECT max(run_id) AS id FROM operations JOIN users ON users.id = user_id"
        " WHERE username = :who AND status = 'done'",
        who=who,
    )
    if found[0]["id"] is not None:
        w.svcctl("undo", str(found[0]["id"]))


def undone_newcomer(w: World, who: str) -> None:
    undone(w, f"new-{who}")


def undone_and_again(w: World, who: str) -> None:
    undone(w, who)
    undone(w, who)


def back(w: World, who: str) -> None:
    w.svcctl("users", "set", who, "--active", "--no-sync")
    w.svcctl("groups", "add", "staff", who)


def validated(w: World, _: str) -> None:
    w.svcctl("validate", "--all", "--yes")


def synced_one(w: World, who: str) -> None:
    w.svcctl("sync", who)


def synced_service(w: World, _: str) -> None:
    w.svcctl("sync", "--all", "--service", "lab")


def newcomer(w: World, who: str) -> None:
    """Somebody new, whose account the same person may then undo."""
    w.svcctl("users", "add", f"new-{who}", "--group", "staff")
    w.svcctl("sync", "--all")


STEPS = [
    lost_to_the_policy,
    set_inactive,
    left_by_pipeline,
    undone,
    undone_and_again,
    back,
    validated,
    synced_one,
    synced_service,
    newcomer,
    undone_newcomer,
]
WHO = st.sampled_from(names(PEOPLE))


FEW = st.lists(st.sampled_from(STEPS), min_size=2, max_size=4, unique=True)


def always(*steps: Any, times: int = 3) -> list[tuple[Any, str]]:
    """The same again and again, once more than the limit allows."""
    return [(step, who) for who in names(times) for step in steps]


@given(
    FEW.flatmap(
        lambda few: st.lists(st.tuples(st.sampled_from(few), WHO), min_size=10, max_size=14)
    )
)
@example(always(left_by_pipeline))
@example(always(set_inactive))
@example(always(lost_to_the_policy, synced_one))
@example(always(newcomer, undone_newcomer, times=4))
@worlds(2)
def test_no_way_round_the_limits(crowd: Stage, steps: list[tuple[Any, str]]) -> None:
    """By many small runs, by users, by services, by people who leave, by undo, in any order."""
    w = crowd.fresh()
    for step, who in steps:
        step(w, who)
        for service in ("lab", "other"):
            there = w.remote(service).values()
            lost = sum(not one.active for one in there)
            assert lost <= allowance(len(there)), (step.__name__, who, service)
            assert lost < len(there)


@given(
    population=st.integers(0, 10**7),
    more=st.integers(0, 10**6),
    limit=st.one_of(
        st.none(),
        st.integers(0, 10**8),
        st.integers(0, 10**8).map(str),
        st.integers(0, 100).map(lambda share: f"{share}%"),
    ),
)
@settings(max_examples=300 * MORE)
def test_a_limit_never_allows_all_and_never_less_of_more(
    population: int, more: int, limit: int | str | None
) -> None:
    allowed = allowance(population, limit)
    assert 0 <= allowed < max(1, population)
    assert allowed <= allowance(population + more, limit)


# Lifecycle

MATES = ("ada", "bob", "cyd")
KEPT = ("held", "safe")
LIFE = (
    'removal = { mode = "disable", delete_after = "30d" }\nlimits.removals = 100\n'
    'protected = ["safe"]\n'
)


@pytest.fixture
def club(world: Build, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Three mates, one whom an operator holds, one who is protected, and twenty others."""

    def people(w: World) -> None:
        w.people([*MATES, *KEPT, *names(20)], "staff", attributes={"corp_ticker": "GEAR"})
        assert w.run("sync", *KEPT)[0] == 0
        assert w.run("sync", "--all")[0] == 0
        assert w.svcctl("accounts", "hold", "held", "--reason", "on leave").exit_code == 0

    w = world(lab(more=LIFE), top=TOP + LEAVE, people=people)
    return Stage(w, tmp_path_factory.mktemp("kept") / "site")


class Life:
    """What should be of the mates, and of whoever is kept."""

    def __init__(self, w: World) -> None:
        self.w = w
        self.member = dict.fromkeys([*MATES, *KEPT], True)
        self.groups = {name: {"staff"} for name in self.member}
        self.ticker = dict.fromkeys(self.member, "GEAR")
        self.uid = {name: w.remote()[name].uid for name in self.member}
        self.over: set[str] = set()
        self.paused = False

    def leaves(self, who: str) -> None:
        self.w.svcctl("groups", "remove", "staff", who, "--no-sync")
        self.member[who] = False
        self.groups[who].discard("staff")

    def returns(self, who: str) -> None:
        self.w.svcctl("groups", "add", "staff", who, "--no-sync")
        self.member[who] = True
        self.groups[who].add("staff")

    def moves(self, who: str) -> None:
        left = "fc" in self.groups[who]
        self.w.svcctl("groups", "remove" if left else "add", "fc", who, "--no-sync")
        self.groups[who] ^= {"fc"}

    def changes_name(self, who: str) -> None:
        self.ticker[who] = "INK" if self.ticker[who] == "GEAR" else "GEAR"
        self.w.svcctl("users", "set", who, f"corp_ticker={self.ticker[who]}", "--no-sync")

    def a_month_passes(self, _: str) -> None:
        self.w.age("disabled_at", "accounts")
        self.w.age("ended_at")
        self.over = {name for name, status in self.w.status().items() if status == "disabled"}

    def is_paused(self, _: str) -> None:
        self.w.svcctl("services", "resume" if self.paused else "pause", "lab")
        self.paused = not self.paused

    def other_runs(self, _: str) -> None:
        """Whatever else could take something from those who are kept."""
        for kept in KEPT:
            left_by_pipeline(self.w, kept)
        self.w.svcctl("validate", "--all", "--accept-removals", "1000")
        self.w.svcctl("update-all-groups")
        self.w.svcctl("undo", "1", "--accept-removals", "1000", "--yes")

    def sync(self) -> None:
        calls = len(self.w.calls())
        before = self.w.status()
        code, report = self.w.run("sync", "--all")
        assert code == 0, report
        if self.paused:
            assert (report["operations"], len(self.w.calls())) == ([], calls)
            return
        there = self.w.remote()
        for name in MATES:
            if self.member[name]:
                self._restored(name, there[name], before[name])
            elif name in self.over or before[name] == "absent":
                assert name not in there
            else:
                assert not there[name].active
        for name in KEPT:
            assert (there[name].active, there[name].uid) == (True, self.uid[name])
        self.over.clear()

    def _restored(self, name: str, one: Any, before: str) -> None:
        assert (one.active, one.groups) == (True, self.groups[name])
        assert one.nickname == f"[{self.ticker[name]}] {name}"
        assert (one.uid == self.uid[name]) == (before != "absent")
        self.uid[name] = one.uid


EVENTS = [
    Life.leaves,
    Life.returns,
    Life.moves,
    Life.changes_name,
    Life.a_month_passes,
    Life.is_paused,
    Life.other_runs,
]


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(EVENTS), st.sampled_from([*MATES, *KEPT])), max_size=4),
        min_size=3,
        max_size=6,
    )
)
@example([[(Life.leaves, "ada")], [(Life.a_month_passes, "")], [(Life.returns, "ada")]])
@example([[(Life.leaves, "held"), (Life.leaves, "safe")], [(Life.other_runs, "")]])
@example([[(Life.leaves, "ada"), (Life.is_paused, "")], [(Life.is_paused, "")]])
@worlds(2)
def test_disabled_then_deleted_and_restored_in_between_and_who_is_kept_is_kept(
    club: Stage, days: list[list[tuple[Any, str]]]
) -> None:
    life = Life(club.fresh())
    for events in days:
        for event, who in events:
            event(life, who)
        life.sync()


# Undo

BEFOREHAND = [Life.leaves, Life.moves, Life.changes_name]
DONE_BY_HAND = st.lists(
    st.tuples(st.sampled_from(MATES), st.sampled_from(["staff", "fc", "by hand"]), st.booleans()),
    max_size=3,
)


def there(w: World) -> dict[str, Any]:
    return {
        name: (one.uid, one.active, one.groups, one.nickname) for name, one in w.remote().items()
    }


@given(
    first=st.lists(st.tuples(st.sampled_from(BEFOREHAND), st.sampled_from(MATES)), max_size=4),
    by_hand=DONE_BY_HAND,
    then=st.lists(
        st.tuples(st.sampled_from([*BEFOREHAND, Life.returns]), st.sampled_from(MATES)),
        min_size=1,
        max_size=5,
    ),
    joins=st.booleans(),
)
@worlds(3)
def test_an_undo_leaves_what_was_there_before_and_its_own_undo_what_was_there_after(
    club: Stage,
    first: list[tuple[Any, str]],
    by_hand: list[tuple[str, str, bool]],
    then: list[tuple[Any, str]],
    joins: bool,  # noqa: FBT001 - hypothesis names it
) -> None:
    w = club.fresh()
    life = Life(w)
    for event, who in first:
        event(life, who)
    assert w.run("sync", "--all")[0] == 0
    for who, group, given_ in by_hand:
        groups = frozenset({group})
        add, remove = (groups, frozenset()) if given_ else (frozenset(), groups)
        w.sandbox().change_groups(life.uid[who], add, remove)
    for event, who in then:
        event(life, who)
    if joins:
        w.people(["zoe"], "staff", attributes={"corp_ticker": "GEAR"})
    before = there(w)
    run = str(w.run("sync", "--all")[1]["run"])
    after = there(w)

    code, report = w.run("undo", run)
    assert code == 0, report
    undo = str(report["run"])
    left = there(w)
    if joins:
        assert left.pop("zoe")[1] is False
    assert left == before
    for words in (["sync", "--all"], ["update-groups", "--all"], ["undo", run]):
        code, report = w.run(*words)
        assert (code, report["operations"]) == (0, []), words
    assert {name: one for name, one in there(w).items() if name != "zoe"} == before

    code, report = w.run("undo", undo)
    assert code == 0, report
    assert there(w) == after
    assert w.run("sync", "--all")[1]["operations"] == []
    assert w.rows("SELECT id FROM accounts WHERE undo_pin IS NOT NULL") == []
