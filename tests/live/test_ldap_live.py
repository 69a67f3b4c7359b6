"""svcctl and two real directories, OpenLDAP and Active Directory, through the front door."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ldap3
import pytest

from svcctl.runs import lane
from tests.live.ldap_servers import PASSWORD, Directory
from tests.support.ldap_proxy import WRITES, LdapProxy, ldap_proxied

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

[services.dir]
hook = "ldap"
server = "{url}"
dialect = "{dialect}"
bind_dn = "{bind}"
bind_password = {{ env = "BIND_PASSWORD" }}
timeout = "5s"
page_size = 4
base = "{people}"
group_base = "{groups}"
create = "auto"
attributes = ["email"]
access.states = ["Member"]
removal = {{ mode = "disable", delete_after = "30d" }}
limits = {{ removals = 3 }}
groups.map = {{ staff = "staff", fc = "commanders" }}
{settings}
"""


@dataclass(frozen=True)
class Club:
    """Nine people, and a directory with a stranger and groups made by hand."""

    site: "Site"
    svcctl: "Svcctl"
    directory: Directory
    proxy: LdapProxy
    stranger: str

    def run(self, *words: str) -> tuple[int, dict[str, Any]]:
        """A command with --json: its exit code and its document."""
        done = self.svcctl(*words, "--json")
        assert done.stdout, done.stderr
        return done.exit_code, json.loads(done.stdout)

    def ok(self, *words: str) -> "Result":
        done = self.svcctl(*words)
        assert done.exit_code == 0, f"{done.stdout}{done.stderr}"
        return done

    def accounts(self) -> dict[str, dict[str, Any]]:
        """What svcctl believes, by name."""
        rows = self.site.rows("SELECT * FROM accounts WHERE service = 'dir' AND uid IS NOT NULL")
        return {row["name"]: row for row in rows}

    def age(self, column: str, table: str = "operations") -> None:
        """As if that had been long ago."""
        self.site.execute(
            f"UPDATE {table} SET {column} = :ago WHERE {column} IS NOT NULL", ago=LONG_AGO
        )

    def groups_of(self, name: str) -> set[str]:
        return {group for group, members in self.directory.members().items() if name in members}

    def agree(self) -> None:
        """What svcctl believes is what the server has, and strangers are as they were."""
        shown, groups = self.directory.accounts(), self.directory.members()
        ours = self.accounts()
        assert shown.keys() - ours.keys() == {"stranger"}
        assert self.directory.search(self.stranger) == self.first[self.stranger]
        assert "stranger" in groups["staff"] & groups["commanders"] & groups["theirs"]
        for name, account in ours.items():
            active = self.directory.active(name)
            assert account["status"] == ("active" if active else "disabled"), name
            assert [account["nickname"]] == shown[name].get("displayName", [""]), name
            assert shown[name]["employeeNumber"] == [f"svcctl:{account['user_id']}"]
            managed = {group for group in ("staff", "commanders") if name in groups[group]}
            assert set(json.loads(account["groups"])) == managed, name
        done = self.svcctl("db", "check")
        assert (done.exit_code, done.stderr) == (0, ""), done.stdout + done.stderr

    @property
    def first(self) -> dict[str, Any]:
        return FIRST

    @contextmanager
    def once(self) -> Iterator[None]:
        """In the block nothing is done twice that was answered."""
        begun = len(self.proxy.log)
        yield
        done = Counter(one.message[8:] for one in self.proxy.log[begun:] if one.acted)
        assert not [one for one, times in done.items() if times > 1]

    @contextmanager
    def no_write(self) -> Iterator[None]:
        """In the block the server is at most read."""
        begun = len(self.proxy.writes)
        yield
        assert not self.proxy.writes[begun:]


FIRST: dict[str, Any] = {}


@pytest.fixture
def proxy(directory: Directory) -> Iterator[LdapProxy]:
    with ldap_proxied(directory.host, directory.port) as proxy:
        yield proxy


@pytest.fixture
def club(
    directory: Directory,
    proxy: LdapProxy,
    site: "Callable[[str], Site]",
    svcctl: "Svcctl",
    monkeypatch: pytest.MonkeyPatch,
) -> Club:
    stranger = directory.add_person("stranger", mail="stranger@example.org")
    for group in ("staff", "commanders", "theirs"):
        directory.add_group(group, stranger)
    FIRST[stranger] = directory.search(stranger)
    one = site(
        CONFIG.format(
            url=proxy.url,
            dialect=directory.dialect,
            bind=directory.bind,
            people=directory.people,
            groups=directory.groups,
            settings="",
        )
    )
    monkeypatch.setenv("BIND_PASSWORD", PASSWORD)
    # Retries that do not wait.
    monkeypatch.setattr(lane, "FIRST_PAUSE", 0.01)
    people = [
        f"{number},{name},{'staff;fc' if number % 3 == 0 else 'staff'},"
        f"{name.title()} Smith,{name}@example.org"
        for number, name in enumerate(NAMES)
    ]
    one.write("people.csv", "\n".join(["id,username,groups,character_name,email", *people, ""]))
    club = Club(one, svcctl, directory, proxy, stranger)
    club.ok("directory", "pull")
    return club


def test_the_whole_way(club: Club) -> None:
    """Link, create, nicknames, groups, lose access, come back, be deleted; strangers stay."""
    c, directory = club, club.directory
    c.ok("services", "check", "dir")
    by_hand = {name: directory.add_person(name) for name in ("ada", "bob")}
    theirs = {dn: directory.search(dn) for dn in by_hand.values()}
    code, report = c.run("sync", "--all")
    failed = {
        one["user"]: one["error"]
        for one in report["operations"]
        if one["operation"] == "create_account" and one["error"]
    }
    assert (code, set(failed)) == (1, {"ada", "bob"})
    assert "has this name already" in failed["ada"]
    assert {dn: directory.search(dn) for dn in by_hand.values()} == theirs, "nobody is taken over"
    for name in by_hand:
        c.ok("accounts", "link", name, "--service", "dir", "--name", name)
    c.age("next_attempt_at")
    c.ok("sync", "--all")
    assert directory.accounts().keys() == {*NAMES, "stranger"}
    assert c.groups_of("ada") == {"staff", "commanders"}
    assert c.groups_of("bob") == {"staff"}
    assert directory.accounts()["cyd"]["displayName"] == ["Cyd Smith"]
    assert directory.accounts()["cyd"]["mail"] == ["cyd@example.org"]
    for name, dn in by_hand.items():
        directory.change(dn, ldap3.MODIFY_REPLACE, "employeeNumber", key_of(c, name))
    c.agree()
    with c.no_write():
        c.ok("sync", "--all")
        c.ok("update-all-groups")

    directory.change(f"cn=theirs,{directory.groups}", ldap3.MODIFY_ADD, "member", by_hand["bob"])
    with c.once():
        c.ok("users", "set", "ada", "character_name=Countess (née Ada), *")
        c.ok("groups", "remove", "fc", "ada")
        c.ok("groups", "add", "fc", "bob")
    assert c.groups_of("ada") == {"staff"}
    assert c.groups_of("bob") == {"staff", "commanders", "theirs"}
    assert directory.accounts()["ada"]["displayName"] == ["Countess (née Ada), *"]
    c.agree()

    c.ok("groups", "remove", "staff", "bob")
    assert not directory.active("bob")
    assert "theirs" in c.groups_of("bob")
    c.agree()
    c.ok("users", "set", "bob", "character_name=Baron", "--no-sync")
    c.ok("groups", "add", "staff", "bob")
    assert directory.active("bob")
    assert c.groups_of("bob") == {"staff", "commanders", "theirs"}
    c.agree()
    c.ok("groups", "remove", "staff", "bob")
    c.age("disabled_at", "accounts")
    c.age("ended_at")
    c.ok("sync", "--all")
    assert "bob" not in directory.accounts()
    assert by_hand["bob"] not in {one for group in directory.members().values() for one in group}
    c.agree()


def key_of(club: Club, name: str) -> str:
    return f"svcctl:{club.accounts()[name]['user_id']}"


def test_a_password_that_was_reset_works_and_a_disabled_account_is_kept_out(club: Club) -> None:
    c = club
    c.ok("sync", "--all")
    code, report = c.run("accounts", "reset-password", "ada", "--service", "dir")
    assert code == 0
    password = report["passwords"][0]["password"]
    assert c.directory.lets_in("ada", password)
    assert not c.directory.lets_in("bob", password)
    c.ok("groups", "remove", "staff", "ada")
    assert not c.directory.lets_in("ada", password)
    c.ok("groups", "add", "staff", "ada")
    assert c.directory.lets_in("ada", password)


def test_somebody_who_was_renamed_or_moved_is_still_the_same(club: Club) -> None:
    c, directory = club, club.directory
    c.ok("sync", "--all")
    dn = directory.accounts()["ada"]["dn"]
    if directory.windows:
        directory.change(dn, ldap3.MODIFY_REPLACE, "sAMAccountName", "lovelace")
    rdn = "CN=Lovelace\\, Ada" if directory.windows else "uid=lovelace"
    below = f"ou=former,{directory.people}"
    directory.write(lambda connection: connection.add(below, ["organizationalUnit"], {}))
    directory.rename(dn, rdn, below=below)
    with c.once():
        c.ok("users", "set", "ada", "character_name=Countess")
        c.ok("groups", "remove", "fc", "ada")
        c.ok("groups", "remove", "staff", "ada")
    found = directory.accounts()["lovelace"]
    assert found["displayName"] == ["Countess"]
    assert not directory.active("lovelace")
    assert "lovelace" not in directory.members()["commanders"]


def test_drift_is_repaired_and_what_is_not_ours_stays(club: Club) -> None:
    c, directory = club, club.directory
    c.ok("sync", "--all")
    dns = {name: one["dn"] for name, one in directory.accounts().items()}
    directory.change(f"cn=staff,{directory.groups}", ldap3.MODIFY_DELETE, "member", dns["ada"])
    directory.change(f"cn=commanders,{directory.groups}", ldap3.MODIFY_ADD, "member", dns["bob"])
    directory.change(f"cn=theirs,{directory.groups}", ldap3.MODIFY_ADD, "member", dns["ada"])
    with c.once():
        c.ok("update-all-groups")
    c.agree()
    groups = directory.members()
    assert groups["staff"] == {"stranger", *NAMES}
    assert groups["commanders"] == {"stranger", *NAMES[::3]}
    assert groups["theirs"] == {"stranger", "ada"}


def test_the_last_member_leaves_and_the_first_one_joins(club: Club) -> None:
    c, directory = club, club.directory
    commanders = f"cn=commanders,{directory.groups}"
    c.ok("sync", "--all")
    directory.change(commanders, ldap3.MODIFY_DELETE, "member", c.stranger)
    for name in NAMES[::3]:
        c.ok("groups", "remove", "fc", name)
    assert directory.members()["commanders"] == (set() if directory.windows else {"cn=nobody"})
    c.ok("groups", "add", "fc", "bob")
    assert "bob" in directory.members()["commanders"]


def test_what_is_planned_or_held_writes_nothing(club: Club) -> None:
    c = club
    with c.no_write():
        assert len(c.run("sync", "--all", "--dry-run")[1]["operations"]) >= len(NAMES)
        assert c.svcctl("plan", "--check").exit_code == 3
        c.ok("plan", "--out", "plan.json")
    c.ok("sync", "--all")
    for name in NAMES[:5]:
        c.ok("groups", "remove", "staff", name, "--no-sync")
    with c.no_write():
        code, held = c.run("sync", "--all")
        assert (code, held["held"][0]["removals"]) == (4, 5)
    assert all(map(c.directory.active, NAMES))
    c.ok("holds", "approve", str(held["run"]), "--yes")
    assert [name for name in NAMES if not c.directory.active(name)] == list(NAMES[:5])
    c.agree()


def test_wrong_credentials_change_nothing_and_are_said(
    club: Club, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = club
    c.ok("sync", "--all")
    before = c.directory.search(c.directory.people)
    c.ok("groups", "remove", "staff", "ada", "--no-sync")
    monkeypatch.setenv("BIND_PASSWORD", "not-the-password")
    for words in (("sync", "--all"), ("services", "check", "dir"), ("update-all-groups",)):
        done = c.svcctl(*words)
        assert done.exit_code in (1, 5), words
        said = done.stdout + done.stderr
        assert "49 invalidCredentials" in said, words
        assert "check bind_dn and bind_password" in said, words
        assert "not-the-password" not in said
    assert c.directory.search(c.directory.people) == before
    monkeypatch.setenv("BIND_PASSWORD", PASSWORD)
    c.ok("retry")
    assert not c.directory.active("ada")


@pytest.mark.parametrize("nth", [2, 5, 9])
def test_killed_in_the_middle_of_a_run_and_back_it_is_finished(club: Club, nth: int) -> None:
    c, directory = club, club.directory
    c.proxy.call(directory.kill, "add", nth=nth)
    try:
        code, report = c.run("sync", "--all")
        assert code == 1
        assert any("connect" in (one["error"] or "") for one in report["operations"])
        assert c.svcctl("sync", "--all").exit_code in (1, 5)
        assert c.svcctl("update-all-groups").exit_code == 5
    finally:
        directory.start_again()
    c.age("next_attempt_at")
    c.ok("sync", "--all")
    c.agree()
    assert directory.members()["staff"] == {"stranger", *NAMES}
    with c.no_write():
        c.ok("sync", "--all")


@pytest.mark.parametrize("kind", ["add", "modify"])
def test_answers_that_are_lost_create_nobody_twice_and_leave_things_right(
    club: Club, kind: str
) -> None:
    c = club
    for nth in (2, 3, 7):
        c.proxy.lose(kind, nth=nth)
    c.ok("sync", "--all")
    c.agree()
    assert c.directory.accounts().keys() == {*NAMES, "stranger"}
    c.proxy.lose(kind)
    c.ok("groups", "remove", "staff", "bob")
    c.proxy.lose("delete")
    c.age("disabled_at", "accounts")
    c.age("ended_at")
    c.ok("sync", "--all")
    assert "bob" not in c.directory.accounts()
    c.agree()


def test_cut_off_in_the_middle_of_a_run_the_next_one_finishes(club: Club) -> None:
    c = club
    c.proxy.cut_at(*WRITES, nth=8)
    code, report = c.run("sync", "--all")
    assert code == 1
    assert [one for one in report["operations"] if one["error"]]
    c.proxy.reset()
    c.age("next_attempt_at")
    c.ok("sync", "--all")
    c.agree()


@pytest.mark.parametrize(
    ("code", "words"), [(4, "sizeLimit"), (11, "adminLimit"), (3, "timeLimit")]
)
def test_a_listing_that_a_limit_ends_changes_nobody(club: Club, code: int, words: str) -> None:
    c = club
    c.ok("sync", "--all")
    dn = c.directory.accounts()["ada"]["dn"]
    staff = f"cn=staff,{c.directory.groups}"
    c.directory.change(staff, ldap3.MODIFY_DELETE, "member", dn)
    for nth in (1, 2, 3):
        c.proxy.answer(code, "search", nth=nth)
        with c.no_write():
            done = c.svcctl("update-all-groups")
        assert done.exit_code == 5
        assert words in done.stderr
        c.proxy.reset()


def test_a_server_that_is_busy_is_waited_for(club: Club) -> None:
    c = club
    for nth in (1, 5):
        c.proxy.answer(51, "add", nth=nth)
        c.proxy.answer(52, "modify", nth=nth)
    c.ok("sync", "--all")
    c.agree()


def test_a_run_is_undone_and_what_others_did_meanwhile_stays(club: Club) -> None:
    c, directory = club, club.directory
    c.ok("sync", "--all")
    before = {name: c.groups_of(name) for name in NAMES}
    c.ok("groups", "remove", "staff", "ada", "--no-sync")
    c.ok("groups", "add", "fc", "bob", "cyd", "--no-sync")
    c.ok("users", "set", "eve", "character_name=Baroness", "--no-sync")
    code, report = c.run("sync", "--all")
    assert code == 0
    run = str(report["run"])
    # Somebody puts bob into a group of theirs, and takes cyd out of one of ours.
    bob = next(one for one in directory.search(directory.people) if "bob" in one.lower())
    cyd = next(one for one in directory.search(directory.people) if "cyd" in one.lower())
    directory.change(f"cn=theirs,{directory.groups}", ldap3.MODIFY_ADD, "member", bob)
    directory.change(f"cn=commanders,{directory.groups}", ldap3.MODIFY_DELETE, "member", cyd)

    with c.no_write():
        assert c.run("undo", run, "--dry-run")[0] == 1
    undone = c.svcctl("undo", run)
    assert undone.exit_code == 1
    assert "dir: cyd: cannot undo: the service shows that it is in commanders no more" in (
        undone.stderr
    )
    assert directory.active("ada")
    assert directory.accounts()["eve"]["displayName"] == ["Eve Smith"]
    assert {name: c.groups_of(name) for name in NAMES} == {
        **before,
        "bob": before["bob"] | {"theirs"},
    }
    with c.no_write():
        c.ok("sync", "--all")
        c.ok("validate", "--all")
