"""The hash chain on SQLite and on PostgreSQL: what is done to it is found and named."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Connection, select, text

from svcctl.clock import stamp
from svcctl.errors import StoreError
from svcctl.model import OperationStatus, Verb
from svcctl.store import operations, runs
from svcctl.store.chain.append import append, extend, fetch
from svcctl.store.chain.digest import OPERATIONS, commitment
from svcctl.store.chain.export import Wanted, export, verify_export
from svcctl.store.chain.prune import plan, prune, require_whole
from svcctl.store.chain.verify import Verdict, heads, verify
from svcctl.store.database import Database
from svcctl.store.oblivion import forget_user
from svcctl.store.tables import users
from tests.store.test_operations import Journal
from tests.support.ages import age

NAMES = ("zoe", "bob", "eve")


@dataclass(frozen=True)
class Record:
    """A run that created an account for three, and gave each a nickname."""

    database: Database
    ids: list[int]

    def verify(self, *kept: str) -> Verdict:
        with self.database.read() as connection:
            return verify(connection, heads(kept))

    def found(self, *kept: str) -> list[str]:
        return [f"{found.subject}: {found.problem}" for found in self.verify(*kept).findings]

    def execute(self, *statements: str) -> None:
        with self.database.write() as connection:
            for statement in statements:
                connection.execute(text(statement))

    def scalar(self, statement: str) -> Any:
        with self.database.read() as connection:
            return connection.scalar(text(statement))


def done(connection: Connection, id_: int, **after: str) -> None:
    row = operations.done(id_, before={}, after=after, attempts=1, note="")
    operations.settle(connection, [row])


@pytest.fixture
def record(database: Database) -> Record:
    ids = []
    with database.write() as connection:
        journal = Journal(connection, NAMES, "chat")
        for name in NAMES:
            about = {"args": f'{{"name":"{name}"}}', "reason": f"{name} may have one"}
            ids.append(journal.add(connection, name, **about))
            ids.append(journal.add(connection, name, Verb.SET_NICKNAME, seq=1))
    for id_, name in zip(ids, [name for name in NAMES for _ in range(2)], strict=True):
        with database.write() as connection:
            done(connection, id_, name=name)
    with database.write() as connection:
        runs.end(connection, journal.run_id, exit_code=0, summary={"about": "zoe"})
    return Record(database, ids)


def test_what_was_recorded_holds(record: Record) -> None:
    verdict = record.verify()
    assert verdict.findings == []
    assert [(kind.name, count) for kind, count in verdict.counts.items()] == [
        ("operations", 6),
        ("runs", 1),
    ]
    assert verdict.entries == 8
    assert verdict.head == f"8:{record.scalar('SELECT head FROM audit WHERE id = 8')}"


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        (
            "UPDATE operations SET reason = 'none' WHERE id = {2}",
            "operation {2}: was changed after",
        ),
        ("UPDATE operations SET status = 'failed' WHERE id = {2}", "operation {2}: was changed"),
        ("UPDATE operations SET removal = NOT removal WHERE id = {3}", "operation {3}: was chang"),
        ("UPDATE operations SET undo_of = 1 WHERE id = {3}", "operation {3}: was changed"),
        ("DELETE FROM operations WHERE id = {4}", "operation {4}: is gone; entry 6 of 2"),
        ("UPDATE runs SET actor = 'eve'", "run 1: was changed"),
        ("UPDATE runs SET summary = '{{}}'", "run 1: was changed"),
        ("UPDATE runs SET ended_at = NULL", "run 1: was changed"),
        ("UPDATE audit SET at = '' WHERE id = 3", "entry 3: was changed, or took another"),
        ("UPDATE audit SET content = 'x' WHERE id = 3", "entry 3: is not readable"),
        ("DELETE FROM audit WHERE id = 4", "entry 4: is gone"),
        ("DELETE FROM audit WHERE id IN (1, 2)", "entries 1 to 2: are gone"),
        ("DELETE FROM audit WHERE id = 3", "operation {1}: is not in the chain"),
        ("DELETE FROM audit", "chain: is gone: there is not one entry"),
        (
            "UPDATE operations SET salt = '', commitment = 'x' WHERE id = {0}",
            "operation {0}: was changed",
        ),
    ],
)
def test_what_is_changed_or_removed_is_named(record: Record, statement: str, finding: str) -> None:
    record.execute(statement.format(*record.ids))
    found = record.found()
    assert [one for one in found if one.startswith(finding.format(*record.ids))], found


def test_a_change_is_the_only_thing_that_is_named(record: Record) -> None:
    record.execute(f"UPDATE operations SET error = 'late' WHERE id = {record.ids[2]}")
    (said,) = record.found()
    assert said.startswith(f"operation {record.ids[2]}: was changed after 2")
    assert said.endswith("(entry 4)")


def test_a_row_that_is_put_in_is_named(record: Record) -> None:
    columns = (
        "run_id, service, user_id, account_id, seq, verb, args, before, after, reason, actor,"
        " removal, notify, looked, status, attempts, salt"
    )
    record.execute(
        f"INSERT INTO operations (id, {columns}) SELECT 77, {columns}"
        f" FROM operations WHERE id = {record.ids[0]}"
    )
    assert record.found() == ["operation 77: is not in the chain"]


def test_entries_that_change_places_are_named(record: Record) -> None:
    record.execute(
        "UPDATE audit SET id = 99 WHERE id = 3",
        "UPDATE audit SET id = 3 WHERE id = 4",
        "UPDATE audit SET id = 4 WHERE id = 99",
    )
    said = "was changed, or took another one's place"
    assert record.found() == [f"entry {entry}: {said}" for entry in (3, 4, 5)]


def test_an_end_that_is_cut_off_is_found_by_a_head_that_was_kept(record: Record) -> None:
    kept = record.verify().head
    record.execute(
        "DELETE FROM audit WHERE id >= 7",
        f"DELETE FROM operations WHERE id = {record.ids[5]}",
        "UPDATE runs SET ended_at = NULL",
    )
    assert record.found() == []
    assert record.found(kept) == ["head 8: was kept, and the chain ends at entry 6"]


def test_a_chain_that_is_written_anew_is_found_by_a_head_that_was_kept(record: Record) -> None:
    kept = record.verify().head
    record.execute("UPDATE operations SET reason = 'none'", "DELETE FROM audit")
    with record.database.write() as connection:
        for id_ in record.ids:
            extend(connection, operations=[id_])
        extend(connection, runs=[1])
        append(connection, {"runs": []})
    assert record.found() == []
    (said,) = record.found(kept)
    assert said.startswith("head 8: was ")
    assert said.endswith(f", and is {record.verify().head.split(':')[1]}")


def test_every_way_to_end_is_in_the_chain(database: Database) -> None:
    with database.write() as connection:
        journal = Journal(connection, [f"u{n}" for n in range(6)], "chat")
        ids = [journal.add(connection, f"u{n}") for n in range(5)]
        held = journal.add(connection, "u5", status="held")
        born_done = journal.add(connection, "u5", Verb.SET_NICKNAME, status="done")
        operations.settle(
            connection,
            [
                operations.ended(ids[0], OperationStatus.FAILED, attempts=1, next_attempt_at="x"),
                operations.ended(ids[1], OperationStatus.SKIPPED, attempts=0),
                operations.ended(ids[2], OperationStatus.UNKNOWN, attempts=1),
                operations.ended(ids[3], OperationStatus.PENDING, attempts=1),
            ],
        )
    with database.write() as connection:
        operations.supersede(connection, [ids[0], ids[2], ids[3]])
        operations.resolve(connection, [held], OperationStatus.SKIPPED, error="rejected by root")
        runs.close_unended(connection, [journal.run_id])
        runs.record(connection, command="x", actor="x", host="x", pid=1, exit_code=0, summary={})
    with database.read() as connection:
        verdict = verify(connection)
        named = "".join(connection.scalars(text("SELECT content FROM audit")))
    assert verdict.findings == []
    assert list(verdict.counts.values()) == [6, 2]
    assert f"[{born_done}," in named
    assert f"[{ids[4]}," not in named


def test_a_run_that_was_alive_after_all_is_named_again(database: Database) -> None:
    with database.write() as connection:
        run_id = Journal(connection, NAMES, "chat").run_id
        runs.close_unended(connection, [run_id])
    record = Record(database, [])
    assert record.found() == []
    with database.write() as connection:
        runs.end(connection, run_id, exit_code=0, summary={})
    verdict = record.verify()
    assert (verdict.findings, list(verdict.counts.values())) == ([], [0, 1])
    with database.read() as connection:
        assert verify_export(map(json.dumps, export(connection, Wanted()))).findings == []
    with database.write() as connection:
        extend(connection, runs=[run_id])
    assert record.found() == [f"run {run_id}: is named a second time by entry 4"]


def test_a_run_that_was_found_dead_is_not_changed_unnoticed(record: Record) -> None:
    with record.database.write() as connection:
        late = runs.begin(connection, command="sync", actor="tests", host="here", pid=1)
        runs.close_unended(connection, [late])
    assert record.found() == []
    record.execute(f"UPDATE runs SET exit_code = 0 WHERE id = {late}")
    assert record.found()[0].startswith(f"run {late}: was changed after 2")


def test_who_is_forgotten_does_not_break_it_and_cannot_be_guessed(record: Record) -> None:
    kept = record.verify().head
    with record.database.write() as connection:
        connection.execute(text("UPDATE accounts SET status = 'absent', uid = NULL"))
        zoe = connection.execute(select(users).where(users.c.username == "zoe")).one()
        forget_user(connection, zoe)
    verdict = record.verify(kept)
    assert verdict.findings == []
    assert verdict.sealed == 3  # two operations, and the run that named her
    with record.database.read() as connection:
        told = [dict(row) for row in connection.execute(text("SELECT * FROM audit")).mappings()]
        rows = connection.execute(
            text(f"SELECT * FROM operations WHERE user_id = {zoe.id}")
        ).mappings()
        salts = {row["salt"] for row in rows}
    assert salts == {""}
    assert "zoe" not in str(told)


def test_not_even_the_right_guess_at_a_text_can_be_told_from_a_wrong_one(record: Record) -> None:
    with record.database.write() as connection:
        known = fetch(connection, OPERATIONS, record.ids[:2])
        connection.execute(text("UPDATE accounts SET status = 'absent', uid = NULL"))
        forget_user(
            connection, connection.execute(select(users).where(users.c.username == "zoe")).one()
        )
        sealed = fetch(connection, OPERATIONS, record.ids[:2])
    for before, after in zip(known, sealed, strict=True):
        *rest, salt, _ = before
        assert len(salt) == 32
        assert commitment(OPERATIONS, before) == after[-1]
        for guess in ("", "0" * 32):
            assert commitment(OPERATIONS, [*rest, guess, None]) != after[-1]


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("UPDATE operations SET verb = 'delete_account' WHERE id = {0}", "operation {0}: was cha"),
        ("UPDATE operations SET commitment = 'x' WHERE id = {0}", "operation {0}: was changed"),
        ("UPDATE users SET username = 'zoe' WHERE id = 1", "entry 9: says that user 1 was forgo"),
        ("DELETE FROM audit WHERE id = 9", "operation {0}: has lost its salt, and user 1 was not"),
        ("DELETE FROM audit WHERE id = 9", "run 1: has lost its salt, and nobody in it was forg"),
    ],
)
def test_what_is_known_of_a_forgotten_person_is_still_proven(
    record: Record, statement: str, finding: str
) -> None:
    with record.database.write() as connection:
        connection.execute(text("UPDATE accounts SET status = 'absent', uid = NULL"))
        forget_user(
            connection, connection.execute(select(users).where(users.c.username == "zoe")).one()
        )
    record.execute(statement.format(*record.ids))
    found = record.found()
    assert [one for one in found if one.startswith(finding.format(*record.ids))], found


# Retention


@pytest.fixture
def old(record: Record) -> Record:
    """The first five operations are from 2020."""
    age(record.database, through=6)
    assert record.found() == []
    return record


def cut(record: Record, before: str) -> dict[str, int]:
    with record.database.write() as connection:
        require_whole(connection)
        pruning = plan(connection, before)
        if pruning.entries:
            prune(connection, pruning)
    return {"entries": pruning.entries} | {kind.name: n for kind, n in pruning.counts.items()}


def test_what_is_left_after_pruning_verifies(old: Record) -> None:
    kept = old.verify().head
    assert cut(old, "2021-01-01T00:00:00Z") == {"entries": 6, "operations": 5, "runs": 0}
    assert old.scalar("SELECT count(*) FROM operations") == 1
    verdict = old.verify(kept)
    assert (verdict.findings, verdict.start.entry, verdict.entries) == ([], 6, 3)
    assert cut(old, "2021-01-01T00:00:00Z") == {"entries": 0, "operations": 0, "runs": 0}
    # Heads from before that are not proof of anything, and that is said.
    assert old.verify(f"3:{'0' * 64}").unproven == 1
    assert old.found(f"6:{'0' * 64}")[0].startswith("head 6: was 0000")
    # What was pruned is pruned: nothing is put in its place, and nothing more goes unnoticed.
    old.execute("DELETE FROM audit WHERE id = 7")
    assert "entry 7: is gone" in old.found()


def test_all_but_the_last_entry_can_go_and_numbers_are_not_given_again(old: Record) -> None:
    assert cut(old, "2999-01-01T00:00:00Z") == {"entries": 7, "operations": 5, "runs": 0}
    assert old.scalar("SELECT max(id) FROM operations") == old.ids[-1]
    assert old.found() == []
    assert cut(old, "2999-01-01T00:00:00Z") == {"entries": 1, "operations": 0, "runs": 0}
    assert old.found() == []


def test_what_waits_for_another_attempt_stays(old: Record) -> None:
    waits = old.ids[1]
    old.execute(f"UPDATE operations SET next_attempt_at = '2999' WHERE id = {waits}")
    assert cut(old, "2021-01-01T00:00:00Z")["operations"] == 4
    assert old.scalar("SELECT min(id) FROM operations") == waits
    assert old.found() == []
    old.execute(f"UPDATE operations SET reason = '' WHERE id = {waits}")
    assert len(old.found()) == 1


def test_the_forgotten_stay_forgotten_after_pruning(old: Record) -> None:
    with old.database.write() as connection:
        connection.execute(text("UPDATE accounts SET status = 'absent', uid = NULL"))
        for name in ("zoe", "eve"):
            forget_user(
                connection, connection.execute(select(users).where(users.c.username == name)).one()
            )
    assert old.found() == []
    assert cut(old, "2999-01-01T00:00:00Z")["operations"] == 5
    assert old.found() == []
    assert old.verify().sealed == 2  # the newest operation and the run


def test_a_record_that_does_not_hold_is_not_pruned(old: Record) -> None:
    old.execute(f"UPDATE operations SET reason = '' WHERE id = {old.ids[0]}")
    with pytest.raises(StoreError, match="not as it was written; nothing of it is deleted"):
        cut(old, "2021-01-01T00:00:00Z")
    assert old.scalar("SELECT count(*) FROM operations") == 6


# Exports


def lines(record: Record, wanted: Wanted | None = None) -> list[str]:
    from svcctl.commands.output import line

    with record.database.read() as connection:
        return [line(told) for told in export(connection, wanted or Wanted())]


def test_an_export_verifies_by_itself(record: Record) -> None:
    exported = lines(record)
    verdict = verify_export(exported, heads([record.verify().head]))
    assert (verdict.findings, list(verdict.counts.values())) == ([], [6, 1])
    assert verdict.head == record.verify().head
    assert list(heads(exported[1:])) == list(heads([verdict.head]))


def drop(number: int) -> Callable[[list[str]], list[str]]:
    return lambda exported: exported[:number] + exported[number + 1 :]


def replace(old: str, new: str) -> Callable[[list[str]], list[str]]:
    return lambda exported: [one.replace(old, new, 1) for one in exported]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (replace("bob may have", "bob must have"), "operation 3: was changed after"),
        (replace('"verb":"create_account"', '"verb":"delete_account"'), "operation 1: was chan"),
        (replace('"status":"done"', '"status":[]'), "operation 1: was changed"),
        (replace('"status":"done"', '"status":"\\ud800"'), "operation 1: was changed"),
        (drop(3), "operation 1: is gone"),
        (drop(2), "entry 2: is gone"),
        (lambda exported: exported[:-1], "file: is cut off: it has no last line"),
        (lambda exported: exported[:6], "file: is cut off"),
        (lambda exported: [*exported, exported[3]], "line 18: stands after the end"),
        (lambda exported: [*exported[:4], "[" * 100_000, *exported[4:]], "line 5: is not readable"),
        (lambda exported: [*exported[:5], exported[3], *exported[5:]], "line 6: is not readable"),
        (lambda exported: [*exported[:2], *exported[4:6], *exported[2:4], *exported[6:]], "entry"),
        (replace('"after":"0:0', '"after":"0:1'), "entry 1: was changed, or took another one's"),
        (replace('"head":"8:', '"head":"9:'), "file: ends at 8:"),
    ],
)
def test_what_is_changed_in_an_export_is_named(
    record: Record, change: Callable[[list[str]], list[str]], finding: str
) -> None:
    found = [
        f"{one.subject}: {one.problem}" for one in verify_export(change(lines(record))).findings
    ]
    assert [one for one in found if one.startswith(finding)], found


def test_an_export_of_some_says_what_it_leaves_out(record: Record) -> None:
    exported = lines(record, Wanted(users={1}, services={"chat"}))
    assert [one.count('"event":"operation"') for one in exported].count(1) == 2
    assert "bob" not in "".join(exported)
    verdict = verify_export(exported)
    assert (verdict.findings, verdict.left_out) == ([], 5)
    assert verify_export(lines(record, Wanted(services={"none"}))).left_out == 7


def test_an_export_of_a_stretch_begins_and_ends_there(old: Record) -> None:
    late = lines(old, Wanted(since="2021-01-01T00:00:00Z"))
    verdict = verify_export(late)
    assert (verdict.findings, verdict.start.entry, verdict.entries) == ([], 6, 2)
    early = lines(old, Wanted(until="2021-01-01T00:00:00Z"))
    verdict = verify_export(early)
    assert (verdict.findings, verdict.head) == ([], late[0].partition('"after":"')[2][:66])
    assert verify_export(lines(old, Wanted(since="2999"))).findings == []


def test_two_who_settle_at_once_make_one_chain(
    record: Record, reopen: Callable[..., Database]
) -> None:
    with record.database.write() as connection:
        journal = Journal(connection, [f"n{n}" for n in range(40)], "wiki")
        ids = [journal.add(connection, f"n{n}", service="wiki") for n in range(40)]

    def settle(mine: list[int]) -> None:
        database = reopen(record.database)
        for id_ in mine:
            with database.write() as connection:
                done(connection, id_)

    threads = [threading.Thread(target=settle, args=(ids[n::2],)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    verdict = record.verify()
    assert (verdict.findings, verdict.entries) == ([], 48)


def test_what_is_rolled_back_leaves_no_entry(record: Record) -> None:
    before = record.verify()
    with record.database.write(keep=False) as connection:
        runs.record(connection, command="x", actor="x", host="x", pid=1, exit_code=0, summary={})
    assert record.verify() == before
    assert stamp() >= before.at
