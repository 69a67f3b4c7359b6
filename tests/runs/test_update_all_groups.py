"""`update-all-groups`: what the service really lists is the base, not what was remembered."""

from collections.abc import Callable

import pytest
from engine_world import World, lab, names  # type: ignore[import-not-found]

from svcctl.hooks.manager import NewAccount

Build = Callable[..., World]
MAPPED = 'groups.map = { staff = "staff", fc = "commanders" }\npage_size = 4'


@pytest.fixture
def drifted(world: Build) -> World:
    """Ten people; behind svcctl's back one lost a group, one got a managed and a foreign one."""
    w = world(lab(more=MAPPED), lab("other", MAPPED))
    w.people(names(8), "staff")
    w.people(["ada", "bob"], "staff", "fc")
    assert w.run("sync", "--all")[0] == 0
    remote, service = w.remote(), w.sandbox()
    service.change_groups(remote["ada"].uid, frozenset({"friends"}), frozenset({"commanders"}))
    service.change_groups(remote["user00000"].uid, frozenset({"commanders", "vip"}), frozenset())
    stranger = service.create_account(NewAccount("stranger", "theirs", "pw"))
    service.change_groups(stranger.uid, frozenset({"commanders"}), frozenset())
    return w


def groups(w: World, service: str = "lab") -> dict[str, set[str]]:
    return {name: set(account.groups or ()) for name, account in w.remote(service).items()}


def test_drift_is_repaired_and_what_is_not_ours_stays(drifted: World) -> None:
    w = drifted
    assert w.run("update-groups", "--all")[1]["operations"] == []
    code, dry = w.run("update-all-groups", "--dry-run")
    before = len(w.calls())
    code, report = w.run("update-all-groups")
    assert code == 0
    for document in (dry, report):
        assert {op["user"]: op["args"] for op in document["operations"]} == {
            "user00000": {"add": [], "remove": ["commanders"]},
            "ada": {"add": ["commanders"], "remove": []},
        }
    found = groups(w)
    assert found["ada"] == {"staff", "commanders", "friends"}
    assert found["user00000"] == {"staff", "vip"}
    assert found["stranger"] == {"commanders"}
    assert len(w.calls()) == before + 2
    assert w.run("update-all-groups")[1]["operations"] == []
    # Remembered is what is managed, and no more.
    assert w.accounts()["ada"]["groups"] == '["commanders","staff"]'
    assert w.accounts()["user00000"]["groups"] == '["staff"]'
    w.sound()


def test_what_is_really_there_is_remembered_also_where_nothing_is_to_do(drifted: World) -> None:
    """A group that the user has by now, given by hand, is not asked for again."""
    w = drifted
    assert w.svcctl("groups", "add", "fc", "user00000", "--no-sync").exit_code == 0
    _, report = w.run("update-all-groups", "--service", "lab")
    assert [op["user"] for op in report["operations"]] == ["ada"]
    assert w.run("update-groups", "--all", "--service", "lab")[1]["operations"] == []


@pytest.mark.parametrize("dry", [True, False])
def test_a_listing_that_breaks_off_touches_nothing_of_that_service(
    drifted: World, *, dry: bool
) -> None:
    w = drifted
    service = w.sandbox("other")
    ada = w.remote("other")["ada"].uid
    service.change_groups(ada, frozenset(), frozenset({"commanders"}))
    w.sandbox().break_method("list_accounts", "incomplete@2")
    before, rows = w.calls(), w.rows("SELECT * FROM accounts WHERE service = 'lab'")
    code, report = w.run("update-all-groups", *(["--dry-run"] if dry else []))
    assert code == 5
    assert [(op["service"], op["user"]) for op in report["operations"]] == [("other", "ada")]
    assert report["problems"] == [
        {
            "service": "lab",
            "user": None,
            "message": "could not be read completely: "
            "sandbox: list_accounts ended after page 2, on purpose",
            "hint": None,
            "exit_code": 5,
        }
    ]
    assert report["missing"] == []
    assert (w.calls(), w.rows("SELECT * FROM accounts WHERE service = 'lab'")) == (before, rows)


def test_a_listing_that_breaks_off_leaves_what_waits_for_another_attempt(drifted: World) -> None:
    w = drifted
    w.sandbox().break_method("change_groups", "invalid:ada")
    assert w.run("update-all-groups")[0] == 1
    waiting = w.rows("SELECT id, next_attempt_at FROM operations WHERE status = 'failed'")
    assert waiting
    w.sandbox().break_method("list_accounts", "incomplete@2")
    assert w.run("update-all-groups")[0] == 5
    assert w.rows("SELECT id, next_attempt_at FROM operations WHERE status = 'failed'") == waiting


def test_accounts_that_are_missing_there_are_reported_and_left_alone(drifted: World) -> None:
    w = drifted
    w.sandbox().drop("bob")
    code, report = w.run("update-all-groups", "--service", "lab")
    assert (code, report["missing"]) == (
        0,
        [{"service": "lab", "user": "bob", "account": "bob"}],
    )
    assert w.status()["bob"] == "active"
    assert "lab: bob: account bob is not on the service" in w.svcctl("update-all-groups").stderr


def test_losing_the_last_groups_is_limited_here_too(world: Build) -> None:
    w = world(lab(more='groups.map = { fc = "commanders" }'))
    w.people(names(20), "staff", "fc")
    assert w.run("sync", "--all")[0] == 0
    w.regroup(names(20), out_of="fc")
    for _ in range(3):
        assert w.run("update-all-groups")[0] == 4
        assert len(w.operations("status = 'held'")) == 20
        assert len(w.operations()) == 80
    assert all(found == {"commanders"} for found in groups(w).values())


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("OddReadingHook", "could not be read completely: LookupError: unexpected answer"),
        ("SecretiveHook", "could not be read completely: lab does not say who is in which group"),
        ("BossyHook", "update_all_groups yielded an operation for user 99"),
        ("BrokenHook", "the hook failed: ZeroDivisionError"),
    ],
)
def test_what_cannot_be_read_or_decided_stops_only_its_service(
    drifted: World, hook: str, said: str
) -> None:
    w = drifted
    w.site.configure(
        (w.site.folder / "svcctl.toml").read_text().replace("sandbox", f"engine_hooks:{hook}", 1)
    )
    ada = w.remote("other")["ada"].uid
    w.sandbox("other").change_groups(ada, frozenset(), frozenset({"commanders"}))
    before = w.calls()
    code, report = w.run("update-all-groups")
    assert code != 0
    assert said in report["problems"][0]["message"]
    assert groups(w, "other")["ada"] == {"staff", "commanders"}
    assert w.calls() == before


def test_an_account_that_is_listed_twice_is_planned_once(drifted: World) -> None:
    """Pages shift while they are read."""
    w = drifted
    w.site.configure(
        (w.site.folder / "svcctl.toml").read_text().replace("sandbox", "engine_hooks:TwiceHook", 1)
    )
    code, report = w.run("update-all-groups", "--service", "lab")
    assert (code, len(report["operations"])) == (0, 2)


def test_a_hook_may_decide_for_all_at_once(drifted: World) -> None:
    w = drifted
    w.site.configure(
        (w.site.folder / "svcctl.toml")
        .read_text()
        .replace("sandbox", "engine_hooks:TogetherHook", 1)
    )
    code, report = w.run("update-all-groups", "--service", "lab")
    assert code == 0
    assert {(op["user"], tuple(op["args"]["add"])) for op in report["operations"]} == {
        (name, ("of 10",)) for name in [*names(8), "ada", "bob"]
    }


def test_a_group_name_that_the_service_cannot_have_stops_nobody(world: Build) -> None:
    w = world(lab(hook="engine_hooks:PickyHook"))
    w.people(["ada", "bob"], "staff")
    w.people(["short"], "staff", "x")
    w.svcctl("sync", "--all")
    w.sandbox().change_groups(w.remote()["ada"].uid, frozenset(), frozenset({"staff"}))
    _, report = w.run("update-all-groups")
    assert [op["user"] for op in report["operations"]] == ["ada"]
