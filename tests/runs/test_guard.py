"""How many may lose access at once, and what a person may say about it."""

import getpass
import json
from collections.abc import Callable
from typing import Any

import pytest
from engine_world import World, lab, names  # type: ignore[import-not-found]

from svcctl.limits import allowance

Build = Callable[..., World]


@pytest.mark.parametrize(
    ("accounts", "allowed"),
    [
        (0, 0),
        (1, 0),
        (2, 1),
        (5, 1),
        (10, 2),
        (100, 20),
        (1000, 110),
        (10_000, 560),
        (100_000, 2360),
    ],
)
def test_the_table_of_limits(accounts: int, allowed: int) -> None:
    assert allowance(accounts) == allowed


def test_no_limit_ever_lets_all_go() -> None:
    assert all(
        allowance(count, limit) < max(1, count)
        for count in range(200)
        for limit in (None, "100%", 1000)
    )


def test_a_growing_site_is_never_allowed_less() -> None:
    allowed = [allowance(count) for count in range(20_000)]
    assert allowed == sorted(allowed)


@pytest.fixture
def site_of(world: Build) -> Callable[..., World]:
    """`site_of(20)`: so many people with accounts on lab; `more` goes into its table."""

    def build(count: int, more: str = "", **options: Any) -> World:
        def people(w: World) -> None:
            w.people(names(count), "staff", "fc")
            assert w.svcctl("sync", "--all").exit_code == 0

        top = 'default_name_format = "{username}"\n'
        return world(lab(more=more, **options), top=top, people=people, variant=count)

    return build


def lose(w: World, count: int, start: int = 0) -> None:
    w.regroup(names(count, start), out_of="staff")


def active(w: World) -> int:
    return sum(account.active for account in w.remote().values())


@pytest.mark.parametrize(
    ("people", "going", "code"), [(2, 1, 0), (2, 2, 4), (20, 4, 0), (20, 5, 4)]
)
def test_at_the_limit_they_go_and_beyond_it_all_are_held(
    site_of: Callable[..., World], people: int, going: int, code: int
) -> None:
    w = site_of(people)
    lose(w, going)
    expected, dry = w.run("validate", "--all", "--dry-run")
    assert (expected, active(w)) == (code, people)
    assert w.run("validate", "--all")[0] == code
    assert active(w) == people - (going if code == 0 else 0)
    assert [bool(held["removals"]) for held in dry["held"]] == [True] * (code == 4)


def test_all_of_them_never_go_whatever_the_limit(site_of: Callable[..., World]) -> None:
    w = site_of(3, 'limits.removals = "100%"')
    lose(w, 3)
    code, report = w.run("validate", "--all")
    assert code == 4
    assert report["held"] == [
        {"service": "lab", "removals": 3, "recent": 0, "allowed": 2, "population": 3}
    ]
    assert active(w) == 3


def test_a_limit_can_be_a_number_or_a_share(site_of: Callable[..., World]) -> None:
    w = site_of(20, "limits.removals = 1")
    lose(w, 2)
    assert w.run("validate", "--all")[0] == 4
    w.site.configure((w.site.folder / "svcctl.toml").read_text().replace("= 1\n", '= "10%"\n'))
    assert w.run("validate", "--all")[0] == 0
    assert active(w) == 18


def test_many_small_runs_within_a_day_count_together(site_of: Callable[..., World]) -> None:
    w = site_of(20)
    for start in (0, 2):
        lose(w, 2, start)
        assert w.run("validate", "--all")[0] == 0
    lose(w, 1, 4)
    code, report = w.run("validate", "--all")
    assert code == 4
    assert report["held"][0] == {
        "service": "lab",
        "removals": 1,
        "recent": 4,
        "allowed": 4,
        "population": 20,
    }
    w.age("ended_at")
    assert w.run("validate", "--all")[0] == 0
    assert active(w) == 15


def test_losing_the_last_mapped_group_counts_and_losing_one_of_two_does_not(
    site_of: Callable[..., World],
) -> None:
    w = site_of(20, 'access.users = ["nobody"]\ngroups.map = { fc = "fc", hr = "hr" }')
    w.regroup(names(20), out_of="fc")
    code, report = w.run("update-groups", "--all")
    assert code == 4
    assert report["held"][0]["removals"] == 20
    assert all(account.groups == {"fc"} for account in w.remote().values())


def test_changing_from_one_group_to_another_is_no_loss(site_of: Callable[..., World]) -> None:
    w = site_of(20, 'groups.map = { fc = "fc", staff = "staff" }')
    w.regroup(names(20), out_of="fc")
    assert w.run("update-groups", "--all")[0] == 0
    assert all(account.groups == {"staff"} for account in w.remote().values())


def test_removals_are_held_while_everything_else_goes_on(site_of: Callable[..., World]) -> None:
    w = site_of(20)
    lose(w, 1, 19)
    assert w.run("validate", "--all")[0] == 0
    lose(w, 10)
    w.people(["new"], "staff")
    w.svcctl("groups", "add", "staff", "user00019", "--no-sync")
    w.svcctl("groups", "add", "pilots", "user00015", "user00000", "--no-sync")
    w.site.configure(
        (w.site.folder / "svcctl.toml").read_text().replace('= "{username}"', '= "x {username}"')
    )
    code, report = w.run("sync", "--all")
    assert code == 4
    assert report["counts"] == {"lab": {"done": 15, "held": 10}}
    remote = w.remote()
    assert remote["new"].active
    assert remote["new"].nickname == "x new"
    assert remote["user00019"].active
    assert remote["user00015"].groups == {"staff", "fc", "pilots"}
    # Held is the account, not one of its operations.
    assert (remote["user00000"].groups, remote["user00000"].nickname) == (
        {"staff", "fc"},
        "user00000",
    )
    w.sound()


def test_the_limit_of_one_service_holds_nothing_on_another(world: Build) -> None:
    w = world(lab(), lab("other", "limits.removals = 20"))
    w.people(names(20), "staff")
    assert w.run("sync", "--all")[0] == 0
    lose(w, 10)
    assert w.run("validate", "--all")[0] == 4
    assert sum(a.active for a in w.remote("other").values()) == 10
    assert active(w) == 20


def test_accepting_fewer_than_are_held_accepts_none(site_of: Callable[..., World]) -> None:
    w = site_of(20)
    lose(w, 10)
    assert w.run("validate", "--all", "--accept-removals", "9")[0] == 4
    assert active(w) == 20
    assert w.run("validate", "--all", "--accept-removals", "10", "--dry-run")[0] == 0
    assert w.run("validate", "--all", "--accept-removals", "10")[0] == 0
    assert active(w) == 10
    # What was accepted does not count against the next day.
    lose(w, 2, 10)
    assert w.run("validate", "--all")[0] == 0


def test_delete_accepts_exactly_those_who_are_named(site_of: Callable[..., World]) -> None:
    w = site_of(10)
    lose(w, 4)
    code, _ = w.run("delete", *names(3, 5))
    assert code == 0
    assert active(w) == 7
    assert w.run("validate", "--all")[0] == 4
    assert active(w) == 7


# What a person may say


@pytest.fixture
def held(site_of: Callable[..., World]) -> World:
    """Twenty people of whom ten should go, and are held; nine more operations were nothing new."""
    w = site_of(20)
    lose(w, 10)
    assert w.run("sync", "--all")[0] == 4
    return w


def holds(w: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(w.svcctl("holds", "show", "--json").stdout)["rows"]
    return found


def test_approving_looks_again_and_names_who_approved(held: World) -> None:
    run = str(holds(held)[0]["run"])
    held.svcctl("groups", "add", "staff", "user00000", "--no-sync")
    lose(held, 1, 15)
    before = len(held.calls())
    code, report = held.run("holds", "approve", run, "--dry-run")
    assert (code, report["counts"]) == (0, {"lab": {"planned": 9}})
    code, report = held.run("holds", "approve", run)
    assert (code, report["counts"]) == (0, {"lab": {"done": 9}})
    assert {name for name, account in held.remote().items() if not account.active} == set(
        names(9, 1)
    )
    assert len(held.calls()) == before + 9
    who = held.rows("SELECT DISTINCT actor FROM operations WHERE run_id = :run", run=report["run"])
    assert getpass.getuser() in who[0]["actor"]
    command = held.rows("SELECT command FROM runs WHERE id = :run", run=report["run"])
    assert command == [{"command": f"holds approve {run}"}]
    assert held.svcctl("holds", "show").stdout == ""
    # user00015 was not held and has to be asked about like anybody.
    code, report = held.run("validate", "--all")
    assert (code, [op["user"] for op in report["operations"]]) == (0, ["user00015"])


def test_rejecting_pins_the_accounts(held: World) -> None:
    run = str(holds(held)[0]["run"])
    assert held.svcctl("holds", "reject", run).exit_code == 0
    assert active(held) == 20
    code, report = held.run("validate", "--all")
    assert (code, report["operations"]) == (0, [])
    pins = {row["pin"].split(" by ")[0] for row in held.accounts().values() if row["pin"]}
    assert pins == {"removal rejected"}
    assert held.svcctl("holds", "approve", run).exit_code == 2
    held.svcctl("accounts", "hold", *names(10), "--release")
    assert held.run("validate", "--all")[0] == 4


def test_a_held_set_does_not_grow_with_every_run(held: World) -> None:
    before = held.rows("SELECT id, run_id, status FROM operations")
    for command in ("sync", "validate", "sync", "update-groups", "sync-nickname", "sync"):
        code, _ = held.run(command, "--all")
        assert code == (4 if command in ("sync", "validate") else 0)
    assert held.rows("SELECT id, run_id, status FROM operations") == before


@pytest.mark.parametrize("other", ["validate", "sync-nickname"])
def test_a_task_that_decides_no_groups_leaves_held_groups_held(
    site_of: Callable[..., World], other: str
) -> None:
    w = site_of(20, 'access.users = ["nobody"]\ngroups.map = { fc = "fc" }')
    w.regroup(names(20), out_of="fc")
    assert w.run("sync", "--all")[0] == 4
    before = w.rows("SELECT id, run_id, status FROM operations")
    for command, code in ((other, 0), ("update-groups", 4), ("update-groups", 4), ("sync", 4)):
        assert w.run(command, "--all")[0] == code, command
        assert w.rows("SELECT id, run_id, status FROM operations") == before, command


def test_creating_for_everybody_leaves_held_removals_held(held: World) -> None:
    before = holds(held)
    held.people(["new"], "staff")
    assert held.run("accounts", "create", "--all")[0] == 0
    assert "new" in held.remote()
    assert holds(held) == before


def test_a_hold_disappears_when_its_user_is_back(held: World) -> None:
    for name in names(9):
        held.svcctl("groups", "add", "staff", name, "--no-sync")
    code, report = held.run("sync", "--all")
    # One is within the limit and goes.
    assert (code, [op["user"] for op in report["operations"]]) == (0, ["user00009"])
    assert holds(held) == []
    assert active(held) == 19


def test_a_run_about_some_leaves_the_holds_of_the_others(held: World) -> None:
    held.svcctl("groups", "add", "staff", "user00000", "--no-sync")
    assert held.run("sync", "user00000")[0] == 0
    assert {row["user"] for row in holds(held)} == set(names(9, 1))


def test_who_is_protected_is_not_counted(site_of: Callable[..., World]) -> None:
    w = site_of(20, f"protected = {json.dumps(names(10))}")
    lose(w, 10)
    assert w.run("validate", "--all")[0] == 0
    assert active(w) == 20


def test_deletes_after_grace_count_on_their_day(site_of: Callable[..., World]) -> None:
    w = site_of(20, 'removal = { mode = "disable", delete_after = "30d" }')
    for count, start in ((4, 0), (3, 4)):
        lose(w, count, start)
        assert w.run("validate", "--all")[0] == 0
        w.age("ended_at")
    w.age("disabled_at", "accounts")
    code, report = w.run("validate", "--all")
    assert (code, report["held"][0]["removals"], len(w.remote())) == (4, 7, 20)
    code, report = w.run("holds", "approve", str(holds(w)[0]["run"]))
    assert (code, len(w.remote())) == (0, 13)


def test_deletes_after_grace_do_not_stand_in_for_those_who_lose_access(
    site_of: Callable[..., World],
) -> None:
    """Many old disabled accounts must not make the allowance of the active ones larger."""
    w = site_of(20, "limits.removals = 100")
    lose(w, 15)
    assert w.run("validate", "--all")[0] == 0
    w.age("ended_at")
    w.site.configure(
        (w.site.folder / "svcctl.toml").read_text().replace("limits.removals = 100", "")
    )
    lose(w, 2, 15)
    code, report = w.run("validate", "--all")
    assert (code, report["held"][0]["population"]) == (4, 5)
