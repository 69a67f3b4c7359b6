"""Users as rows, and what operators do to them, on SQLite and on PostgreSQL."""

import json
from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from svcctl.errors import StoreError, UsageError
from svcctl.store import accounts, groups, people
from svcctl.store.database import Database
from svcctl.store.tables import users

UNFIT = ("a\0b", "\0", "a\udcffb", "\ud800")
"""What neither database holds: NUL, and what a command line that is not UTF-8 becomes."""


def add(connection: Connection, *names: str) -> list[int]:
    return [people.add_user(connection, name, attributes={}) for name in names]


def give_to_a_source(connection: Connection, *ids: int) -> None:
    connection.execute(update(users).where(users.c.id.in_(ids)).values(source="hr"))


def details(database: Database, name: str) -> dict[str, Any]:
    with database.read() as connection:
        return people.details(connection, people.find_user(connection, name))


def test_a_user_of_the_operators_own(database: Database) -> None:
    about = {"email": "ada@x", "level": 3, "100%": [True, None, "ü"]}
    with database.write() as connection:
        id_ = people.add_user(connection, "ada", attributes=about, superuser=True)
        people.add_user(connection, "Ada", attributes={})
    known = details(database, "ada")
    assert (known["id"], known["attributes"], known["source"]) == (id_, about, None)
    assert (known["active"], known["superuser"], known["removed_at"]) == (True, True, None)
    with database.write() as connection, pytest.raises(UsageError, match="ada is already a user"):
        people.add_user(connection, "ada", attributes={})


def test_what_cannot_be_a_name_is_refused(database: Database) -> None:
    with database.write() as connection:
        for name in (*UNFIT, "", "x" * 256, "a\nb", "a\u200bb"):
            with pytest.raises(UsageError, match="the username "):
                people.add_user(connection, name, attributes={})
            with pytest.raises(UsageError, match="the group's name "):
                groups.ensure(connection, ["staff", name], "operator")
        assert groups.ensure(connection, ["staff"], "operator").keys() == {"staff"}


def test_a_name_that_no_database_holds_is_nobodys(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("svcctl.store.people._COMPARED", 1)
    with database.write() as connection:
        add(connection, "ada", "bob")
        groups.ensure(connection, ["staff"], "operator")
    for name in UNFIT:
        with database.read() as connection:
            for find in (people.find_user, people.find_present):
                with pytest.raises(UsageError, match="no such user: "):
                    find(connection, name)
            with pytest.raises(UsageError, match="no such user: "):
                people.ids_of(connection, ["ada", name])
            with pytest.raises(UsageError, match="no such group: "):
                groups.find_group(connection, name)
            assert people.names_like(connection, name, limit=9) == []
            assert groups.names_like(connection, name, limit=9) == []


def test_a_value_that_the_database_cannot_hold_is_an_error_with_a_hint(database: Database) -> None:
    def change(**values: Any) -> None:
        with database.write() as connection:
            add(connection, "eve")
            connection.execute(update(users).values(**values))

    with database.write() as connection:
        add(connection, "ada")
    broken = r"a value cannot be stored: .*surrogates"
    with pytest.raises(StoreError, match=broken) as caught:
        change(state="\udcff")
    assert caught.value.hint
    with pytest.raises(StoreError, match=r"a value cannot be stored: .*too large|out of range"):
        change(missing_pulls=10**20)
    with database.read() as connection:
        assert connection.scalars(select(users.c.username)).all() == ["ada"]


def test_any_number_of_users_is_found_in_the_order_given(database: Database) -> None:
    names = [f"user{number:04}" for number in range(1101)]
    with database.write() as connection:
        connection.execute(
            users.insert(),
            [{"username": name, "created_at": "now", "updated_at": "now"} for name in names],
        )
    with database.read() as connection:
        ids = people.ids_of(connection, [*reversed(names), names[0]])
        assert people.names_of(connection, ids) == dict(zip(ids, reversed(names), strict=True))
        assert [row.username for row in people.rows_of(connection, ids)] == names
        with pytest.raises(UsageError, match="no such user: user9999"):
            people.ids_of(connection, [*names, "user9999"])
        assert people.ids_of(connection, []) == []
        listed = people.listing(connection, ids=frozenset(ids))
        assert [row["username"] for row in listed] == names


def test_lists_are_in_pythons_order(database: Database) -> None:
    names = ["b", "a", "B", "A", "ä", "z", "Z", "_", "-", "1", "10", "9", "é", "日", "a b", "ab"]
    with database.write() as connection:
        add(connection, *names)
        groups.ensure(connection, names, "operator")
    with database.read() as connection:
        assert [row["username"] for row in people.listing(connection)] == sorted(names)
        assert [row["name"] for row in groups.listing(connection)] == sorted(names)
        ids = people.ids_of(connection, names)
        assert [row.username for row in people.rows_of(connection, ids)] == sorted(names)


def test_a_list_narrows_by_everything_it_names(database: Database) -> None:
    with database.write() as connection:
        ada, bob, eve, gus = add(connection, "ada", "bob", "eve", "gus")
        rows = {row.id: row for row in people.rows_of(connection, [ada, bob, eve, gus])}
        people.remove_user(connection, rows[gus])
        connection.execute(update(users).where(users.c.id == bob).values(active=False))
        connection.execute(update(users).where(users.c.id != eve).values(state="Member"))
        (staff,) = groups.ensure(connection, ["staff"], "operator").values()
        groups.put_in(connection, staff, [rows[ada], rows[eve], rows[gus]])

    def found(**about: Any) -> list[str]:
        with database.read() as connection:
            return [row["username"] for row in people.listing(connection, **about)]

    assert found() == ["ada", "bob", "eve"]
    assert found(removed=True) == ["gus"]
    assert found(active=True) == ["ada", "eve"]
    assert found(active=False) == ["bob"]
    assert found(state="Member") == ["ada", "bob"]
    assert found(group="staff") == ["ada", "eve"]
    assert found(group="staff", state="Member", active=True, ids={ada, eve}) == ["ada"]
    assert found(ids=set()) == found(group="unknown") == []


def test_names_are_completed_as_they_were_typed(database: Database) -> None:
    with database.write() as connection:
        add(connection, "a_b", "a%b", "axb", "a/b", "a\\b", "ä", "gone")
        people.remove_user(connection, people.find_user(connection, "gone"))
        groups.ensure(connection, ["g_1", "gx1"], "hr")
    with database.read() as connection:

        def found(start: str, limit: int = 9) -> list[str]:
            return [name for name, _ in people.names_like(connection, start, limit=limit)]

        assert found("a") == ["a%b", "a/b", "a\\b", "a_b", "axb"]
        assert found("a", 2) == ["a%b", "a/b"]
        for start in ("a_", "a%", "a/", "a\\"):
            assert found(start) == [f"{start}b"]
        assert found("ä") == ["ä"]
        assert found("g") == []
        assert groups.names_like(connection, "g_", limit=9) == [("g_1", "hr")]


def test_close_names_are_offered_in_a_crowd(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("svcctl.store.people._COMPARED", 3)
    with database.write() as connection:
        add(connection, "aardvark", "abel", "abraham", "lovelace", "Lo_ve", "100%")
    with database.read() as connection:
        for typed, close in (("lovelacs", "lovelace"), ("lo_vx", "Lo_ve"), ("100&", "100%")):
            with pytest.raises(UsageError) as caught:
                people.find_user(connection, typed)
            assert caught.value.hint == f"did you mean {close}?"


def test_what_an_operator_says_of_a_user(database: Database) -> None:
    with database.write() as connection:
        (ada,) = add(connection, "ada")
        give_to_a_source(connection, ada)
        row = people.find_present(connection, "ada")
        changed = people.change_user(
            connection, row, attributes={"email": "a@x", "n": 1}, active=False, superuser=True
        )
    assert changed["active"] == (True, False)
    assert changed["attributes.email"] == (None, "a@x")
    known = details(database, "ada")
    assert known["operator"] == ["active", "attributes.email", "attributes.n", "superuser"]
    with database.write() as connection:
        row = people.find_present(connection, "ada")
        again = people.change_user(connection, row, attributes={"n": 1}, active=False)
        given_back = people.change_user(
            connection, row, attributes={}, unset=["active", "email", "superuser"]
        )
    assert again == {}
    assert given_back["superuser"] == (True, False)
    known = details(database, "ada")
    assert known["operator"] == ["attributes.n"]
    assert known["attributes"] == {"email": "a@x", "n": 1}


def test_a_removed_user_comes_back_as_before(database: Database) -> None:
    with database.write() as connection:
        add(connection, "ada")
        row = people.find_present(connection, "ada")
        (staff,) = groups.ensure(connection, ["staff"], "operator").values()
        groups.put_in(connection, staff, [row])
        people.remove_user(connection, row)
        with pytest.raises(UsageError, match="ada was removed at"):
            people.find_present(connection, "ada")
        with pytest.raises(UsageError, match="ada was removed at"):
            people.add_user(connection, "ada", attributes={})
    assert details(database, "ada")["removed_at"]
    with database.write() as connection:
        people.restore_user(connection, people.find_user(connection, "ada"))
    known = details(database, "ada")
    assert (known["removed_at"], known["missing_pulls"]) == (None, 0)
    assert known["groups"] == [{"name": "staff", "origin": "operator"}]


def test_all_that_is_known_of_a_user_is_json(database: Database) -> None:
    with database.write() as connection:
        (ada,) = add(connection, "ada")
        give_to_a_source(connection, ada)
        row = people.find_user(connection, "ada")
        found = groups.ensure(connection, ["b", "A", "out"], "hr")
        for name in ("b", "A", "out"):
            groups.put_in(connection, found[name], [row])
        groups.take_out(connection, found["out"], [row])
        accounts.reserve(connection, [("wiki", ada), ("chat", ada)])
    known = details(database, "ada")
    assert json.loads(json.dumps(known)) == known
    assert [group["name"] for group in known["groups"]] == ["A", "b"]
    assert known["kept_out_of"] == ["out"]
    assert [account["service"] for account in known["accounts"]] == ["chat", "wiki"]
    assert (known["active"], known["superuser"]) == (True, False)
