"""Runs and paused services, on SQLite and on PostgreSQL."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection

from svcctl.errors import SvcctlError
from svcctl.store import runs
from svcctl.store.chain.verify import verify
from svcctl.store.database import Database
from svcctl.store.people import add_user

NASTY = "100% %s :name ::text 'quoted' \\ ünï 😀"


def begin(connection: Connection, command: str = "sync") -> int:
    return runs.begin(connection, command=command, actor="ada", host="here", pid=4_000_000)


def test_a_run_from_its_beginning_to_its_end(database: Database) -> None:
    with database.write(durable=True) as connection:
        first, second = begin(connection, NASTY), begin(connection)
        assert first < second
        running = runs.find(connection, first)
        runs.end(connection, first, exit_code=4, summary={"counts": {NASTY: {"done": 1}}})
    assert running
    assert (running["command"], running["pid"]) == (NASTY, 4_000_000)
    assert (running["ended_at"], running["exit_code"], running["summary"]) == (None, None, "{}")
    with database.read() as connection:
        ended, other = runs.find(connection, first), runs.find(connection, second)
    assert ended
    assert other
    assert (ended["exit_code"], ended["ended_at"] >= ended["started_at"]) == (4, True)
    assert json.loads(ended["summary"]) == {"counts": {NASTY: {"done": 1}}}
    assert other["ended_at"] is None


def test_there_is_no_run_of_a_number_that_no_run_has(database: Database) -> None:
    with database.read() as connection:
        for number in (0, -1, 999, 2**31, 2**63 - 1, 10**30):
            assert runs.find(connection, number) is None


def test_runs_that_died_are_closed_and_the_others_left(database: Database) -> None:
    with database.write() as connection:
        died, ended, running = (begin(connection) for _ in range(3))
        runs.end(connection, ended, exit_code=0, summary={"n": 1})
        runs.close_unended(connection, {ended, died})
        runs.close_unended(connection, ())
    with database.read() as connection:
        found = {row["id"]: row for row in runs.listing(connection, limit=9)}
    assert (found[died]["summary"], found[died]["exit_code"]) == ('{"died":true}', None)
    assert found[died]["ended_at"]
    assert (found[ended]["summary"], found[ended]["exit_code"]) == ('{"n":1}', 0)
    assert found[running]["ended_at"] is None


def test_a_run_that_is_ending_by_itself_is_not_closed_as_dead(database: Database) -> None:
    """Somebody else takes it for dead at the very moment: that is waited for, and is no news."""
    with database.write() as connection:
        one = begin(connection)
    with ThreadPoolExecutor(1) as other:
        with database.write() as connection:
            runs.end(connection, one, exit_code=4, summary={"counts": {}})
            closing = other.submit(close_dead, database, one)
            time.sleep(0.1)
            assert not closing.done()
        closing.result(timeout=20)
    with database.read() as connection:
        row = runs.find(connection, one)
        assert row is not None
        assert (row["exit_code"], json.loads(row["summary"])) == (4, {"counts": {}})
        assert verify(connection).holds


def close_dead(database: Database, one: int) -> None:
    with database.write() as connection:
        runs.close_dead(connection, ["lab"], before=one + 1)


def test_who_was_slower_to_write_the_same_is_told_to_try_again(database: Database) -> None:
    """Two who add the same user at once: on a server, both see that there is none."""
    with ThreadPoolExecutor(1) as other:
        with database.write() as connection:
            add_user(connection, "ada", attributes={})
            second = other.submit(add_ada, database)
            time.sleep(0.1)
            assert not second.done()
        with pytest.raises(SvcctlError) as caught:
            second.result(timeout=20)
    # A file has one writer at a time: there the second one sees what the first one did.
    assert int(caught.value.exit_code) == (2 if database.sqlite else 75)
    assert caught.value.hint


def add_ada(database: Database) -> None:
    with database.write() as connection:
        add_user(connection, "ada", attributes={})


def test_the_latest_runs_come_first(database: Database) -> None:
    with database.write() as connection:
        ids = [begin(connection) for _ in range(5)]
    with database.read() as connection:
        assert [row["id"] for row in runs.listing(connection, limit=3)] == ids[:1:-1]
        assert len(runs.listing(connection, limit=1000)) == 5
        started = runs.started(connection, [*ids, ids[0], 999])
        assert runs.started(connection, []) == {}
    assert started.keys() == set(ids)
    assert all(moment.endswith("Z") for moment in started.values())


def test_a_paused_service_stays_so_until_it_is_resumed(database: Database) -> None:
    with database.write() as connection:
        runs.pause(connection, "chat", reason=NASTY, actor="ada")
        runs.pause(connection, "chat", reason="again", actor="bob")
        runs.pause(connection, "wiki", reason="", actor="bob")
        assert not runs.resume(connection, "lab")
    with database.read() as connection:
        found = runs.paused(connection)
    assert {name: (row["reason"], row["actor"]) for name, row in found.items()} == {
        "chat": (NASTY, "ada"),
        "wiki": ("", "bob"),
    }
    with database.write() as connection:
        assert runs.resume(connection, "chat")
        assert not runs.resume(connection, "chat")
        assert runs.paused(connection).keys() == {"wiki"}


def test_broken_characters_are_replaced_where_people_read_them(database: Database) -> None:
    broken, shown = "a\0b\udcff", "a\ufffdb\ufffd"
    with database.write() as connection:
        run_id = runs.begin(connection, command=broken, actor=broken, host=broken, pid=1)
        runs.pause(connection, "chat", reason=broken, actor=broken)
    with database.read() as connection:
        run, paused = runs.find(connection, run_id), runs.paused(connection)["chat"]
    assert run
    assert [run[key] for key in ("command", "actor", "host")] == [shown] * 3
    assert [paused[key] for key in ("reason", "actor")] == [shown] * 2
