"""Groups and what operators say about who is in them, on SQLite and on PostgreSQL."""

from typing import Any

import pytest
from sqlalchemy import Connection, insert, select, text, update

from svcctl.errors import UsageError
from svcctl.store import groups, people
from svcctl.store.database import Database
from svcctl.store.tables import memberships, users


def crowd(connection: Connection, *names: str, source: str | None = None) -> list[Any]:
    """Users of a source, or of the operator's own."""
    moments = {"created_at": "now", "updated_at": "now"}
    connection.execute(
        insert(users), [{"username": name, "source": source, **moments} for name in names]
    )
    return people.rows_of(connection, people.ids_of(connection, names))


def make(connection: Connection, name: str, members: list[Any], origin: str = "hr") -> int:
    (id_,) = groups.ensure(connection, [name], origin).values()
    rows = [{"user_id": row.id, "group_id": id_, "origin": origin} for row in members]
    if rows:
        connection.execute(insert(memberships), rows)
    return id_


def standing(database: Database, group: str = "staff") -> dict[str, tuple[str, bool]]:
    with database.read() as connection:
        found = groups.members(connection, groups.find_group(connection, group).id)
    return {row["username"]: (row["origin"], row["present"]) for row in found}


def test_groups_that_do_not_exist_yet_are_made(database: Database) -> None:
    names = [f"group{number:04}" for number in range(700)]
    with database.write() as connection:
        first = groups.ensure(connection, names[:3], "hr")
        found = groups.ensure(connection, iter([*names, names[0]]), "operator")
        assert groups.ensure(connection, [], "operator") == {}
    assert found.keys() == set(names)
    assert {name: found[name] for name in first} == first
    with database.read() as connection:
        listed = groups.listing(connection)
    assert [row["name"] for row in listed] == names
    assert [row["origin"] for row in listed] == ["hr"] * 3 + ["operator"] * 697


def test_a_group_counts_whom_it_grants_something(database: Database) -> None:
    with database.write() as connection:
        ada, bob, eve, gus = crowd(connection, "ada", "bob", "eve", "gus", source="hr")
        staff = make(connection, "staff", [ada, bob, eve])
        make(connection, "empty", [])
        groups.take_out(connection, staff, [bob, gus])
        people.remove_user(connection, eve)
    with database.read() as connection:
        assert groups.listing(connection) == [
            {"name": "empty", "origin": "hr", "users": 0},
            {"name": "staff", "origin": "hr", "users": 1},
        ]
    assert standing(database) == {"ada": ("hr", True), "bob": ("operator", False)}


def test_an_operators_yes(database: Database) -> None:
    with database.write() as connection:
        ada, bob, eve = crowd(connection, "ada", "bob", "eve", source="hr")
        staff = make(connection, "staff", [ada, bob])
        groups.take_out(connection, staff, [bob])
        assert groups.put_in(connection, staff, [ada, bob, eve]) == [bob.id, eve.id]
        assert groups.put_in(connection, staff, []) == []
    assert standing(database) == dict.fromkeys(["ada", "bob", "eve"], ("operator", True))


def test_an_operators_no_ends_what_no_source_gave(database: Database) -> None:
    with database.write() as connection:
        ada, bob = crowd(connection, "ada", "bob", source="hr")
        (own,) = crowd(connection, "own")
        staff = make(connection, "staff", [ada, own])
        assert groups.take_out(connection, staff, [ada, bob, own]) == [ada.id, own.id]
        assert groups.take_out(connection, staff, [ada, bob, own]) == []
    assert standing(database) == {"ada": ("operator", False)}


def test_what_operators_said_can_be_forgotten(database: Database) -> None:
    with database.write() as connection:
        ada, bob, eve = crowd(connection, "ada", "bob", "eve", source="hr")
        (own,) = crowd(connection, "own")
        staff = make(connection, "staff", [ada, bob])
        groups.take_out(connection, staff, [bob])
        groups.put_in(connection, staff, [eve, own])
        said = groups.unset(connection, staff, [ada, bob, eve, own])
    assert sorted(said) == sorted([bob.id, eve.id, own.id])
    assert standing(database) == {"ada": ("hr", True), "eve": ("hr", True)}


def test_any_number_of_users_may_move(database: Database) -> None:
    with database.write() as connection:
        everybody = crowd(connection, *(f"user{n:04}" for n in range(1100)), source="hr")
        staff = make(connection, "staff", everybody[:50])
        assert len(groups.put_in(connection, staff, everybody)) == 1050
        assert len(groups.take_out(connection, staff, everybody)) == 1100
        assert len(groups.unset(connection, staff, everybody)) == 1100
    assert standing(database) == {}


def test_a_deleted_group_takes_its_memberships_along(database: Database) -> None:
    with database.write() as connection:
        ada, bob, eve = crowd(connection, "ada", "bob", "eve", source="hr")
        staff = make(connection, "staff", [ada, bob, eve])
        make(connection, "other", [ada])
        groups.take_out(connection, staff, [bob])
        assert groups.delete_group(connection, staff) == [ada.id, eve.id]
        with pytest.raises(UsageError, match="no such group: staff"):
            groups.find_group(connection, "staff")
        assert connection.scalar(text("SELECT count(*) FROM memberships")) == 1


def test_close_names_are_offered(database: Database) -> None:
    with database.write() as connection:
        groups.ensure(connection, ["staff", "stuff", "100%"], "hr")
    with database.read() as connection:
        with pytest.raises(UsageError, match="no such group: stafff") as caught:
            groups.find_group(connection, "stafff")
        assert caught.value.hint == "did you mean staff or stuff?"
        assert groups.find_group(connection, "100%").origin == "hr"


def test_users_take_their_memberships_along(database: Database) -> None:
    with database.write() as connection:
        ada, bob = crowd(connection, "ada", "bob")
        make(connection, "staff", [ada, bob])
        connection.execute(users.delete().where(users.c.id == ada.id))
        connection.execute(update(users).values(state="x"))
        assert connection.scalars(select(memberships.c.user_id)).all() == [bob.id]
