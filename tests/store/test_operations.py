"""The journal, what is open, and the history, on SQLite and on PostgreSQL."""

import re
from collections.abc import Iterable
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert, select, text

from svcctl.errors import StoreError
from svcctl.model import OPEN, OperationStatus, Verb, to_json
from svcctl.store import accounts, holds, operations, runs
from svcctl.store.database import Database
from svcctl.store.tables import operations as table
from svcctl.store.tables import users

MOMENT = "2026-01-01T00:00:00Z"
EARLIER = "2025-12-31T23:59:59Z"
LATER = "2026-01-02T00:00:00Z"
NASTY = (
    "100% %s %(b_error)s %%",
    ":b_error ::text :name",
    "it's; DROP TABLE operations; --",
    'back\\slash "quoted" {braces} ?',
    "tab\tline\nünï 日本語 😀 \x01",
    "",
    "x" * 300_000,
)


class Journal:
    """A run, users with accounts, and operations on them."""

    def __init__(self, connection: Connection, names: Iterable[str], *services: str) -> None:
        moments = {"created_at": MOMENT, "updated_at": MOMENT}
        connection.execute(insert(users), [{"username": name, **moments} for name in names])
        ids = dict(connection.execute(select(users.c.username, users.c.id)).all())
        self.user_ids: dict[str, int] = ids
        self.account_ids = accounts.reserve(
            connection, [(service, id_) for service in services for id_ in ids.values()]
        )
        self.run_id = begin(connection)

    def row(
        self, name: str, verb: Verb = Verb.CREATE, *, service: str = "chat", **about: Any
    ) -> dict[str, Any]:
        user_id = self.user_ids[name]
        return {
            "run_id": self.run_id,
            "service": service,
            "user_id": user_id,
            "account_id": self.account_ids[service, user_id],
            "seq": 0,
            "verb": verb.value,
            "args": "{}",
            "before": "{}",
            "after": "{}",
            "reason": "because",
            "actor": "tests",
            "removal": False,
            "notify": False,
            "looked": False,
            "status": "pending",
            "attempts": 0,
            "error": None,
            **about,
        }

    def add(self, connection: Connection, name: str, *verb: Verb, **about: Any) -> int:
        (id_,) = operations.journal(connection, [self.row(name, *verb, **about)])
        return id_


def begin(connection: Connection) -> int:
    return runs.begin(connection, command="sync", actor="tests", host="here", pid=1)


def names(count: int) -> list[str]:
    return [f"user{number:04}" for number in range(count)]


def rows(database: Database) -> dict[int, dict[str, Any]]:
    with database.read() as connection:
        return {row["id"]: dict(row) for row in connection.execute(select(table)).mappings()}


def statuses(database: Database) -> list[str]:
    return [row["status"] for _, row in sorted(rows(database).items())]


def test_the_ids_of_a_journal_are_in_the_order_of_its_rows(database: Database) -> None:
    everybody = names(400)
    with database.write(durable=True) as connection:
        journal = Journal(connection, everybody, "chat")
        assert operations.journal(connection, []) == []
        given: list[tuple[int, tuple[str, Verb]]] = []
        for part in (everybody[:1], everybody[399:0:-1]):
            pairs = [(name, verb) for name in part for verb in (Verb.CREATE, Verb.CHANGE_GROUPS)]
            ids = operations.journal(connection, [journal.row(*pair) for pair in pairs])
            assert ids == sorted(ids)
            given += zip(ids, pairs, strict=True)
    written = rows(database)
    assert len(written) == len(given) == 800
    for id_, (name, verb) in given:
        assert (written[id_]["user_id"], written[id_]["verb"]) == (journal.user_ids[name], verb)


@pytest.mark.parametrize(
    "database", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
def test_two_runs_may_journal_at_the_same_time(database: Database) -> None:
    with database.write() as connection:
        journal = Journal(connection, names(4), "chat")
    with database.write() as one, database.write() as other:
        first, second = begin(one), begin(other)
        given: dict[int, list[int]] = {first: [], second: []}
        for index, connection, run in ((0, one, first), (1, other, second)) * 2:
            name = names(4)[index + len(given[run]) * 2]
            given[run] += operations.journal(connection, [journal.row(name, run_id=run)])
    written = rows(database)
    assert [written[id_]["run_id"] for id_ in given[first]] == [first] * 2
    assert [written[id_]["run_id"] for id_ in given[second]] == [second] * 2


def test_what_is_journaled_is_what_is_read(database: Database) -> None:
    with database.write() as connection:
        journal = Journal(connection, names(len(NASTY)), "chat")
    for name, said in zip(names(len(NASTY)), NASTY, strict=True):
        texts = dict.fromkeys(("reason", "actor", "error"), said)
        document = to_json({"nickname": said, said: [None, True, 1]})
        documents = dict.fromkeys(("args", "before", "after"), document)
        with database.write() as connection:
            id_ = journal.add(connection, name, **texts, **documents, notify=True)
        row = rows(database)[id_]
        assert {key: row[key] for key in (*texts, *documents)} == {**texts, **documents}
        assert (row["notify"], row["removal"], row["looked"]) == (True, False, False)
        with database.read() as connection:
            recorded = operations.unfinished(connection, ["chat"])[-1]
        assert (recorded.args, recorded.before) == (document, document)


def test_the_database_allows_one_open_operation_of_a_verb_on_an_account(database: Database) -> None:
    for status in sorted(OPEN):
        with database.write() as connection:
            connection.execute(text("DELETE FROM operations"))
            connection.execute(text("DELETE FROM accounts"))
            connection.execute(text("DELETE FROM users"))
            journal = Journal(connection, ["ada", "bob"], "chat")
            journal.add(connection, "ada", status=status)
            journal.add(connection, "ada", Verb.CHANGE_GROUPS)
            journal.add(connection, "bob", status=status)
            for closed in sorted(set(OperationStatus) - OPEN):
                journal.add(connection, "ada", status=closed)
        before = rows(database)
        pair = [journal.row("bob", Verb.SET_NICKNAME), journal.row("ada")]
        with pytest.raises(StoreError, match=r"(?i)unique"), database.write() as connection:
            operations.journal(connection, pair)
        assert rows(database) == before


def test_what_is_unfinished(database: Database) -> None:
    with database.write() as connection:
        journal = Journal(connection, names(9), "chat", "wiki")
        everybody = iter(names(9))
        opened = [
            journal.add(connection, next(everybody), status=status.value) for status in sorted(OPEN)
        ]
        again = journal.add(
            connection, next(everybody), status="failed", next_attempt_at=MOMENT, attempts=3
        )
        for status in sorted(set(OperationStatus) - OPEN):
            journal.add(connection, next(everybody), status=status.value)
        elsewhere = journal.add(connection, "user0000", Verb.DISABLE, service="wiki", looked=True)
        runs.end(connection, journal.run_id, exit_code=0, summary={})
        journal.run_id = begin(connection)
        late = journal.add(connection, "user0000", Verb.DELETE, removal=True)
    with database.read() as connection:
        found = operations.unfinished(connection, ["chat"])
        assert operations.unfinished(connection, []) == []
        both = operations.unfinished(connection, {"wiki": 1, "chat": 2})
    assert [row.id for row in found] == [*opened, again, late]
    assert [row.status for row in found[:4]] == sorted(OPEN)
    assert (found[4].attempts, found[4].next_attempt_at) == (3, MOMENT)
    assert [row.run_ended for row in found] == [True] * 5 + [False]
    assert all(type(flag) is bool for row in both for flag in (row.run_ended, row.removal))
    assert [(row.id, row.verb) for row in both if row.looked] == [(elsewhere, Verb.DISABLE)]
    assert (found[-1].verb, found[-1].removal) == (Verb.DELETE, True)


def test_newer_plans_supersede_what_is_open_and_end_what_waits(database: Database) -> None:
    everybody = names(1200)
    with database.write() as connection:
        journal = Journal(connection, everybody, "chat")
        given = operations.journal(connection, [journal.row(name) for name in everybody])
        left, *ids = given
        held = journal.add(connection, everybody[1], Verb.DELETE, status="held", error="limits")
        failed, kept = (
            journal.add(
                connection, name, Verb.DISABLE, status="failed", next_attempt_at=LATER, error="no"
            )
            for name in everybody[:2]
        )
        done = journal.add(
            connection, everybody[0], Verb.DELETE, status="done", ended_at=EARLIER, error="note"
        )
        operations.supersede(connection, (id_ for id_ in [done, failed, held, *reversed(ids)]))
        operations.supersede(connection, [])
    written = rows(database)
    assert {written[id_]["status"] for id_ in ids} == {"superseded"}
    assert all(written[id_]["ended_at"] > MOMENT for id_ in [*ids, held])
    assert (written[held]["status"], written[held]["error"]) == ("superseded", "limits")
    assert (written[failed]["status"], written[failed]["next_attempt_at"]) == ("failed", None)
    assert (written[failed]["ended_at"], written[failed]["error"]) == (None, "no")
    assert (written[done]["status"], written[done]["ended_at"]) == ("done", EARLIER)
    assert (written[left]["status"], written[left]["ended_at"]) == ("pending", None)
    assert written[kept]["next_attempt_at"] == LATER
    with database.read() as connection:
        assert [row.id for row in operations.unfinished(connection, ["chat"])] == [left, kept]


def test_a_claim_says_that_it_runs_and_whether_the_name_was_free(database: Database) -> None:
    with database.write() as connection:
        journal = Journal(connection, names(3), "chat")
        first, second, third = (journal.add(connection, name) for name in names(3))
        operations.claim(connection, [(first, True), (second, False)])
        operations.claim(connection, [])
    written = rows(database)
    assert [
        (row["status"], row["looked"], row["started_at"] is not None)
        for row in (written[first], written[second], written[third])
    ] == [("running", True, True), ("running", False, True), ("pending", False, False)]


def test_how_operations_ended(database: Database) -> None:
    with database.write() as connection:
        journal = Journal(connection, names(5), "chat")
        operations.settle(connection, [])
    for said in NASTY:
        ends_as_told(database, journal, said)


def ends_as_told(database: Database, journal: Journal, said: str) -> None:
    with database.write() as connection:
        connection.execute(text("DELETE FROM operations"))
        planned = {"args": '{"name":"x"}', "before": "{}", "after": '{"name":"x"}'}
        ids = [journal.add(connection, name, **planned) for name in names(5)]
        operations.settle(
            connection,
            [
                operations.ended(
                    ids[0], OperationStatus.FAILED, attempts=3, error=said, next_attempt_at=LATER
                ),
                operations.done(
                    ids[1],
                    before={"groups": [said], "uid": None},
                    after={"groups": frozenset({"b", "a"}), said: True},
                    attempts=2,
                    note=said,
                ),
                operations.ended(ids[2], OperationStatus.PENDING, attempts=1),
                operations.ended(ids[3], OperationStatus.SKIPPED, attempts=0, error=said),
            ],
        )
    written = [rows(database)[id_] for id_ in ids]
    assert [row["status"] for row in written] == ["failed", "done", "pending", "skipped", "pending"]
    assert [row["attempts"] for row in written] == [3, 2, 1, 0, 0]
    assert [row["error"] for row in written] == [said, said or None, None, said, None]
    assert [row["next_attempt_at"] for row in written] == [LATER, None, None, None, None]
    assert [bool(row["ended_at"]) for row in written] == [True, True, False, True, False]
    # What was planned stays, except where it is known what really changed.
    assert [row["before"] for row in written if row is not written[1]] == ["{}"] * 4
    assert [row["after"] for row in written if row is not written[1]] == ['{"name":"x"}'] * 4
    assert written[1]["before"] == to_json({"groups": [said], "uid": None})
    assert written[1]["after"] == to_json({"groups": ["a", "b"], said: True})


def test_broken_characters_of_an_answer_stop_nobody(database: Database) -> None:
    said, shown = "a\0b\udcff%s :x", "a\ufffdb\ufffd%s :x"
    with database.write() as connection:
        journal = Journal(connection, names(2), "chat")
        ids = [journal.add(connection, name) for name in names(2)]
        operations.settle(
            connection,
            [
                operations.ended(ids[0], OperationStatus.FAILED, attempts=1, error=said),
                operations.done(ids[1], before={}, after={}, attempts=1, note=said),
            ],
        )
    assert [rows(database)[id_]["error"] for id_ in ids] == [shown, shown]


def test_removals_are_counted_by_accounts_and_by_moment(database: Database) -> None:
    with database.write() as connection:
        journal = Journal(connection, names(8), "chat", "wiki")
        done = {"removal": True, "status": "done"}
        journal.add(connection, "user0000", Verb.DISABLE, **done, ended_at=MOMENT)
        journal.add(connection, "user0000", Verb.DELETE, **done, ended_at=LATER)
        journal.add(connection, "user0001", Verb.DELETE, **done, ended_at=LATER)
        journal.add(connection, "user0002", Verb.DELETE, **done, ended_at=EARLIER)
        journal.add(connection, "user0003", Verb.DELETE, status="done", ended_at=LATER)
        journal.add(connection, "user0004", Verb.DELETE, removal=True, status="failed")
        journal.add(connection, "user0005", Verb.DELETE, removal=True, status="held")
        journal.add(connection, "user0006", Verb.DELETE, **done)
        journal.add(connection, "user0007", Verb.DELETE, service="wiki", **done, ended_at=LATER)
    with database.read() as connection:
        found = [
            operations.recent_removals(connection, service, since=since)
            for service, since in (
                ("chat", MOMENT),
                ("chat", EARLIER),
                ("chat", "2026-01-03T00:00:00Z"),
                ("wiki", EARLIER),
                ("lab", EARLIER),
            )
        ]
    assert found == [2, 3, 0, 1, 0]


def test_the_history_is_newest_first_and_narrows(database: Database) -> None:
    with database.write() as connection:
        journal = Journal(connection, ["ada", "bob"], "chat", "wiki")
        first = journal.run_id
        ids = [
            journal.add(connection, "ada", status="done"),
            journal.add(connection, "bob", status="held"),
            journal.add(connection, "ada", service="wiki", status="failed"),
        ]
        journal.run_id = begin(connection)
        ids.append(journal.add(connection, "bob", Verb.DELETE, status="skipped"))
        connection.execute(text("UPDATE accounts SET name = 'Ada' WHERE service = 'wiki'"))
    ada, bob = journal.user_ids["ada"], journal.user_ids["bob"]

    def found(**about: Any) -> list[int]:
        with database.read() as connection:
            return [ids.index(row["id"]) for row in operations.history(connection, **about)]

    assert found() == [3, 2, 1, 0]
    assert found(limit=2) == [3, 2]
    assert found(run_id=first) == [2, 1, 0]
    assert found(run_id=999) == []
    assert found(user_ids={ada}) == [2, 0]
    assert found(user_ids=[ada, bob], statuses={"held", "skipped"}) == [3, 1]
    assert found(services=["chat"], user_ids=[ada]) == [0]
    assert found(services=[]) == found(statuses=[]) == found(user_ids=[]) == []
    with database.read() as connection:
        latest = operations.history(connection, services=["wiki"])[0]
    assert (latest["username"], latest["account"], latest["verb"]) == ("ada", "Ada", Verb.CREATE)


def test_operations_that_are_open_end_by_decree(database: Database) -> None:
    everybody = names(600)
    with database.write() as connection:
        journal = Journal(connection, everybody, "chat")
        ids = operations.journal(
            connection, [journal.row(name, status="held") for name in everybody]
        )
        done = journal.add(connection, everybody[0], status="done", error="note")
        operations.resolve(
            connection, iter([*ids[1:], done]), OperationStatus.SKIPPED, error="100% no"
        )
    written = rows(database)
    assert {(written[id_]["status"], written[id_]["error"]) for id_ in ids[1:]} == {
        ("skipped", "100% no")
    }
    assert all(written[id_]["ended_at"] for id_ in ids[1:])
    assert (written[done]["status"], written[done]["error"]) == ("done", "note")
    assert written[ids[0]]["status"] == "held"


def test_users_with_a_failure(database: Database) -> None:
    with database.write() as connection:
        journal = Journal(connection, names(5), "chat", "wiki")
        journal.add(connection, "user0000", status="failed", next_attempt_at=LATER)
        journal.add(connection, "user0001", status="unknown")
        journal.add(connection, "user0002", status="failed")
        journal.add(connection, "user0003", status="held")
        journal.add(connection, "user0004", service="wiki", status="unknown")
    ids = list(journal.user_ids.values())
    with database.read() as connection:
        assert operations.failed_users(connection, ["chat"]) == set(ids[:2])
        assert operations.failed_users(connection, {"chat": 1, "wiki": 2}) == {*ids[:2], ids[4]}
        assert operations.failed_users(connection, []) == frozenset()


def test_operations_are_counted_per_run_service_and_status(database: Database) -> None:
    with database.write() as connection:
        journal = Journal(connection, names(3), "chat", "wiki")
        first = journal.run_id
        for name in names(3):
            journal.add(connection, name, status="done")
        journal.add(connection, "user0000", service="wiki", status="held")
        journal.run_id = second = begin(connection)
        journal.add(connection, "user0001", status="failed")
        third = begin(connection)
    with database.read() as connection:
        assert operations.counted(connection, [third, second, first]) == {
            first: {"chat": {"done": 3}, "wiki": {"held": 1}},
            second: {"chat": {"failed": 1}},
        }
        assert operations.counted(connection, [second]) == {second: {"chat": {"failed": 1}}}
        assert operations.counted(connection, []) == {}


def test_runs_whose_operations_were_begun_or_are_to_be(database: Database) -> None:
    with database.write() as connection:
        journal = Journal(connection, names(8), "chat")
        ids = {}
        for name, status in zip(names(8), OperationStatus, strict=True):
            journal.run_id = ids[status] = begin(connection)
            journal.add(connection, name, status=status)
    with database.read() as connection:
        found = operations.underway(connection, [*ids.values(), 999])
        assert operations.underway(connection, [ids[OperationStatus.DONE]]) == frozenset()
    assert found == {ids[OperationStatus.PENDING], ids[OperationStatus.RUNNING]}


def test_what_waits_on_an_account(database: Database) -> None:
    with database.write() as connection:
        journal = Journal(connection, ["ada", "bob"], "chat")
        again = journal.add(connection, "ada", status="failed", next_attempt_at=LATER)
        journal.add(connection, "ada", Verb.DELETE, status="failed")
        held = journal.add(connection, "ada", Verb.DISABLE, status="held")
        journal.add(connection, "bob")
    with database.read() as connection:
        account_id = journal.account_ids["chat", journal.user_ids["ada"]]
        found = operations.waiting(connection, account_id)
        assert operations.waiting(connection, 999) == []
    assert [(row["id"], row["status"]) for row in found] == [(again, "failed"), (held, "held")]


def test_a_status_that_there_is_not_is_refused(database: Database) -> None:
    with (
        pytest.raises(StoreError, match=r"operations_status|CHECK"),
        database.write() as connection,
    ):
        Journal(connection, ["ada"], "chat").add(connection, "ada", status="forgotten")
    assert statuses(database) == []


def test_what_every_run_asks_does_not_go_through_the_history(sqlite: Database) -> None:
    asked: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, sql: str, values: Any, _context: Any, _many: Any) -> None:
        asked.append((sql, values))

    with sqlite.read() as connection:
        connection.begin()
        event.listen(connection, "before_cursor_execute", note)
        operations.unfinished(connection, ["chat"])
        operations.failed_users(connection, ["chat"])
        operations.recent_removals(connection, "chat", since=MOMENT)
        operations.waiting(connection, 1)
        holds.held(connection)
        holds.summary(connection)
        event.remove(connection, "before_cursor_execute", note)
        plans = [
            " ".join(
                row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)
            )
            for sql, values in asked
        ]
    assert len(plans) == 6
    for plan in plans:
        assert re.search(r"operations_(open|retry|removals|account)", plan), plan
        assert not re.search(r"SCAN operations(?! USING)", plan), plan
