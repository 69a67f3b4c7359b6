"""`active` and `state`, recomputed from what they follow from, on SQLite and on PostgreSQL."""

from itertools import product

import pytest
from sqlalchemy import Connection, insert, select, update

from svcctl.config.settings import Settings
from svcctl.directory.states import Rules
from svcctl.model import to_json
from svcctl.store.database import Database
from svcctl.store.standing import (
    count_states,
    refresh_states,
    resort_states,
    stale_states,
    store_rules,
    stored_rules,
)
from svcctl.store.tables import groups, memberships, users


def rules(**states: object) -> Rules:
    return Settings.model_validate({"states": states}).state_rules()


MEMBERS = rules(
    Boss={"priority": 9, "users": ["user3", "100%", "ü:x"]},
    Member={"priority": 5, "groups": ["staff", "not there"]},
    Blue={"priority": 2, "attributes": {"corp": ["INK", "true"]}},
)


def crowd(connection: Connection, count: int) -> list[int]:
    """Every second is staff, and who is not is kept out of it; every third has a corp."""
    connection.execute(
        insert(users),
        [
            {
                "username": f"user{number}",
                "attributes": to_json({"corp": ["INK", "x"]} if number % 3 == 0 else {}),
                "created_at": "now",
                "updated_at": "now",
            }
            for number in range(count)
        ],
    )
    ids = list(connection.scalars(select(users.c.id).order_by(users.c.id)))
    connection.execute(insert(groups).values(name="staff"))
    group_id = connection.scalar(select(groups.c.id))
    connection.execute(
        insert(memberships),
        [
            {"user_id": id_, "group_id": group_id, "present": number % 2 == 0}
            for number, id_ in enumerate(ids)
        ],
    )
    return ids


def expected(number: int) -> str:
    if number == 3:
        return "Boss"
    return "Member" if number % 2 == 0 else "Blue" if number % 3 == 0 else "Guest"


def states(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.scalars(select(users.c.state).order_by(users.c.id)))


def test_everybody_is_sorted_in_pages(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("svcctl.store.standing._PAGE", 7)
    with database.write() as connection:
        ids = crowd(connection, 50)
        changes = resort_states(connection, MEMBERS, None)
        assert resort_states(connection, MEMBERS, None) == []
    assert changes == [(id_, "", expected(number)) for number, id_ in enumerate(ids)]
    assert states(database) == [expected(number) for number in range(50)]


def test_some_are_sorted_and_the_others_left(database: Database) -> None:
    with database.write() as connection:
        ids = crowd(connection, 1100)
        resort_states(connection, MEMBERS, (id_ for id_ in [*reversed(ids[:1050]), ids[0]]))
        assert resort_states(connection, MEMBERS, []) == []
    assert states(database) == [expected(number) for number in range(1050)] + [""] * 50


def test_who_is_active(database: Database) -> None:
    cases = list(product((True, False), (None, "then"), (0, 1, 2, 3)))
    with database.write() as connection:
        ids = crowd(connection, len(cases))
        for id_, (enabled, removed_at, missing) in zip(ids, cases, strict=True):
            connection.execute(
                update(users)
                .where(users.c.id == id_)
                .values(enabled=enabled, removed_at=removed_at, missing_pulls=missing)
            )
        resort_states(connection, MEMBERS, None)
    with database.read() as connection:
        found = connection.execute(select(users.c.active, users.c.state).order_by(users.c.id)).all()
    for number, ((enabled, removed_at, missing), (active, state)) in enumerate(
        zip(cases, found, strict=True)
    ):
        assert active == (enabled and removed_at is None and missing < 2)
        assert state == (expected(number) if active else "Guest")


def test_rules_come_back_as_they_were(database: Database) -> None:
    with database.write() as connection:
        assert stored_rules(connection) == ()
        for some in (MEMBERS, rules(), rules(**{"ünï %s": {"priority": -7, "public": True}})):
            store_rules(connection, some)
            assert stored_rules(connection) == tuple(some)


def test_other_rules_sort_everybody_once(database: Database) -> None:
    with database.write() as connection:
        ids = crowd(connection, 6)
        assert len(refresh_states(connection, MEMBERS)) == 6
        connection.execute(update(users).values(state="wrong"))
        assert refresh_states(connection, MEMBERS) == []
        assert refresh_states(connection, MEMBERS, ids[:1]) == [(ids[0], "wrong", "Member")]
        assert len(refresh_states(connection, rules())) == 6
    assert states(database) == ["Guest"] * 6


def test_a_dry_run_knows_the_states_under_new_rules_and_writes_nothing(database: Database) -> None:
    with database.write() as connection:
        ids = crowd(connection, 6)
        refresh_states(connection, rules())
    with database.read() as connection:
        assert stale_states(connection, rules()) == {}
        stale = stale_states(connection, MEMBERS)
    changed = {id_: expected(number) for number, id_ in enumerate(ids)}
    assert stale == {id_: state for id_, state in changed.items() if state != "Guest"}
    assert states(database) == ["Guest"] * 6


def test_the_removed_are_not_counted(database: Database) -> None:
    with database.write() as connection:
        ids = crowd(connection, 6)
        resort_states(connection, MEMBERS, None)
        connection.execute(update(users).where(users.c.id == ids[3]).values(removed_at="then"))
    with database.read() as connection:
        assert count_states(connection) == {"Member": 3, "Guest": 2}
