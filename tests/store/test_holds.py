"""What a limit stopped, and what a person said about it, on SQLite and on PostgreSQL."""

from typing import Any

import pytest
from sqlalchemy import Connection, insert, select, text

from svcctl.model import Verb
from svcctl.store import accounts, holds, operations, runs
from svcctl.store.database import Database
from svcctl.store.tables import users

NAMES = ("bob", "ada", "Eve")


@pytest.fixture
def held(database: Database) -> dict[str, int]:
    """Two runs that hold removals on two services, and operations that nobody holds."""
    with database.write() as connection:
        moments = {"created_at": "now", "updated_at": "now"}
        connection.execute(insert(users), [{"username": name, **moments} for name in NAMES])
        ids = dict(connection.execute(select(users.c.username, users.c.id)).all())
        rows = accounts.reserve(
            connection, [(service, ids[name]) for service in ("chat", "wiki") for name in NAMES]
        )
        connection.execute(text("UPDATE accounts SET name = 'N' || user_id"))
        first = runs.begin(connection, command="sync", actor="cron", host="here", pid=1)
        second = runs.begin(connection, command="sync", actor="ada", host="here", pid=1)

        def add(run: int, service: str, name: str, verb: Verb, status: str = "held") -> None:
            pair = (service, ids[name])
            row = {"run_id": run, "service": service, "user_id": ids[name], "seq": 0}
            row |= {"account_id": rows[pair], "verb": verb.value, "status": status}
            operations.journal(
                connection, [{**row, "reason": f"is no Member 100% {name}", "actor": "x"}]
            )

        add(first, "chat", "bob", Verb.DISABLE)
        add(first, "chat", "bob", Verb.SET_NICKNAME)
        add(first, "chat", "ada", Verb.DISABLE)
        add(first, "chat", "Eve", Verb.DISABLE, "done")
        add(first, "chat", "Eve", Verb.DELETE, "pending")
        add(second, "wiki", "bob", Verb.DELETE)
        add(second, "chat", "Eve", Verb.SET_NICKNAME)
    return {"first": first, "second": second}


def found(database: Database, **about: Any) -> list[tuple[str, str, str]]:
    with database.read() as connection:
        rows = holds.held(connection, **about)
    return [(row["service"], row["user"], row["operation"]) for row in rows]


def test_every_held_operation_is_there_and_no_other(
    database: Database, held: dict[str, int]
) -> None:
    everything = [
        ("chat", "bob", "disable_account"),
        ("chat", "bob", "set_nickname"),
        ("chat", "ada", "disable_account"),
        ("wiki", "bob", "delete_account"),
        ("chat", "Eve", "set_nickname"),
    ]
    assert found(database) == everything
    assert found(database, services=["wiki", "lab"]) == everything[3:4]
    assert found(database, run_id=held["first"]) == everything[:3]
    assert found(database, run_id=held["second"], services=["chat"]) == everything[4:]
    for number in (0, 999, 2**31, 2**63, 10**30):
        assert found(database, run_id=number) == []
    with database.read() as connection:
        row = holds.held(connection, run_id=held["second"])[0]
    assert (row["run"], row["account"]) == (held["second"], f"N{row['user_id']}")
    assert row["since"].endswith("Z")


def test_holds_are_counted_by_run_and_service(database: Database, held: dict[str, int]) -> None:
    with database.read() as connection:
        rows = holds.summary(connection)
        only = holds.summary(connection, ["wiki"])
    keys = ("run", "service", "accounts", "actor", "reason")
    assert [tuple(row[key] for key in keys) for row in rows] == [
        (held["first"], "chat", 2, "cron", "is no Member 100% ada"),
        (held["second"], "chat", 1, "ada", "is no Member 100% Eve"),
        (held["second"], "wiki", 1, "ada", "is no Member 100% bob"),
    ]
    assert only == rows[2:]


def test_what_is_rejected_ends_and_pins_the_accounts(
    database: Database, held: dict[str, int]
) -> None:
    with database.write() as connection:
        rows = holds.held(connection, run_id=held["first"])
        holds.reject(connection, rows, actor="ada")
        holds.reject(connection, [], actor="ada")
    assert found(database) == [("wiki", "bob", "delete_account"), ("chat", "Eve", "set_nickname")]
    with database.read() as connection:
        pins = {
            (row["service"], row["user"]): row["pin"]
            for row in accounts.listing(connection, user_ids=None, services=None, status=None)
        }
        ended = operations.history(connection, statuses=["skipped"])
    assert pins == dict.fromkeys([("chat", "ada"), ("chat", "bob")], "removal rejected by ada")
    assert {(row["error"], bool(row["ended_at"])) for row in ended} == {("rejected by ada", True)}
    assert len(ended) == 3


def test_nothing_held_is_nothing_shown(database: Database) -> None:
    def shown(connection: Connection) -> list[Any]:
        return [holds.held(connection), holds.summary(connection), holds.held(connection, run_id=1)]

    with database.read() as connection:
        assert shown(connection) == [[], [], []]
