"""svcctl and three real SCIM servers, through the front door."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from svcctl.http import client as http
from svcctl.runs import lane
from tests.live.scim_servers import Idp
from tests.support import limits
from tests.support.limits import FixedWindow, RateLimited, Said, TokenBucket

if TYPE_CHECKING:
    from tests.conftest import Result, Site, Svcctl

pytestmark = pytest.mark.live

LONG_AGO = "2020-01-01T00:00:00Z"
NAMES = ("ada", "bob", "cyd", "dan", "eve", "fay", "gus", "hal", "ivy")
CONFIG = """
default_name_format = "{{character_name}}"

[directory.sources.people]
type = "csv"
path = "people.csv"

[states.Member]
priority = 100
groups = ["staff"]

[services.idp]
hook = "scim"
base_url = "{base}"
token = {{ env = "SCIM_TOKEN" }}
create = "auto"
attributes = ["email"]
access.states = ["Member"]
removal = {{ mode = "disable", delete_after = "30d" }}
limits = {{ removals = 3 }}
groups.map = {{ staff = "staff", fc = "commanders" }}
{nicknames}
{settings}
"""


@dataclass(frozen=True)
class Club:
    """Nine people in the directory, and a SCIM server with a stranger and groups made by hand."""

    site: "Site"
    svcctl: "Svcctl"
    idp: Idp

    def run(self, *words: str) -> tuple[int, dict[str, Any]]:
        """A command with --json: its exit code and its document."""
        done = self.svcctl(*words, "--json")
        assert done.stdout, done.stderr
        return done.exit_code, json.loads(done.stdout)

    def ok(self, *words: str) -> "Result":
        done = self.svcctl(*words)
        log = "\n".join(str(one) for one in self.idp.proxy.log[-100:])
        assert done.exit_code == 0, f"{done.stdout}{done.stderr}\n{log}"
        return done

    def accounts(self) -> dict[str, dict[str, Any]]:
        """What svcctl believes, by userName."""
        rows = self.site.rows("SELECT * FROM accounts WHERE service = 'idp' AND uid IS NOT NULL")
        return {row["name"]: row for row in rows}

    def age(self, column: str, table: str = "operations") -> None:
        """As if that had been long ago."""
        self.site.execute(
            f"UPDATE {table} SET {column} = :ago WHERE {column} IS NOT NULL", ago=LONG_AGO
        )

    def named(self, name: str, nickname: str) -> bool:
        """Whether the server shows the nickname, where it can be told one."""
        return not self.idp.names or self.idp.remote.user(name)["displayName"] == nickname

    def agree(self) -> None:
        """What svcctl believes is what the server shows, and strangers are as they were."""
        remote, groups = self.idp.remote.users(), self.idp.remote.groups()
        ours = self.accounts()
        assert remote.keys() - ours.keys() == {"stranger"}
        assert "stranger" in groups["staff"] & groups["commanders"] & groups["theirs"]
        for name, account in ours.items():
            there = remote[name]
            assert account["status"] == ("active" if there["active"] else "disabled"), name
            if account["nickname"]:
                assert account["nickname"] == there["displayName"]
            managed = {group for group in ("staff", "commanders") if name in groups[group]}
            assert set(json.loads(account["groups"])) == managed, name
        done = self.svcctl("db", "check")
        assert (done.exit_code, done.stderr) == (0, ""), done.stdout + done.stderr

    @contextmanager
    def once(self) -> Iterator[None]:
        """In the block nothing is done again that was answered; and nobody is ever created twice.

        What got no answer may be repeated, except a create.
        """
        begun = len(self.idp.proxy.log)
        yield
        log = self.idp.proxy.log
        done = Counter(
            (one.method, one.path, one.body) for one in log[begun:] if one.acted and one.told
        )
        assert not [one for one, times in done.items() if times > 1]
        created = Counter(
            one.json["userName"]
            for one in log
            if one.acted and one.method == "POST" and one.path.endswith("/Users")
        )
        assert set(created.values()) <= {1}, created

    @contextmanager
    def no_write(self) -> Iterator[None]:
        """In the block the server is at most read."""
        begun = len(self.idp.proxy.writes)
        yield
        assert not self.idp.proxy.writes[begun:]


@pytest.fixture
def club(
    idp: Idp,
    site: "Callable[[str], Site]",
    svcctl: "Svcctl",
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Club]:
    """`club(names=…)`: nicknames are kept in step where the server lets us, or as is said."""

    def build(*, names: bool = idp.names) -> Club:
        idp.remote.create_user("stranger")
        for group in ("staff", "commanders", "theirs"):
            idp.remote.create_group(group, "stranger")
        nicknames = "" if names else 'nickname_path = ""'
        one = site(CONFIG.format(base=idp.base, nicknames=nicknames, settings=idp.settings))
        monkeypatch.setenv("SCIM_TOKEN", idp.token)
        # Retries that do not wait.
        monkeypatch.setattr(lane, "FIRST_PAUSE", 0.01)
        monkeypatch.setattr(http, "FIRST_PAUSE", 0.01)
        people = [
            f"{number},{name},{'staff;fc' if number % 3 == 0 else 'staff'},"
            f"{name.title()} Smith,{name}@example.org"
            for number, name in enumerate(NAMES)
        ]
        one.write("people.csv", "\n".join(["id,username,groups,character_name,email", *people, ""]))
        club = Club(one, svcctl, idp)
        club.ok("directory", "pull")
        return club

    return build


# The servers themselves


@pytest.mark.parametrize("time", ["first", "second"])
def test_the_server_works_and_is_empty_for_each_test(idp: Idp, time: str) -> None:
    assert (idp.remote.users(), idp.remote.groups()) == ({}, {})
    for name in ("ada", "bob", "cyd"):
        idp.remote.create_user(name)
    idp.remote.create_group("staff", "ada", "bob")
    idp.remote.set_members("staff", "bob", "cyd")
    assert idp.remote.groups() == {"staff": {"bob", "cyd"}}
    assert idp.remote.user("ada")["active"]
    assert not idp.proxy.log


# The life of accounts


def test_accounts_come_change_go_and_come_back(club: Callable[..., Club]) -> None:
    c = club()
    remote = c.idp.remote
    with c.once():
        c.ok("sync", "--all")
        c.agree()
        assert remote.users().keys() == {*NAMES, "stranger"}
        assert remote.groups_of("ada") == {"staff", "commanders"}
        assert remote.groups_of("bob") == {"staff"}
        assert c.named("ada", "Ada Smith")
    with c.no_write():
        c.ok("sync", "--all")
    remote.set_members("theirs", "stranger", "ada", "bob")
    with c.once():
        c.ok("users", "set", "ada", "character_name=Countess")
        c.ok("groups", "remove", "fc", "ada")
        c.ok("groups", "add", "fc", "bob")
        c.agree()
        assert c.named("ada", "Countess")
        assert remote.groups_of("ada") == {"staff", "theirs"}
        assert remote.groups_of("bob") == {"staff", "commanders", "theirs"}
    before = remote.user("bob")["id"]
    with c.once():
        c.ok("groups", "remove", "staff", "bob")
        assert not remote.user("bob")["active"]
        assert "theirs" in remote.groups_of("bob")
        c.agree()
    with c.once():
        c.ok("users", "set", "bob", "character_name=Baron", "--no-sync")
        c.ok("groups", "add", "staff", "bob")
        assert (remote.user("bob")["active"], remote.user("bob")["id"]) == (True, before)
        assert remote.groups_of("bob") == {"staff", "commanders", "theirs"}
        assert c.named("bob", "Baron")
        c.agree()
    with c.once():
        c.ok("groups", "remove", "staff", "bob")
        c.age("disabled_at", "accounts")
        c.age("ended_at")
        c.ok("sync", "--all")
        assert "bob" not in remote.users()
        assert "bob" not in c.accounts()
        c.agree()


def test_drift_is_repaired_and_what_is_not_ours_stays(club: Callable[..., Club]) -> None:
    c = club()
    remote = c.idp.remote
    c.ok("sync", "--all")
    remote.set_members("staff", "stranger", *NAMES[1:])
    remote.set_members("commanders", "stranger", "bob", *NAMES[::3])
    remote.set_members("theirs", "stranger", "ada")
    with c.once():
        c.ok("update-all-groups")
    c.agree()
    groups = remote.groups()
    assert groups["staff"] == {"stranger", *NAMES}
    assert groups["commanders"] == {"stranger", *NAMES[::3]}
    assert groups["theirs"] == {"stranger", "ada"}
    with c.no_write():
        c.ok("update-all-groups")


def test_what_is_planned_or_held_writes_nothing(club: Callable[..., Club]) -> None:
    c = club()
    with c.no_write():
        assert len(c.run("sync", "--all", "--dry-run")[1]["operations"]) >= len(NAMES)
        c.ok("plan")
        assert c.svcctl("plan", "--check").exit_code == 3
    c.ok("sync", "--all")
    for name in NAMES[:5]:
        c.ok("groups", "remove", "staff", name, "--no-sync")
    with c.no_write():
        code, held = c.run("sync", "--all")
        assert (code, held["held"][0]["removals"]) == (4, 5)
        c.ok("update-all-groups", "--dry-run")
    assert all(one["active"] for one in c.idp.remote.users().values())
    with c.once():
        c.ok("holds", "approve", str(held["run"]), "--yes")
    disabled = {name for name, one in c.idp.remote.users().items() if not one["active"]}
    assert disabled == set(NAMES[:5])
    c.agree()


@pytest.mark.parametrize("running_idp", ["django-scim2"], indirect=True)
def test_a_nickname_that_a_server_cannot_keep_is_said_and_the_rest_is_done(
    club: Callable[..., Club],
) -> None:
    c = club(names=True)
    code, report = c.run("sync", "--all")
    assert code == 1
    failed = {one["user"]: one["error"] for one in report["operations"] if one["error"]}
    assert failed.keys() == set(NAMES)
    assert "displayName of user" in failed["ada"]
    assert "the service said yes and did not change it" in failed["ada"]
    assert "set nickname_path" in c.svcctl("sync", "ada").stderr
    c.agree()


def test_a_plan_is_applied_as_it_is_or_not_at_all(club: Callable[..., Club]) -> None:
    c = club()
    c.ok("sync", "--all")
    c.ok("groups", "add", "fc", "bob", "--no-sync")
    c.ok("plan", "--out", "plan.json")
    c.idp.remote.set_active("bob", active=False)
    with c.no_write():
        done = c.svcctl("apply", "plan.json", "--yes")
        assert done.exit_code == 1
        assert "idp: bob: " in done.stderr
        assert "nothing was done: the world is not as the plan says" in done.stderr
    c.idp.remote.set_active("bob", active=True)
    with c.once():
        c.ok("apply", "plan.json")
    assert "commanders" in c.idp.remote.groups_of("bob")
    c.agree()
    with c.no_write():
        assert c.svcctl("apply", "plan.json", "--yes").exit_code == 1


# A network that fails


@pytest.mark.parametrize("what", ["/Users", "/Groups"])
def test_cut_off_in_the_middle_of_a_run_the_next_one_finishes(
    club: Callable[..., Club], what: str
) -> None:
    c = club()
    c.idp.proxy.cut_at("POST|PUT|PATCH", what, nth=4)
    with c.once():
        code, report = c.run("sync", "--all")
        assert code == 1
        failed = [one for one in report["operations"] if one["status"] != "done"]
        assert any("connect" in (one["error"] or "").lower() for one in failed), failed
        done = c.svcctl("sync", "--all")
        assert "Traceback" not in done.stderr
        c.idp.proxy.restore()
        c.age("next_attempt_at")
        c.ok("sync", "--all")
    c.agree()
    assert c.idp.remote.groups()["staff"] == {"stranger", *NAMES}
    with c.no_write():
        c.ok("sync", "--all")


def test_an_answer_that_is_lost_creates_nobody_twice(club: Callable[..., Club]) -> None:
    c = club()
    c.idp.proxy.lose("POST", "/Users$", nth=3)
    with c.once():
        c.ok("sync", "--all")
    c.agree()
    assert c.idp.remote.users().keys() == {*NAMES, "stranger"}


def test_lost_with_the_connection_it_is_found_by_the_next_run(club: Callable[..., Club]) -> None:
    c = club()
    c.idp.proxy.lose_and_cut("POST", "/Users$", nth=3)
    with c.once():
        code, report = c.run("sync", "--all")
        assert code == 1
        assert "unknown" in {one["status"] for one in report["operations"]}
        c.idp.proxy.restore()
        c.age("next_attempt_at")
        c.ok("sync", "--all")
    c.agree()
    assert c.idp.remote.users().keys() == {*NAMES, "stranger"}


def test_lost_answers_to_other_changes_leave_things_right(club: Callable[..., Club]) -> None:
    c = club()
    c.ok("sync", "--all")
    c.idp.proxy.lose("PUT|PATCH", "/Users/")
    c.idp.proxy.lose("PUT|PATCH", "/Groups/")
    c.ok("users", "set", "ada", "character_name=Countess")
    c.ok("groups", "add", "fc", "bob")
    c.agree()
    assert c.named("ada", "Countess")
    assert "commanders" in c.idp.remote.groups_of("bob")
    c.idp.proxy.lose("PUT|PATCH", "/Users/")
    c.ok("groups", "remove", "staff", "bob")
    assert not c.idp.remote.user("bob")["active"]
    c.idp.proxy.lose("DELETE", "/Users/")
    c.age("disabled_at", "accounts")
    c.age("ended_at")
    c.ok("sync", "--all")
    assert "bob" not in c.idp.remote.users()
    c.agree()


@pytest.mark.parametrize("running_idp", ["scim2-server"], indirect=True)
@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (FixedWindow(20, per=0.5), limits.seconds),
        (FixedWindow(20, per=0.5), limits.date),
        (TokenBucket(20, per=0.05), limits.x_ratelimit),
        (TokenBucket(20, per=0.05), limits.nothing),
    ],
    ids=lambda each: getattr(each, "__name__", type(each).__name__),
)
def test_a_rate_limit_makes_a_run_slow_and_no_more_than_that(
    club: Callable[..., Club],
    limit: limits.Limit,
    said: Said,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    c = club()
    monkeypatch.setattr(lane, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.1)
    c.idp.proxy.limit = RateLimited(limit, said)
    with c.once():
        c.ok("sync", "--all")
    refused = [one for one in c.idp.proxy.log if one.told == 429]
    assert 0 < len(refused) < len(c.idp.proxy.log) / 3
    c.idp.proxy.limit = None
    c.agree()
