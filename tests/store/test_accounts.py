"""Accounts as rows, on SQLite and on PostgreSQL."""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, bindparam, insert, literal_column, select, text, update

from svcctl.errors import StoreError
from svcctl.model import Account, AccountStatus, to_json
from svcctl.store import accounts
from svcctl.store.chunks import update_each
from svcctl.store.database import Database
from svcctl.store.services import by_status
from svcctl.store.tables import accounts as table
from svcctl.store.tables import users

MOMENT = "2026-01-01T00:00:00Z"
NASTY = (
    "100% %s %(b_id)s %%",
    ":b_id ::text :name",
    "it's; DROP TABLE accounts; --",
    'back\\slash "quoted" {braces} ?',
    "tab\tline\nreturn\r",
    "ünï 日本語 😀 e\u0301 \u202e",
    "\x01\x1f\x7f\ufffd\U0010ffff",
    "[1,2]",
    "",
    "x" * 300_000,
)
"""Texts that a driver, a statement or a parser may trip over."""


def add_users(connection: Connection, names: Iterable[str]) -> list[int]:
    moments = {"created_at": MOMENT, "updated_at": MOMENT}
    rows = [{"username": name, **moments} for name in names]
    connection.execute(insert(users), rows)
    found = dict(connection.execute(select(users.c.username, users.c.id)).all())
    return [found[row["username"]] for row in rows]


def crowd(connection: Connection, count: int) -> list[int]:
    return add_users(connection, (f"user{number:04}" for number in range(count)))


def create(connection: Connection, service: str, user_ids: Iterable[int], **about: Any) -> None:
    """Active accounts, made the way a run makes them."""
    ids = accounts.reserve(connection, [(service, user_id) for user_id in user_ids])
    rows = []
    for (_, user_id), id_ in ids.items():
        name = f"Name{user_id}"
        usual = {"status": AccountStatus.ACTIVE, "uid": f"u{user_id}", "name": name}
        account = Account(service, user_id, id_, **{**usual, **about})
        rows.append(accounts.written(account, account.name.lower()))
    accounts.write(connection, rows)


def rows(database: Database) -> list[dict[str, Any]]:
    with database.read() as connection:
        return [
            dict(row) for row in connection.execute(select(table).order_by(table.c.id)).mappings()
        ]


def test_reserved_rows_are_absent_until_they_are_written(database: Database) -> None:
    with database.write() as connection:
        ada, bob = add_users(connection, ["ada", "bob"])
        ids = accounts.reserve(connection, [("wiki", bob), ("chat", ada), ("chat", bob)])
        assert accounts.reserve(connection, []) == {}
    assert ids.keys() == {("wiki", bob), ("chat", ada), ("chat", bob)}
    with database.read() as connection:
        assert accounts.ids_of(connection, [*ids, ("lab", ada), ("chat", 999)]) == ids
        found = accounts.find(connection, service="chat")
    assert found == [
        Account("chat", ada, ids["chat", ada]),
        Account("chat", bob, ids["chat", bob]),
    ]
    assert {row["status"] for row in rows(database)} == {"absent"}


def test_any_number_of_accounts_is_reserved_and_found(database: Database) -> None:
    with database.write() as connection:
        people = crowd(connection, 1101)
        create(connection, "chat", people)
    with database.read() as connection:
        ids = accounts.ids_of(connection, (("chat", user_id) for user_id in people))
        assert [user_id for _, user_id in ids] == people
        by_id = accounts.by_id(connection, ids.values())
        by_uid = accounts.by_uid(connection, "chat", (f"u{user_id}" for user_id in people))
        everybody = accounts.find(connection, service="chat")
        names = accounts.live_names(connection, "chat", (f"name{id_}" for id_ in people))
    assert [account.user_id for account in everybody] == people
    assert by_id == {account.id: account for account in everybody}
    assert by_uid == {account.uid: account for account in everybody}
    assert len(names) == 1101
    assert names[f"name{people[600]}"] == (people[600], "user0600")


def test_an_account_is_found_by_the_uid_of_its_own_service_only(database: Database) -> None:
    with database.write() as connection:
        ada, bob = add_users(connection, ["ada", "bob"])
        create(connection, "chat", [ada], uid="1")
        create(connection, "wiki", [bob], uid="1")
    with database.read() as connection:
        found = accounts.by_uid(connection, "chat", ["1", "2", ""])
        nothing = accounts.by_uid(connection, "chat", [])
    assert {uid: account.user_id for uid, account in found.items()} == {"1": ada}
    assert nothing == {}


def test_a_uid_belongs_to_one_account_of_a_service(database: Database) -> None:
    with database.write() as connection:
        ada, bob = add_users(connection, ["ada", "bob"])
        create(connection, "chat", [ada], uid="1")
    before = rows(database)
    with pytest.raises(StoreError, match=r"(?i)unique"), database.write() as connection:
        create(connection, "chat", [bob], uid="1")
    assert rows(database) == before


def test_a_user_has_one_account_on_a_service(database: Database) -> None:
    with database.write() as connection:
        (ada,) = add_users(connection, ["ada"])
        accounts.reserve(connection, [("chat", ada)])
    with pytest.raises(StoreError, match=r"(?i)unique"), database.write() as connection:
        accounts.reserve(connection, [("wiki", ada), ("chat", ada)])
    assert len(rows(database)) == 1


def test_the_database_refuses_a_status_that_there_is_not(database: Database) -> None:
    with database.write() as connection:
        (ada,) = add_users(connection, ["ada"])
        accounts.reserve(connection, [("chat", ada)])
    with (
        pytest.raises(StoreError, match=r"accounts_status|CHECK"),
        database.write() as connection,
    ):
        connection.execute(text("UPDATE accounts SET status = 'gone'"))


def test_accounts_of_users_that_are_not_there_are_refused(database: Database) -> None:
    with (
        pytest.raises(StoreError, match=r"(?i)foreign key"),
        database.write() as connection,
    ):
        accounts.reserve(connection, [("chat", 7)])


def test_what_is_written_is_what_is_read(database: Database) -> None:
    with database.write() as connection:
        ada, bob = add_users(connection, ["ada", "bob"])
        ids = accounts.reserve(connection, [("chat", ada), ("chat", bob)])
    for said in NASTY:
        name = said[:600]  # an index of PostgreSQL holds no more than 2,700 bytes
        whole = Account(
            "chat",
            ada,
            ids["chat", ada],
            status=AccountStatus.DISABLED,
            uid=f"{name}1",
            name=name,
            groups=frozenset({said, "other"}),
            nickname=said,
            data={said: [said, None, True, 1.5]},
            disabled_at=MOMENT,
            pin=said,
        )
        with database.write() as connection:
            accounts.write(connection, [accounts.written(whole, name)])
        with database.read() as connection:
            assert accounts.find(connection, user_id=ada) == [whole]
            assert accounts.find(connection, user_id=bob) == [
                Account("chat", bob, ids["chat", bob])
            ]
            assert accounts.by_uid(connection, "chat", [f"{name}1"]) == {f"{name}1": whole}
            assert accounts.live_names(connection, "chat", [name]) == {name: (ada, "ada")}


def test_one_statement_for_many_rows_keeps_every_value(database: Database) -> None:
    statement = (
        update(users)
        .where(users.c.id == bindparam("b_id"), users.c.username != literal_column("'100% :b_id'"))
        .values(
            active=bindparam("b_active"),
            superuser=bindparam("b_superuser"),
            state=literal_column("'50% :b_active %s'"),
            attributes=bindparam("b_attributes"),
            source=bindparam("b_source"),
            missing_pulls=bindparam("b_missing"),
        )
    )
    documents = [to_json({said: [said, None, False]}) for said in NASTY]
    with database.write() as connection:
        people = add_users(connection, ["100% :b_id", *(f"user{n}" for n in range(len(NASTY)))])
        update_each(connection, statement, [])
        update_each(
            connection,
            statement,
            [
                {
                    "b_source": None if number % 2 else said[:600],
                    "b_attributes": documents[number],
                    "b_missing": -number,
                    "b_superuser": number % 2 == 0,
                    "b_active": number % 3 == 0,
                    "b_id": id_,
                }
                for number, (id_, said) in enumerate(zip(people[1:], NASTY, strict=True))
            ],
        )
        update_each(
            connection,
            statement,
            [
                {
                    f"b_{key}": None
                    for key in ("source", "attributes", "missing", "superuser", "active")
                }
                | {"b_id": people[0]}
            ],
        )
    with database.read() as connection:
        found = [
            dict(row) for row in connection.execute(select(users).order_by(users.c.id)).mappings()
        ]
    assert (found[0]["state"], found[0]["active"]) == ("", True)
    for number, row in enumerate(found[1:]):
        assert row["attributes"] == documents[number]
        assert row["source"] == (None if number % 2 else NASTY[number][:600])
        assert (row["active"], row["superuser"]) == (number % 3 == 0, number % 2 == 0)
        assert (row["state"], row["missing_pulls"]) == ("50% :b_active %s", -number)


def test_nothing_is_told_from_an_empty_text(database: Database) -> None:
    with database.write() as connection:
        (ada,) = add_users(connection, ["ada"])
        create(connection, "chat", [ada], pin="by hand", disabled_at=MOMENT, data={"n": 1})
        (account,) = accounts.find(connection, user_id=ada)
        accounts.write(
            connection,
            [accounts.written(replace(account, uid=None, pin=None, disabled_at=None, data={}), "")],
        )
    (row,) = rows(database)
    assert [row[column] for column in ("uid", "pin", "disabled_at")] == [None] * 3
    assert [row[column] for column in ("name_key", "data", "groups")] == ["", "{}", "[]"]


def test_content_leaves_the_standing_alone(database: Database) -> None:
    with database.write() as connection:
        people = crowd(connection, 3)
        create(connection, "chat", people, data={"n": 1})
        connection.execute(text("UPDATE accounts SET updated_at = 'before'"))
    before = rows(database)
    with database.write() as connection:
        first, second, third = accounts.find(connection, service="chat")
        other: dict[str, Any] = {
            "status": AccountStatus.ABSENT,
            "uid": None,
            "name": "other",
            "groups": frozenset({"g"}),
            "nickname": "nick",
        }
        accounts.write(
            connection,
            [
                accounts.content(replace(first, **other)),
                accounts.written(replace(second, **other), "key"),
            ],
        )
        accounts.write(connection, [])
    after = rows(database)
    changed = [
        {column for column in old if old[column] != new[column]}
        for old, new in zip(before, after, strict=True)
    ]
    assert changed == [
        {"groups", "nickname", "updated_at"},
        {"groups", "nickname", "updated_at", "status", "uid", "name", "name_key"},
        set(),
    ]
    assert third.name == after[2]["name"]


def test_many_accounts_are_written_at_once(database: Database) -> None:
    with database.write() as connection:
        people = crowd(connection, 700)
        create(connection, "chat", people)
        found = accounts.find(connection, service="chat")
        accounts.write(
            connection,
            [
                accounts.content(replace(account, nickname=f"nick{account.user_id}"))
                for account in found
            ],
        )
    assert [row["nickname"] for row in rows(database)] == [f"nick{user_id}" for user_id in people]


def test_observed_groups_replace_the_groups_and_nothing_else(database: Database) -> None:
    with database.write() as connection:
        ada, bob = add_users(connection, ["ada", "bob"])
        create(connection, "chat", [ada, bob], nickname="nick", pin="by hand")
        first, second = accounts.find(connection, service="chat")
        assert first.id
        accounts.observe(connection, {first.id: frozenset({"b", "a", "100%"})})
        accounts.observe(connection, {})
    with database.read() as connection:
        assert accounts.find(connection, service="chat") == [
            replace(first, groups=frozenset({"100%", "a", "b"})),
            second,
        ]
    assert rows(database)[0]["groups"] == '["100%","a","b"]'


def test_names_of_accounts_that_are_no_more_are_free(database: Database) -> None:
    with database.write() as connection:
        ada, bob, eve = add_users(connection, ["ada", "bob", "eve"])
        create(connection, "chat", [ada], name="Ada")
        create(connection, "chat", [bob], name="Bob", status=AccountStatus.DISABLED)
        create(connection, "chat", [eve], name="Eve", status=AccountStatus.ABSENT, uid=None)
        create(connection, "wiki", [eve], name="Gus")
    with database.read() as connection:
        found = accounts.live_names(connection, "chat", ["ada", "bob", "eve", "gus", "Ada"])
    assert found == {"ada": (ada, "ada"), "bob": (bob, "bob")}


def test_who_is_counted(database: Database) -> None:
    with database.write() as connection:
        people = crowd(connection, 6)
        create(connection, "chat", people[:3])
        create(connection, "chat", people[3:5], status=AccountStatus.DISABLED)
        create(connection, "chat", people[5:], status=AccountStatus.ABSENT, uid=None)
        create(connection, "wiki", people[:1])
        accounts.reserve(connection, [("lab", people[0])])
    with database.read() as connection:
        assert accounts.population(connection, "chat") == (3, 5)
        assert accounts.population(connection, "lab") == (0, 0)
        assert accounts.population(connection, "nothing") == (0, 0)
        assert by_status(connection) == {
            "chat": {"absent": 1, "active": 3, "disabled": 2},
            "lab": {"absent": 1},
            "wiki": {"active": 1},
        }


def test_a_pin_stays_until_it_is_taken_out(database: Database) -> None:
    with database.write() as connection:
        people = crowd(connection, 600)
        create(connection, "chat", people)
        ids = accounts.ids_of(connection, (("chat", user_id) for user_id in people))
        accounts.pin(connection, (id_ for id_ in list(ids.values())[:-1]), "rejected: 100%")
        accounts.pin(connection, [ids["chat", people[0]]], None)
        accounts.pin(connection, [], "nobody")
    pins = [row["pin"] for row in rows(database)]
    assert pins == [None, *["rejected: 100%"] * 598, None]


def test_accounts_for_people_say_whose_they_are(database: Database) -> None:
    with database.write() as connection:
        ada, bob = add_users(connection, ["ada", "bob"])
        create(connection, "chat", [ada], groups=frozenset({"g"}))
    with database.read() as connection:
        (row,) = accounts.listing(connection, user_ids=None, services=None, status=None)
        assert accounts.listing(connection, user_ids=[bob], services=None, status=None) == []
    assert row["user"] == "ada"
    assert (row["account"], row["groups"], row["status"]) == (f"Name{ada}", {"g"}, "active")
    assert json.loads(row["data"]) == {}


def test_reserved_and_deleted_accounts_are_listed_only_when_asked_for(database: Database) -> None:
    with database.write() as connection:
        ada, bob, eve, gus = add_users(connection, ["ada", "bob", "eve", "gus"])
        create(connection, "chat", [ada])
        create(connection, "chat", [bob], status=AccountStatus.DISABLED)
        create(connection, "chat", [eve], status=AccountStatus.ABSENT, uid=None)
        create(connection, "chat", [gus], status=AccountStatus.ABSENT, uid=None, pin="by hand")
        create(connection, "wiki", [eve])

    def listed(**about: Any) -> list[str]:
        asked = {"user_ids": None, "services": None, "status": None, **about}
        with database.read() as connection:
            return [
                f"{row['user']} {row['service']}" for row in accounts.listing(connection, **asked)
            ]

    assert listed() == ["ada chat", "bob chat", "gus chat", "eve wiki"]
    assert listed(status="absent") == ["eve chat", "gus chat"]
    assert listed(status="disabled") == ["bob chat"]
    assert listed(services=["wiki", "lab"]) == ["eve wiki"]
    assert listed(user_ids=[eve, ada]) == ["ada chat", "eve wiki"]
    assert listed(user_ids=[]) == []


def test_lists_are_in_pythons_order_whoever_is_asked_for(database: Database) -> None:
    names = ["b", "a", "B", "A", "ä", "z", "Z", "_", "-", "1", "10", "9", "é", "日", "a b", "ab"]
    names += [f"user{number}" for number in range(900)]
    with database.write() as connection:
        people = add_users(connection, names)
        create(connection, "chat", people[::-1])
        create(connection, "Chat", people[:5])
    expected = [("Chat", name) for name in sorted(names[:5])]
    expected += [("chat", name) for name in sorted(names)]
    with database.read() as connection:
        for user_ids in (None, frozenset(people)):
            found = accounts.listing(connection, user_ids=user_ids, services=None, status=None)
            assert [(row["service"], row["user"]) for row in found] == expected
