"""What one plan holds, and what a hook may not do while it decides."""

from collections.abc import Callable
from typing import Any

import pytest
from engine_world import World, lab, names  # type: ignore[import-not-found]

Build = Callable[..., World]
NICKNAMES = 'name_format = "[{corp_ticker}] {username}"'


def doubled(name: str, more: str = "") -> str:
    return str(lab(more=more, hook=f"engine_hooks:{name}"))


def test_a_new_account_gets_its_groups_and_its_nickname_in_the_same_plan(world: Build) -> None:
    w = world(lab(more=NICKNAMES))
    w.people(["ada"], "staff", "pilots", attributes={"corp_ticker": "GEAR"})
    code, report = w.run("plan")
    assert code == 0
    assert [(op["operation"], op["args"]) for op in report["operations"]] == [
        ("create_account", {"name": "ada", "attributes": {}}),
        ("change_groups", {"add": ["pilots", "staff"], "remove": []}),
        ("set_nickname", {"nickname": "[GEAR] ada"}),
    ]
    code, report = w.run("sync", "--all")
    assert (code, report["counts"]) == (0, {"lab": {"done": 3}})
    ada = w.remote()["ada"]
    assert (ada.groups, ada.nickname) == (frozenset({"pilots", "staff"}), "[GEAR] ada")
    assert w.svcctl("sync", "--all").stdout == ""
    assert len(w.calls()) == 3


def test_a_user_to_be_disabled_gets_no_other_change(world: Build) -> None:
    w = world(lab())
    w.people(names(10), "staff")
    assert w.svcctl("sync", "--all").exit_code == 0
    w.regroup(["user00000"], out_of="staff")
    w.site.execute(
        "UPDATE users SET attributes = '{\"character_name\":\"X\"}' WHERE username = 'user00000'"
    )
    _, report = w.run("sync", "--all")
    assert [(op["user"], op["operation"]) for op in report["operations"]] == [
        ("user00000", "disable_account")
    ]


def test_what_is_not_opted_in_is_not_created(world: Build) -> None:
    w = world(lab(create="manual"))
    w.people(["ada", "bob"], "staff")
    w.people(["eve"])
    assert w.run("sync", "--all")[1]["operations"] == []
    code, report = w.run("accounts", "create", "ada", "eve")
    assert code == 0
    assert {op["user"] for op in report["operations"]} == {"ada"}
    assert w.remote().keys() == {"ada"}
    assert "eve may not have one" in w.svcctl("accounts", "create", "eve").stderr


# What a hook may not do


@pytest.fixture
def decided(world: Build) -> Callable[..., tuple[World, int, list[str]]]:
    """Ten people in step on a plain sandbox; then another hook decides, and ada is out of staff."""

    def decide(hook: str, *command: str) -> tuple[World, int, list[str]]:
        w = world(lab())
        w.people(["ada", "bob", *names(8)], "staff")
        assert w.svcctl("sync", "--all").exit_code == 0
        w.site.configure((w.site.folder / "svcctl.toml").read_text().replace("sandbox", hook, 1))
        w.regroup(["ada"], out_of="staff")
        before = w.calls()
        result = w.svcctl(*(command or ("validate", "--all")))
        assert w.calls() == before
        return w, result.exit_code, result.stderr.splitlines()

    return decide


def test_an_old_hook_that_calls_and_does_not_yield_is_told_so(decided: Callable[..., Any]) -> None:
    _, code, said = decided("engine_hooks:ForgetfulHook")
    assert code == 78
    assert said == [
        "lab: ada: services.lab: delete_user was called and its operations were dropped",
        "hint: write: yield from self.delete_user(user)",
    ]


def test_a_hook_that_acts_on_somebody_else_is_refused(decided: Callable[..., Any]) -> None:
    w, code, said = decided("engine_hooks:MeddlingHook")
    assert code == 78
    assert said == [
        "lab: ada: services.lab: an operation for user 2 in a decision about ada",
        "hint: a decision is about the user that it was given",
    ]
    assert set(w.status().values()) == {"active"}


def test_a_hook_that_returns_true_is_refused(decided: Callable[..., Any]) -> None:
    _, code, said = decided("engine_hooks:TruthfulHook")
    assert code == 78
    assert said == [
        "lab: ada: services.lab: delete_user returned bool",
        "hint: a decision yields operations (or returns None for: nothing to do)",
    ]


def test_a_hook_that_yields_a_word_is_refused(decided: Callable[..., Any]) -> None:
    _, code, said = decided("engine_hooks:WordyHook", "validate", "bob")
    assert code == 78
    assert said[0] == "lab: bob: services.lab: a decision yielded str"


def test_a_verb_that_the_manager_has_not_is_refused(world: Build) -> None:
    w = world(doubled("OverreachingHook", 'removal = "delete"'))
    w.people(["ada"], "staff")
    result = w.svcctl("sync", "--all")
    assert result.exit_code == 78
    assert result.stderr.splitlines()[0] == (
        "lab: ada: services.lab: NoPasswordManager has no set_password"
    )
    assert w.operations() == []


def test_a_hook_that_fails_for_one_user_does_not_stop_the_others(world: Build) -> None:
    w = world(doubled("MoodyHook"), lab("other"))
    w.people(["ada", "bob", "cleo"], "staff")
    code, report = w.run("sync", "--all")
    assert code == 1
    assert [
        (problem["service"], problem["user"], problem["message"]) for problem in report["problems"]
    ] == [("lab", "bob", "the hook failed: KeyError: 'no main character'")]
    assert w.remote().keys() == {"ada", "cleo"}
    assert w.remote("other").keys() == {"ada", "bob", "cleo"}


@pytest.mark.parametrize(
    ("hook", "would"),
    [
        ("DialingHook", "services.lab would connect to 127.0.0.1:9"),
        ("NotingHook", "services.lab would write decisions.txt"),
    ],
)
@pytest.mark.parametrize("dry", [False, True])
def test_a_hook_that_acts_while_it_decides_ends_the_run(
    world: Build, hook: str, would: str, *, dry: bool
) -> None:
    w = world(doubled(hook), lab("other"))
    w.people(["ada"], "staff")
    result = w.svcctl("sync", "--all", *(["--dry-run"] if dry else []))
    assert result.exit_code == 78
    assert would in result.stderr
    assert (w.remote(), w.remote("other"), w.operations()) == ({}, {}, [])
    assert not (w.site.folder / "decisions.txt").exists()


# Names


def test_two_users_who_would_get_the_same_name_both_get_none(world: Build) -> None:
    w = world(doubled("CaselessHook"))
    w.people(["Ada B", "ada_b", "cleo"], "staff")
    result = w.svcctl("sync", "--all")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "lab: Ada B: the name 'Ada_B' would be the same as that of ada_b",
        "hint: give one of them another username, or link the account that is meant",
        "lab: ada_b: the name 'ada_b' would be the same as that of Ada B",
        "hint: give one of them another username, or link the account that is meant",
    ]
    assert w.remote().keys() == {"cleo"}


def test_a_name_that_a_live_account_has_is_refused_also_when_it_is_disabled(world: Build) -> None:
    w = world(doubled("CaselessHook"))
    w.people(["Ada", "cleo"], "staff")
    assert w.svcctl("sync", "--all").exit_code == 0
    w.people(["ada"], "staff")
    for _ in range(2):
        code, report = w.run("sync", "--all")
        assert (code, report["operations"]) == (1, [])
        assert report["problems"][0]["message"] == (
            "the name 'ada' would be the same as that of Ada"
        )
        w.svcctl("accounts", "disable", "Ada")
    assert w.remote().keys() == {"Ada", "cleo"}
    w.svcctl("accounts", "unlink", "Ada", "--service", "lab")
    w.sandbox().drop("Ada")
    assert w.run("sync", "--all")[0] == 0
    assert w.remote().keys() == {"ada", "cleo"}


def test_where_case_counts_two_names_are_two_names(world: Build) -> None:
    w = world(lab())
    w.people(["Ada", "ada"], "staff")
    assert w.run("sync", "--all")[0] == 0
    assert w.remote().keys() == {"Ada", "ada"}


@pytest.mark.parametrize("command", ["sync", "update-groups", "sync-nickname", "validate"])
def test_a_name_that_the_service_refuses_stops_only_its_user(world: Build, command: str) -> None:
    """Also where a shortcut looks at everybody's names before a hook is asked."""
    w = world(doubled("PickyHook"))
    w.people(["ada", "root", "short"], "staff")
    w.svcctl("sync", "--all")
    w.people(["late"], "staff")
    w.site.execute('UPDATE users SET attributes = \'{"character_name":"Ada"}\' WHERE id = 1')
    w.site.execute("INSERT INTO groups (name) VALUES ('x'), ('pilots')")
    for user, group in (("short", "x"), ("ada", "pilots")):
        w.site.execute(
            "INSERT INTO memberships (user_id, group_id, present)"
            " SELECT users.id, groups.id, 1 FROM users, groups"
            " WHERE username = :user AND name = :group",
            user=user,
            group=group,
        )
    code, report = w.run(command, "--all")
    problems = {problem["user"] for problem in report["problems"]}
    done = {(op["user"], op["operation"]) for op in report["operations"]}
    assert (code, problems, done) == {
        "sync": (
            1,
            {"root", "short"},
            {
                ("ada", "change_groups"),
                ("ada", "set_nickname"),
                ("late", "create_account"),
                ("late", "change_groups"),
                ("late", "set_nickname"),
            },
        ),
        "update-groups": (1, {"short"}, {("ada", "change_groups")}),
        "sync-nickname": (0, set(), {("ada", "set_nickname")}),
        "validate": (0, set(), set()),
    }[command]


# Who and what is left alone


def test_a_protected_user_keeps_the_account(world: Build) -> None:
    w = world(lab(more='protected = ["bob"]'), top='protected = ["ada"]\n')
    w.people(["ada", "bob", *names(20)], "staff")
    assert w.run("sync", "--all")[0] == 0
    w.regroup(["ada", "bob", "user00000"], out_of="staff")
    code, report = w.run("validate", "--all")
    assert (code, [op["user"] for op in report["operations"]]) == (0, ["user00000"])
    said = {"service": "lab", "message": "the user is protected here"}
    assert report["notes"] == [{**said, "user": "ada"}, {**said, "user": "bob"}]
    for words, place in (
        (["delete", "ada"], "protected"),
        (["accounts", "disable", "bob"], "services.lab.protected"),
    ):
        result = w.svcctl(*words)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == (
            f"lab: {words[-1]}: not done: the user is protected here\n"
            f"hint: if it is meant, take the name out of {place} in the configuration first\n"
        )
    active = {name for name, status in w.status().items() if status == "active"}
    assert {"ada", "bob"} <= active
    assert w.remote()["ada"].active


def test_a_pinned_account_is_neither_removed_nor_made_but_has_its_groups(world: Build) -> None:
    w = world(lab())
    w.people(names(10), "staff")
    assert w.run("sync", "--all")[0] == 0
    assert w.svcctl("accounts", "hold", "user00000", "--reason", "inquiry").exit_code == 0
    w.regroup(["user00000"], out_of="staff")
    _, report = w.run("sync", "--all")
    assert [(op["user"], op["operation"]) for op in report["operations"]] == [
        # the last mapped group is a loss of its own
        ("user00000", "change_groups")
    ]
    assert w.svcctl("accounts", "hold", "user00000", "--release").exit_code == 0
    w.age("ended_at")
    _, report = w.run("sync", "--all")
    assert [(op["user"], op["operation"]) for op in report["operations"]] == [
        ("user00000", "disable_account")
    ]


def test_who_was_deleted_on_purpose_is_not_made_again(world: Build) -> None:
    w = world(lab(more='removal = "delete"'))
    w.people(["ada", "bob"], "staff")
    assert w.run("sync", "--all")[0] == 0
    assert w.run("delete", "ada")[0] == 0
    assert w.run("sync", "--all")[1]["operations"] == []
    assert w.remote().keys() == {"bob"}
    assert w.run("accounts", "create", "ada")[0] == 0
    assert w.remote().keys() == {"ada", "bob"}
    assert w.accounts()["ada"]["pin"] is None


def test_a_paused_service_is_left_alone_and_the_others_go_on(world: Build) -> None:
    w = world(lab(), lab("other"))
    w.people(["ada"], "staff")
    assert w.svcctl("services", "pause", "lab").exit_code == 0
    code, report = w.run("sync", "--all")
    assert (code, report["problems"]) == (0, [])
    assert report["notes"][0]["message"].startswith("paused since ")
    assert (w.remote().keys(), w.remote("other").keys()) == (set(), {"ada"})
    assert w.svcctl("services", "resume", "lab").exit_code == 0
    assert w.run("sync", "--all")[0] == 0
    assert w.remote().keys() == {"ada"}
