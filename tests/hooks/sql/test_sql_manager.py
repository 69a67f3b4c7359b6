"""The sql service on SQLite: each verb is one transaction, and what it did is looked at in it."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import bcrypt
import pytest

from svcctl.errors import Conflict, Denied, Incomplete, Invalid, NotFound, Transient
from svcctl.hooks.manager import Created, GroupChange, NewAccount, capabilities
from svcctl.model import Verb
from tests.hooks.sql.conftest import CONFIG, TABLES, Built, Configured, Forum

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl

ADA = NewAccount("ada", "svcctl:7", "a-new-password", {"email": "ada@example.org"})
NONE = frozenset[str]()


def lets_in(forum: Forum, name: str, password: str) -> bool:
    (stored,) = forum.rows(f"SELECT hash FROM members WHERE name = '{name}'")
    assert stored[0].startswith("$2y$04$")
    return bcrypt.checkpw(password.encode(), stored[0].encode())


def test_an_account_is_made_found_changed_and_deleted(forum: Forum, built: Built) -> None:
    manager = built()
    manager.check()
    assert manager.create_account(ADA) == Created("2", "ada")
    assert lets_in(forum, "ada", "a-new-password")
    shown = manager.get_account("2")
    assert (shown.active, shown.external_id, shown.nickname) == (True, "svcctl:7", "")
    assert (shown.attributes, shown.groups) == ({"email": "ada@example.org"}, NONE)
    by_key = manager.find_account("svcctl:7", "nobody")
    by_name = manager.find_account("svcctl:0", "ADA")
    assert by_key is not None
    assert by_name is not None
    assert by_key.uid == by_name.uid == "2"
    assert manager.find_account("svcctl:0", "nobody") is None
    manager.set_nickname("2", "Countess")
    manager.set_password("2", "another-password")
    assert lets_in(forum, "ada", "another-password")
    manager.disable_account("2")
    assert not manager.get_account("2").active
    manager.enable_account("2")
    assert manager.get_account("2").active
    manager.delete_account("2")
    with pytest.raises(NotFound, match="no account 2"):
        manager.delete_account("2")


def test_groups_change_exactly_as_named(forum: Forum, built: Built) -> None:
    manager = built()
    manager.create_account(ADA)
    forum.run("INSERT INTO memberships VALUES (2, 'theirs'), (1, 'staff')")
    both = frozenset({"staff", "commanders"})
    assert manager.change_groups("2", both, frozenset({"none"})) == GroupChange(both, NONE)
    assert manager.change_groups("2", both, NONE) == GroupChange()
    with pytest.raises(Invalid, match="no group 'nobodies'"):
        manager.change_groups("2", frozenset({"nobodies"}), both)
    listed = {account.uid: account.groups for account in manager.list_accounts()}
    assert listed == {"1": frozenset({"staff"}), "2": both | {"theirs"}}
    assert manager.list_groups() == ["commanders", "staff", "theirs"]


def test_a_taken_name_or_address_is_a_conflict_and_nothing_is_kept(
    forum: Forum, built: Built
) -> None:
    manager = built()
    manager.create_account(ADA)
    before = forum.rows("SELECT * FROM members")
    with pytest.raises(Conflict, match="'ada' \\(uid 2\\) exists already"):
        manager.create_account(NewAccount("Ada", "svcctl:8", "pw"))
    with pytest.raises(Conflict, match=r"UNIQUE constraint failed: members\.mail"):
        manager.create_account(NewAccount("bob", "svcctl:8", "pw", ADA.attributes))
    assert forum.rows("SELECT * FROM members") == before


def test_a_name_that_the_database_changes_is_not_kept(forum: Forum, built: Built) -> None:
    manager = built(("VALUES (:name,", "VALUES (substr(:name, 1, 2),"))
    with pytest.raises(Conflict, match="made no account called 'ada', but 'ad'"):
        manager.create_account(ADA)
    assert len(forum.rows("SELECT * FROM members")) == 1


IDLE: dict[str, tuple[tuple[str, str], Callable[[Any], Any]]] = {
    "disable": (("SET banned = 1", "SET banned = banned"), lambda m: m.disable_account("2")),
    "nickname": (("shown = :nickname", "shown = 'x'"), lambda m: m.set_nickname("2", "Countess")),
    "delete": (
        ("DELETE FROM members WHERE id = :uid", "DELETE FROM members WHERE id = -:uid"),
        lambda m: m.delete_account("2"),
    ),
    "groups": (
        ("VALUES (:uid, :group)", "VALUES (:uid, 'theirs')"),
        lambda m: m.change_groups("2", frozenset({"staff"}), NONE),
    ),
}


@pytest.mark.parametrize(("edit", "change"), IDLE.values(), ids=IDLE)
def test_statements_that_do_something_else_are_taken_back(
    forum: Forum, built: Built, edit: tuple[str, str], change: Callable[[Any], Any]
) -> None:
    manager = built(edit)
    manager.create_account(ADA)
    forum.run("INSERT INTO memberships VALUES (2, 'commanders')")
    before = [forum.rows(f"SELECT * FROM {table}") for table in ("members", "memberships")]
    with pytest.raises(Invalid) as caught:
        change(manager)
    assert "nothing was kept" in str(caught.value.hint)
    after = [forum.rows(f"SELECT * FROM {table}") for table in ("members", "memberships")]
    assert after == before


def test_a_wrong_number_of_rows_takes_everything_back(forum: Forum, built: Built) -> None:
    manager = built(('WHERE id = :uid", rows = 1', 'WHERE id >= :uid OR 1", rows = 1'))
    manager.create_account(ADA)
    with pytest.raises(Invalid, match=r"disable_account\[0\]: changed 2 rows, not 1"):
        manager.disable_account("2")
    assert forum.rows("SELECT sum(banned) FROM members") == [(0,)]


def test_an_error_in_a_later_statement_takes_back_the_first(forum: Forum, built: Built) -> None:
    manager = built(("DELETE FROM sessions WHERE", "DELETE FROM session WHERE"))
    manager.create_account(ADA)
    with pytest.raises(Invalid, match=r"disable_account\[1\]: no such table: session"):
        manager.disable_account("2")
    assert manager.get_account("2").active


def test_values_are_never_part_of_a_statement(forum: Forum, built: Built) -> None:
    manager = built()
    name = "a'); DROP TABLE members; --%s:uid"
    assert manager.create_account(NewAccount(name, "svcctl:9", "pw")).name == name
    assert manager.find_account("", name) is not None
    with pytest.raises(NotFound):
        manager.get_account("2 OR 1=1")


def test_a_password_that_the_hash_cannot_take_is_refused_and_not_shown(built: Built) -> None:
    with pytest.raises(Invalid, match="bcrypt cannot take it") as caught:
        built().create_account(NewAccount("ada", "svcctl:7", "x\0hush"))
    assert "hush" not in str(caught.value)


def test_a_name_may_be_hashed_with_the_password(forum: Forum, built: Built) -> None:
    """As SMF wants it."""
    manager = built(("rounds = 4 } }", 'rounds = 4 }, before = "lower_name" }'))
    manager.create_account(NewAccount("Ada", "svcctl:7", "a-new-password"))
    assert lets_in(forum, "Ada", "adaa-new-password")
    manager.set_password("2", "another-password")
    assert lets_in(forum, "Ada", "adaanother-password")


READS = {
    "no uid": (
        ("SELECT id AS uid, name, NOT banned AS active FROM", "SELECT id, name FROM"),
        "columns",
    ),
    "a null name": (
        ("id AS uid, name, NOT banned AS active FROM", "id AS uid, NULL AS name FROM"),
        "name of 1",
    ),
    "a word": (("NOT banned AS active FROM", "'yes' AS active FROM"), "neither true nor false"),
}


@pytest.mark.parametrize(("edit", "said"), READS.values(), ids=READS)
def test_rows_that_do_not_say_what_counts_are_no_answer(
    built: Built, edit: tuple[str, str], said: str
) -> None:
    with pytest.raises(Incomplete, match=said):
        built(edit).find_account("", "admin")


def test_a_query_that_gives_another_account_or_two_is_no_answer(forum: Forum, built: Built) -> None:
    manager = built(("FROM members WHERE id = :uid", "FROM members WHERE 1 OR :uid"))
    with pytest.raises(Incomplete, match="asked for 9, gives 1 rows, of 1"):
        manager.get_account("9")
    forum.run("INSERT INTO members (name, hash) VALUES ('bob', 'x')")
    with pytest.raises(Incomplete, match="gives 2 rows"):
        manager.disable_account("1")


def test_a_list_that_gives_somebody_twice_is_no_list(forum: Forum, built: Built) -> None:
    forum.run("INSERT INTO sessions VALUES (1), (1)")
    manager = built(("FROM members ORDER BY id", "FROM members, sessions ORDER BY id"))
    with pytest.raises(Incomplete, match="gives uid 1 twice"):
        list(manager.list_accounts())


def test_a_database_that_is_busy_or_not_there_says_nothing_about_accounts(
    forum: Forum, built: Built
) -> None:
    manager = built(
        ('database = "sqlite:///forum.db"', 'database = "sqlite:///forum.db"\ntimeout = "0s"')
    )
    with closing(sqlite3.connect(forum.path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Transient, match="locked"):
            manager.disable_account("1")
        with pytest.raises(Transient, match="locked"):
            manager.get_account("1")
    manager.close()
    forum.path.unlink()
    with pytest.raises(Invalid, match="unable to open"):
        manager.get_account("1")
    forum.path.write_text("this is no database, and it is long enough to be sure of that" * 20)
    with pytest.raises(Invalid, match="not a database"):
        manager.get_account("1")


def test_a_database_that_may_only_be_read_is_denied(forum: Forum, built: Built) -> None:
    manager = built(("UPDATE members SET hash", "PRAGMA query_only = ON"))
    manager.create_account(ADA)
    with pytest.raises((Denied, Invalid)):
        manager.set_password("2", "another-password")


def test_several_threads_write_at_once(forum: Forum, built: Built) -> None:
    manager = built()
    with ThreadPoolExecutor(manager.concurrency) as pool:
        made = list(
            pool.map(
                lambda n: manager.create_account(NewAccount(f"m{n}", f"svcctl:{n}", "pw")).uid,
                range(12),
            )
        )
    assert len(set(made)) == 12


# Configuration

PROBLEMS = [
    (
        ("WHERE id = :uid", "WHERE id = :id"),
        "statements.get_account: :id is no parameter of it; did",
    ),
    (('= :uid"\nadd', "= :uid AND '12:30' = ':x'\"\nadd"), "statements.set_nickname: :x is no"),
    (('"SELECT name FROM teams"', "7"), "statements.list_groups: must be text, not a whole number"),
    (
        ("password_hash = {", "#password_hash = {"),
        "password_hash: missing; :password_hash needs it",
    ),
    (('scheme = "bcrypt"', 'scheme = "md5"'), "password_hash.scheme: must be"),
    (("rounds = 4", "rounds = 99"), "password_hash: bcrypt: "),
    (("rounds = 4", "round = 4"), "password_hash: bcrypt: "),
    (("sqlite:///forum.db", "mysql://me:secret@db/x"), "database: no password in a URL"),
    (("sqlite:///forum.db", "mssql+pyodbc://me:secret@db/x"), "database: no password in a URL"),
    (("sqlite:///forum.db", "forum.db"), "database: must be a URL"),
    (
        (
            'database = "sqlite:///forum.db"',
            'database = "sqlite:///forum.db"\npassword = { env = "X" }',
        ),
        "password: a SQLite file has none; leave it out",
    ),
    (("groups_of", "#groups_of"), "statements.groups_of: missing; add_to_group needs it"),
    (("find_account", "#find_account"), "statements.find_account: missing; create_account needs"),
    (("get_account", "#get_account"), "statements.get_account: missing; add_to_group needs it"),
    (("remove_from_group", "#"), "statements.remove_from_group: missing; add_to_group needs it"),
    (("rows = 1", "row = 1"), "statements.disable_account[0].row: unknown key; did you mean rows"),
]


@pytest.mark.parametrize(("edit", "said"), PROBLEMS, ids=[said for _, said in PROBLEMS])
def test_each_problem_has_its_place(
    configured: Configured, edit: tuple[str, str], said: str
) -> None:
    (problems,) = configured(edit).problems.values()
    told = [f"{one.key}: {one.message}; {one.remedy}" for one in problems]
    assert any(line.startswith(f"services.forum.{said}") for line in told), told
    assert not any("secret" in line for line in told)


def test_what_stands_there_it_can_do(configured: Configured) -> None:
    whole = configured().loaded["forum"]
    assert all(whole.can(verb) for verb in Verb)
    less = configured(("set_nickname", "#"), ("delete_account", "#")).loaded["forum"]
    lost = {Verb.SET_NICKNAME, Verb.DELETE}
    assert capabilities(whole.manager_class) - capabilities(less.manager_class) == lost


# Through the front door


def test_accounts_come_and_go(
    site: "Callable[[str], Site]", svcctl: "Svcctl", tmp_path: Any
) -> None:
    site(CONFIG)
    forum = Forum(tmp_path / "forum.db")
    forum.run(TABLES)
    for name in ("ada", "bob", "cyd"):
        svcctl("users", "add", name, f"email={name}@example.org", "--group", "staff", "--no-sync")
        done = svcctl("accounts", "create", name, "--service", "forum")
        assert done.exit_code == 0, done.stderr
    forum.run("INSERT INTO memberships VALUES (2, 'theirs')")
    assert svcctl("groups", "remove", "staff", "ada").exit_code == 0
    assert forum.rows("SELECT banned, shown FROM members WHERE name = 'ada'") == [(1, "ada")]
    assert svcctl("groups", "add", "staff", "ada").exit_code == 0
    assert forum.rows("SELECT team FROM memberships WHERE member = 2 ORDER BY 1") == [
        ("staff",),
        ("theirs",),
    ]
    assert svcctl("services", "check", "forum").exit_code == 0
