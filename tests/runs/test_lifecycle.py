"""Access that comes and goes, through the commands that an operator types."""

from collections.abc import Callable
from typing import Any

import pytest
from engine_world import MOMENT, STATES, World, lab, names  # type: ignore[import-not-found]

Build = Callable[..., World]
REMOVAL = 'removal = { mode = "disable", delete_after = "30d" }'
GRACE = f'{REMOVAL}\nname_format = "[{{corp_ticker}}] {{username}}"'


@pytest.fixture
def staffed(world: Build) -> Callable[..., World]:
    """`staffed(more)`: ada and twenty others with accounts on lab."""

    def people(w: World) -> None:
        w.people(["ada"], "staff", "pilots", attributes={"corp_ticker": "GEAR"})
        w.people(names(20), "staff")
        assert w.run("sync", "--all")[0] == 0

    def build(more: str = "", states: str = STATES) -> World:
        return world(lab(more=more), states=states, people=people)

    return build


def row(w: World, name: str = "ada") -> dict[str, Any]:
    found: dict[str, Any] = w.accounts()[name]
    return found


def test_access_lost_is_disabled_and_grace_over_is_deleted(staffed: Callable[..., World]) -> None:
    w = staffed(GRACE)
    uid = w.remote()["ada"].uid
    assert w.svcctl("groups", "remove", "staff", "ada").exit_code == 0
    ada = w.remote()["ada"]
    assert (ada.uid, ada.active) == (uid, False)
    assert row(w)["disabled_at"] is not None
    assert w.run("sync", "--all")[1]["operations"] == []
    w.site.execute("UPDATE accounts SET disabled_at = :then WHERE name = 'ada'", then=MOMENT)
    w.age("ended_at")
    code, report = w.run("sync", "--all")
    assert (code, [op["reason"] for op in report["operations"]]) == (
        0,
        [f"disabled since {MOMENT}, grace is over"],
    )
    assert "ada" not in w.remote()
    assert (row(w)["status"], row(w)["uid"], row(w)["groups"]) == ("absent", None, "[]")
    # Back again: a new account.
    w.svcctl("groups", "add", "staff", "ada")
    assert w.run("sync", "--all")[0] == 0
    assert w.remote()["ada"].active
    assert w.remote()["ada"].uid != uid
    w.sound(aged=True)


def test_back_in_time_is_restored_with_groups_and_nickname(staffed: Callable[..., World]) -> None:
    w = staffed(GRACE)
    uid = w.remote()["ada"].uid
    assert w.svcctl("users", "set", "ada", "--inactive").exit_code == 0
    assert not w.remote()["ada"].active
    # Meanwhile things change; a disabled account is left as it is.
    w.svcctl("groups", "add", "fc", "ada")
    w.svcctl("groups", "remove", "pilots", "ada")
    w.svcctl("users", "set", "ada", "corp_ticker=INK")
    assert w.remote()["ada"].nickname == "[GEAR] ada"
    code, report = w.run("users", "set", "ada", "--active")
    assert (code, [op["operation"] for op in report["operations"]]) == (
        0,
        ["enable_account", "change_groups", "set_nickname"],
    )
    ada = w.remote()["ada"]
    assert (ada.uid, ada.active, ada.groups, ada.nickname) == (
        uid,
        True,
        {"staff", "fc"},
        "[INK] ada",
    )
    assert row(w)["disabled_at"] is None


def test_with_mode_delete_the_account_goes_at_once(staffed: Callable[..., World]) -> None:
    w = staffed('removal = "delete"')
    assert w.svcctl("groups", "remove", "staff", "ada").exit_code == 0
    assert "ada" not in w.remote()
    assert row(w)["status"] == "absent"


def test_a_service_that_learns_to_delete_deletes_what_it_had_disabled(
    staffed: Callable[..., World],
) -> None:
    w = staffed(GRACE)
    w.svcctl("groups", "remove", "staff", "ada")
    w.site.configure(
        (w.site.folder / "svcctl.toml").read_text().replace(REMOVAL, 'removal = "delete"')
    )
    w.age("ended_at")
    assert w.run("validate", "--all")[0] == 0
    assert "ada" not in w.remote()


# Alliance Auth's cases 17 to 20


def test_case_17_losing_the_last_membership_loses_state_and_account(
    staffed: Callable[..., World],
) -> None:
    w = staffed()
    result = w.svcctl("groups", "remove", "staff", "ada")
    assert "Member -> Guest" in result.stdout
    assert not w.remote()["ada"].active


def test_case_18_leaving_the_only_group_that_grants_access(world: Build) -> None:
    w = world(lab().replace('access.states = ["Member"]', 'access.groups = ["pilots"]'))
    w.people(["ada", "bob"], "staff", "pilots")
    w.people(names(20), "pilots")
    assert w.run("sync", "--all")[0] == 0
    assert w.svcctl("groups", "remove", "pilots", "ada").exit_code == 0
    assert not w.remote()["ada"].active
    # Two ways in, one is enough.
    assert w.remote()["bob"].active


def test_case_18_an_access_list_that_was_cleared_is_a_mistake_until_somebody_says_otherwise(
    staffed: Callable[..., World],
) -> None:
    w = staffed()
    w.site.configure((w.site.folder / "svcctl.toml").read_text().replace('["Member"]', "[]", 1))
    code, report = w.run("validate", "--all")
    assert (code, report["held"][0]["removals"]) == (4, 21)
    assert all(account.active for account in w.remote().values())
    run = report["run"]
    assert w.run("holds", "approve", str(run))[0] == 0
    assert not any(account.active for account in w.remote().values())


def test_case_19_losing_the_main_character_that_made_the_state(world: Build) -> None:
    states = '[states.Member]\npriority = 100\nattributes.corp_ticker = ["GEAR"]\n'
    w = world(lab(), states=states)
    w.people(names(20), attributes={"corp_ticker": "GEAR"})
    w.svcctl("users", "add", "ada", "corp_ticker=GEAR")
    assert w.run("sync", "--all")[0] == 0
    assert w.remote()["ada"].active
    assert w.svcctl("users", "set", "ada", "--unset", "corp_ticker").exit_code == 0
    assert not w.remote()["ada"].active


def test_case_20_deleting_the_group_that_grants_access(world: Build) -> None:
    """Alliance Auth keeps the account there; here everybody who was in it is looked at."""
    w = world(lab().replace('access.states = ["Member"]', 'access.groups = ["pilots", "staff"]'))
    w.people(names(20), "staff")
    w.people(["ada", "bob"], "pilots")
    assert w.run("sync", "--all")[0] == 0
    assert w.svcctl("groups", "delete", "pilots").exit_code == 0
    assert {name for name, account in w.remote().items() if not account.active} == {"ada", "bob"}


@pytest.mark.parametrize(
    "words", [("users", "set", "ada", "--inactive"), ("users", "remove", "ada")]
)
@pytest.mark.parametrize("access", ['groups = ["staff"]', 'users = ["ada"]', 'states = ["Guest"]'])
def test_case_20_a_user_set_inactive_or_removed(
    staffed: Callable[..., World], words: tuple[str, ...], access: str
) -> None:
    """Whatever else would grant access, also the state that inactive users have."""
    w = staffed()
    w.site.configure(
        (w.site.folder / "svcctl.toml").read_text().replace('states = ["Member"]', access)
    )
    assert w.svcctl(*words).exit_code == 0
    assert not w.remote()["ada"].active


def test_case_20_what_no_command_saw_is_seen_by_the_next_validate(
    staffed: Callable[..., World],
) -> None:
    w = staffed()
    assert w.svcctl("users", "set", "ada", "--inactive", "--no-sync").exit_code == 0
    assert w.remote()["ada"].active
    assert w.run("validate", "--all")[0] == 0
    assert not w.remote()["ada"].active


def test_superusers_have_no_accounts_by_that_alone(staffed: Callable[..., World]) -> None:
    w = staffed()
    w.people(["root"], superuser=True)
    assert w.run("sync", "--all")[1]["operations"] == []
    assert w.svcctl("users", "set", "ada", "--superuser").exit_code == 0
    assert w.svcctl("groups", "remove", "staff", "ada").exit_code == 0
    assert not w.remote()["ada"].active


def test_disabled_by_an_operator_stays_disabled_until_an_operator_enables(
    staffed: Callable[..., World],
) -> None:
    w = staffed(GRACE)
    assert w.run("accounts", "disable", "ada")[0] == 0
    assert w.run("sync", "--all")[1]["operations"] == []
    assert not w.remote()["ada"].active
    assert w.run("accounts", "enable", "ada")[0] == 0
    assert (w.remote()["ada"].active, row(w)["pin"]) == (True, None)


def test_losing_access_is_told_and_an_operators_delete_only_on_request(
    staffed: Callable[..., World],
) -> None:
    w = staffed()
    w.svcctl("groups", "remove", "staff", "ada")
    assert w.run("delete", "user00000")[0] == 0
    assert w.run("delete", "user00001", "--notify")[0] == 0
    told = w.rows("SELECT username, title FROM notifications JOIN users ON users.id = user_id")
    assert told == [
        {"username": "ada", "title": "Your Lab account was disabled"},
        {"username": "user00001", "title": "Your Lab account was disabled"},
    ]
