"""Taking over a source, on SQLite and on PostgreSQL."""

import json
from typing import Any

import pytest
from sqlalchemy import text

from svcctl.config.settings import Settings
from svcctl.directory.person import Person
from svcctl.errors import ExitCode, SourceError, UsageError
from svcctl.store import groups, people
from svcctl.store.database import Database
from svcctl.store.oblivion import forget_user
from svcctl.store.pull import pull
from svcctl.store.pull.diff import PullDiff
from svcctl.store.standing import refresh_states, resort_states, stale_states, stored_rules

SETTINGS = Settings.model_validate(
    {
        "states": {
            "Member": {"priority": 100, "groups": ["corp"]},
            "Blue": {"priority": 50, "attributes": {"email": ["blue"]}},
            "Guest": {"priority": 0, "public": True},
        }
    }
)


def person(
    name: str, *in_groups: str, id_: str = "", active: bool | None = None, **about: Any
) -> Person:
    return Person(id_ or f"id-{name}", name, active, frozenset(in_groups), about)


def take(
    database: Database, *persons: Person, source: str = "people", accept: int | None = None
) -> PullDiff:
    with database.write() as connection:
        return pull(connection, SETTINGS, source, iter(persons), accept_missing=accept)


def rows(database: Database, statement: str) -> list[tuple[Any, ...]]:
    with database.read() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def standing(database: Database) -> dict[str, tuple[bool, str]]:
    found = rows(database, "SELECT username, active, state FROM users")
    return {name: (bool(active), state) for name, active, state in found}


def members(database: Database) -> set[tuple[str, str, str, bool]]:
    statement = (
        "SELECT u.username, g.name, m.origin, m.present FROM memberships m"
        " JOIN users u ON u.id = m.user_id JOIN groups g ON g.id = m.group_id"
    )
    return {(u, g, origin, bool(present)) for u, g, origin, present in rows(database, statement)}


def refusal(database: Database, *persons: Person, **options: Any) -> str:
    before = rows(database, "SELECT * FROM users ORDER BY id")
    with pytest.raises(SourceError) as caught:
        take(database, *persons, **options)
    assert rows(database, "SELECT * FROM users ORDER BY id") == before
    assert caught.value.exit_code is ExitCode.INCOMPLETE
    assert caught.value.hint
    return caught.value.message


def crowd(count: int) -> list[Person]:
    return [person(f"user{number}", "corp") for number in range(count)]


def test_the_first_pull_adds_everybody_with_groups_and_states(database: Database) -> None:
    diff = take(
        database,
        person("ada", "corp", "fc"),
        person("bob", email="blue"),
        person("eve", active=False),
    )
    assert (diff.read, diff.added.count, diff.added.shown) == (3, 3, ["ada", "bob", "eve"])
    assert standing(database) == {
        "ada": (True, "Member"),
        "bob": (True, "Blue"),
        "eve": (False, "Guest"),
    }
    assert members(database) == {("ada", "corp", "people", True), ("ada", "fc", "people", True)}
    assert len(diff.everyone()) == 3


def test_the_same_again_changes_nothing(database: Database) -> None:
    everybody = (person("ada", "corp"), person("bob", email="blue"))
    take(database, *everybody)
    before = rows(database, "SELECT * FROM users ORDER BY id")
    diff = take(database, *everybody)
    assert diff.empty
    assert diff.everyone() == []
    assert rows(database, "SELECT * FROM users ORDER BY id") == before


def test_fields_memberships_and_states_follow_the_source(database: Database) -> None:
    take(database, person("ada", "corp", "fc"), person("bob", email="blue"))
    diff = take(
        database,
        person("ada", "fc", "new", email="a@x"),
        person("bob", "corp", email=None, active=False),
    )
    assert {item.username: item.fields for item in diff.changed.shown} == {
        "ada": {"attributes.email": (None, "a@x")},
        "bob": {"active": (True, False), "attributes.email": ("blue", None)},
    }
    assert sorted(diff.joined.shown) == [("ada", "new"), ("bob", "corp")]
    assert diff.left.shown == [("ada", "corp")]
    assert sorted(diff.states.shown) == [("ada", "Member", "Guest"), ("bob", "Blue", "Guest")]
    assert rows(database, "SELECT attributes FROM users ORDER BY username") == [
        ('{"email":"a@x"}',),
        ("{}",),
    ]


def test_one_and_true_are_two_values(database: Database) -> None:
    take(database, person("ada", email=1))
    diff = take(database, person("ada", email=True))
    assert diff.changed.shown[0].fields == {"attributes.email": (1, True)}


def test_what_a_source_does_not_speak_of_stays(database: Database) -> None:
    take(database, person("ada", "corp", active=False, email="x"))
    diff = take(database, Person("id-ada", "ada"))
    assert diff.empty
    assert members(database) == {("ada", "corp", "people", True)}


def test_a_new_name_for_the_same_id_is_the_same_user(database: Database) -> None:
    take(database, person("ada", "corp", id_="1"))
    diff = take(database, person("ada.lovelace", "corp", id_="1"))
    assert diff.renamed.shown == [("ada", "ada.lovelace")]
    assert not diff.added
    assert len(diff.users()) == 1


def test_names_may_change_places_and_pass_to_newcomers(database: Database) -> None:
    take(database, person("ada", id_="1"), person("bob", id_="2"), person("eve", id_="3"))
    diff = take(
        database,
        person("new", id_="9"),
        person("eve", id_="8"),
        person("bob", id_="1"),
        person("ada", id_="2"),
        person("eva", id_="3"),
    )
    assert sorted(rows(database, "SELECT source_id, username FROM users")) == [
        ("1", "bob"),
        ("2", "ada"),
        ("3", "eva"),
        ("8", "eve"),
        ("9", "new"),
    ]
    assert diff.renamed.count == 3
    assert sorted(diff.added.shown) == ["eve", "new"]


def test_a_name_that_is_somebody_elses_is_a_conflict_and_never_a_takeover(
    database: Database,
) -> None:
    with database.write() as connection:
        people.add_user(connection, "own", attributes={})
    take(database, person("ada", id_="1"), person("bob", id_="2"))
    assert refusal(
        database, person("own", id_="7"), person("ada", id_="1"), person("bob", id_="2")
    ) == ("people: the username 'own' of id '7' belongs to an operator's own user")
    assert refusal(database, person("ada", id_="5"), source="other") == (
        "other: the username 'ada' of id '5' belongs to a user of the source people (id '1')"
    )
    assert refusal(database, person("ada", id_="3"), person("bob", id_="2")) == (
        "people: the username 'ada' of id '3' belongs to the user with id '1' of the same source"
    )
    assert refusal(database, person("own", id_="1"), person("bob", id_="2")) == (
        "people: the username 'own' of id '1' belongs to an operator's own user"
    )


def test_who_vanishes_is_missing_first_and_inactive_at_the_second_pull(database: Database) -> None:
    take(database, *crowd(10))
    nine = crowd(9)
    first = take(database, *nine)
    assert (first.missing.shown, first.lost.shown) == (["user9"], [])
    assert standing(database)["user9"] == (True, "Member")
    second = take(database, *nine)
    assert (second.missing.shown, second.lost.shown) == ([], ["user9"])
    assert second.states.shown == [("user9", "Member", "Guest")]
    assert standing(database)["user9"] == (False, "Guest")
    assert take(database, *nine).empty
    back = take(database, *crowd(10))
    assert back.returned.shown == ["user9"]
    assert standing(database)["user9"] == (True, "Member")


def test_more_than_the_limit_may_not_vanish(database: Database) -> None:
    take(database, *crowd(10))
    assert refusal(database, *crowd(7)) == (
        "people: 3 of 10 users have vanished (user7, user8, user9); at most 2 may at once"
    )
    assert refusal(database).startswith(
        "people: 10 of 10 users have vanished (user0, user1, user2, …)"
    )
    assert refusal(database, *crowd(7), accept=2).startswith("people: 3 of 10")
    diff = take(database, *crowd(7), accept=3)
    assert (diff.missing.count, diff.lost.shown) == (0, ["user7", "user8", "user9"])
    assert sum(active for active, _ in standing(database).values()) == 7


def test_the_only_user_may_not_vanish_either(database: Database) -> None:
    take(database, person("ada"))
    assert "1 of 1 users have vanished (ada); at most 0" in refusal(database)


def test_other_sources_and_own_users_do_not_vanish(database: Database) -> None:
    with database.write() as connection:
        people.add_user(connection, "own", attributes={})
    take(database, person("ada"), source="other")
    take(database, *crowd(5))
    assert take(database, *crowd(5)).empty
    assert rows(database, "SELECT count(*) FROM users WHERE missing_pulls > 0") == [(0,)]


def test_a_pull_larger_than_a_batch_is_compared_as_well(database: Database) -> None:
    take(database, *crowd(4_500))
    assert take(database, *reversed(crowd(4_500))).empty
    diff = take(database, *crowd(4_400))
    assert (diff.missing.count, len(diff.missing.shown)) == (100, 100)
    assert take(database, *crowd(4_499)).returned.count == 99


def test_a_removed_user_does_not_come_back(database: Database) -> None:
    take(database, person("ada", "corp"), person("bob"))
    with database.write() as connection:
        row = people.find_user(connection, "ada")
        people.remove_user(connection, row)
        resort_states(connection, SETTINGS.state_rules(), [row.id])
    diff = take(database, person("ada", "corp", "fc", email="new"), person("bob"))
    assert diff.removed.shown == ["ada"]
    assert diff.empty
    assert standing(database)["ada"] == (False, "Guest")
    assert members(database) == {("ada", "corp", "people", True)}
    assert take(database, person("bob")).empty


def test_what_an_operator_said_survives(database: Database) -> None:
    take(database, person("ada", "corp", "fc", email="a@x"), person("bob"))
    with database.write() as connection:
        ada = people.find_user(connection, "ada")
        people.change_user(connection, ada, attributes={"email": "mine"}, active=False)
        resort_states(connection, SETTINGS.state_rules(), [ada.id])
        for name, say in (
            ("fc", groups.take_out),
            ("extra", groups.put_in),
            ("corp", groups.put_in),
        ):
            say(connection, groups.ensure(connection, [name], "operator")[name], [ada])
    take(database, person("ada", "corp", "fc", email="b@x", active=True), person("bob"))
    take(database, person("ada", email=None, active=True), person("bob"))
    assert members(database) == {
        ("ada", "corp", "operator", True),
        ("ada", "extra", "operator", True),
        ("ada", "fc", "operator", False),
    }
    assert rows(database, "SELECT attributes FROM users WHERE username = 'ada'") == [
        ('{"email":"mine"}',)
    ]
    assert standing(database)["ada"] == (False, "Guest")
    with database.write() as connection:
        ada = people.find_user(connection, "ada")
        people.change_user(connection, ada, attributes={}, unset=["email", "active"])
    take(database, person("ada", email="c@x", active=True), person("bob"))
    assert rows(database, "SELECT attributes, origins FROM users WHERE username = 'ada'") == [
        ('{"email":"c@x"}', "{}")
    ]
    assert standing(database)["ada"] == (True, "Member")


def test_rules_that_changed_sort_everybody_anew_once(database: Database) -> None:
    take(database, person("ada", "corp"), person("bob", "fc"))
    changed = Settings.model_validate({"states": {"Blue": {"priority": 5, "groups": ["fc"]}}})
    rules = changed.state_rules()
    with database.write() as connection:
        assert stored_rules(connection) == SETTINGS.state_rules()
        names = people.names_of(connection, [1, 2])
        stale = {names[id_]: state for id_, state in stale_states(connection, rules).items()}
        assert stale == {"ada": "Guest", "bob": "Blue"}
        assert len(refresh_states(connection, rules)) == 2
        assert stale_states(connection, rules) == {}
        assert refresh_states(connection, rules) == []


def test_resorting_some_leaves_the_others(database: Database) -> None:
    take(database, person("ada", "corp"), person("bob", "corp"))
    with database.write() as connection:
        ids = people.ids_of(connection, ["ada", "bob"])
        connection.execute(text("UPDATE users SET enabled = (1 = 0)"))
        changes = resort_states(connection, SETTINGS.state_rules(), ids[:1])
        assert changes == [(ids[0], "Member", "Guest")]
    assert standing(database) == {"ada": (False, "Guest"), "bob": (True, "Member")}


def _used(database: Database, status: str, operation: str) -> None:
    with database.write() as connection:
        for statement in (
            "INSERT INTO runs (command, actor, host, pid, started_at, summary)"
            " VALUES ('delete ada', 'root', 'here', 1, 'then', '{\"users\": \"adam\"}')",
            "INSERT INTO accounts (user_id, service, status, uid, name, name_key, nickname, data,"
            " groups, created_at, updated_at) SELECT id, 'chat', :status, NULL, 'ada', 'ada',"
            " 'Ada', '{\"mail\": 1}', '[\"x\"]', 'then', 'then' FROM users WHERE username = 'ada'",
            "INSERT INTO operations (run_id, service, user_id, account_id, seq, verb, args, before,"
            " after, reason, actor, removal, notify, looked, status, attempts, error)"
            " SELECT (SELECT max(id) FROM runs), 'chat', user_id, id, 1, 'create_account',"
            ' \'{"attributes": {"email": "a@x"}, "name": "ada", "add": ["x"]}\','
            " '{}', '{\"name\": \"ada\", \"status\": \"active\"}', 'for ada', 'root', (1=0), (1=0),"
            " (1=0), :operation, 1, 'no ada' FROM accounts",
        ):
            values = {"status": status, "operation": operation}
            used = {key: value for key, value in values.items() if f":{key}" in statement}
            connection.execute(text(statement), used)


def test_a_forgotten_person_leaves_a_pseudonym(database: Database) -> None:
    take(database, person("ada", "corp", id_="secret", email="a@x"), person("adam"))
    _used(database, "absent", "done")
    with database.write() as connection:
        row = people.find_user(connection, "ada")
        pseudonym = forget_user(connection, row)
    assert pseudonym == f"forgotten-{row.id}"
    everything = json.dumps(
        [rows(database, f"SELECT * FROM {table}") for table in ("users", "accounts", "operations")]
    )
    assert not any(word in everything for word in ('"ada"', "ada\\", "a@x", "secret", "Ada"))
    assert rows(database, "SELECT command, summary FROM runs") == [
        (f"delete {pseudonym}", '{"users": "adam"}')
    ]
    assert rows(database, "SELECT args, after, reason, error FROM operations") == [
        (
            f'{{"add":["x"],"name":"{pseudonym}"}}',
            f'{{"name":"{pseudonym}","status":"active"}}',
            f"for {pseudonym}",
            None,
        )
    ]
    assert members(database) == set()


@pytest.mark.parametrize(
    ("status", "operation", "message"),
    [
        ("disabled", "done", "ada still has an account on chat"),
        ("absent", "unknown", "ada has an unfinished operation on chat"),
    ],
)
def test_nobody_is_forgotten_whose_account_may_still_exist(
    database: Database, status: str, operation: str, message: str
) -> None:
    take(database, person("ada"))
    _used(database, status, operation)
    with pytest.raises(UsageError, match=message), database.write() as connection:
        forget_user(connection, people.find_user(connection, "ada"))
    assert standing(database)["ada"][0]


def test_close_names_are_offered_for_unknown_ones(database: Database) -> None:
    take(database, *crowd(2_100), person("Katherine"))
    with database.read() as connection, pytest.raises(UsageError) as caught:
        people.find_user(connection, "Kathrine")
    assert caught.value.hint == "did you mean Katherine?"
