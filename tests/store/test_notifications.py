"""Notifications, on SQLite and on PostgreSQL."""

from typing import Any

import pytest
from sqlalchemy import select

from svcctl.errors import StoreError
from svcctl.store import notifications
from svcctl.store.database import Database
from svcctl.store.people import add_user
from svcctl.store.tables import notifications as table

NASTY = "100% %s :name ::text 'quoted' \\ ünï 😀"
MOMENT, LATER = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def kept(database: Database) -> list[dict[str, Any]]:
    with database.read() as connection:
        rows = connection.execute(select(table).order_by(table.c.id))
        return [dict(row) for row in rows.mappings()]


def add(database: Database, *titles: str, user_id: int | None = None) -> None:
    with database.write() as connection:
        row = {"user_id": user_id, "operation_id": None, "message": "m"}
        notifications.add(connection, [{**row, "title": title} for title in titles])


def due(database: Database, *, at: str = LATER, limit: int = 99) -> list[str]:
    with database.read() as connection:
        return [row["title"] for row in notifications.waiting(connection, at=at, limit=limit)]


def test_what_is_to_be_told_is_kept(database: Database) -> None:
    with database.write() as connection:
        ada = add_user(connection, "ada", attributes={"email": "ada@example.org"})
        notifications.add(connection, [])
        notifications.add(
            connection,
            [
                {"user_id": ada, "operation_id": None, "title": NASTY, "message": "m\n" * 9},
                {"user_id": None, "operation_id": None, "title": "t", "message": ""},
            ],
        )
    first, second = kept(database)
    assert (first["user_id"], first["title"], first["message"]) == (ada, NASTY, "m\n" * 9)
    assert (second["user_id"], second["level"], second["sent_at"]) == (None, "info", None)
    assert len({first["key"], second["key"]}) == 2
    with database.read() as connection:
        told, rest = notifications.waiting(connection, at=LATER, limit=9)
    assert (told["username"], told["attributes"]) == ("ada", {"email": "ada@example.org"})
    assert (rest["username"], rest["attributes"]) == (None, {})
    stray = {"user_id": ada + 7, "operation_id": None, "title": "t", "message": "m"}
    with pytest.raises(StoreError, match=r"(?i)foreign key"), database.write() as connection:
        notifications.add(connection, [stray])


def test_a_wait_that_a_wrong_clock_wrote_down_is_none(database: Database) -> None:
    add(database, "soon", "next year")
    with database.write() as connection:
        for row in notifications.waiting(connection, at=LATER, limit=9):
            until = "2026-01-02T23:00:00Z" if row["title"] == "soon" else "2027-01-02T00:00:00Z"
            notifications.put_off(connection, row["id"], attempts=1, error="", until=until)
    assert due(database) == ["next year"]


def test_broken_characters_are_replaced_where_people_read_them(database: Database) -> None:
    broken, shown = "a\0b\udcff", "a\ufffdb\ufffd"
    add(database, broken)
    with database.write() as connection:
        (row,) = notifications.waiting(connection, at=LATER, limit=1)
        notifications.put_off(connection, row["id"], attempts=1, error=broken, until=None)
        texts = {"command": broken, "level": "error", "title": broken, "message": broken}
        notifications.add_summary(connection, trouble=[("lab", "failed", broken)], **texts)
    first, second = kept(database)
    assert (first["title"], first["error"]) == (shown, shown)
    assert [second[key] for key in ("title", "message", "command")] == [shown] * 3
    with database.read() as connection:
        assert notifications.last_trouble(connection, broken) == [["lab", "failed", shown]]


def test_what_was_sent_or_refused_waits_no_more_and_what_was_put_off_not_yet(
    database: Database,
) -> None:
    add(database, "a", "b", "c", "d", "e")
    a, b, c, d, _ = (row["id"] for row in kept(database))
    with database.write() as connection:
        notifications.sent(connection, a)
        notifications.refuse(connection, {b: NASTY})
        notifications.put_off(connection, c, attempts=2, error=NASTY, until=LATER)
        notifications.put_off(connection, d, attempts=1, error=NASTY, until=None)
    assert due(database, at=MOMENT) == ["e", "d"]
    # What failed least often comes first, so that nothing stands in everybody's way.
    assert due(database) == ["e", "d", "c"]
    assert due(database, limit=1) == ["e"]
    rows = {row["title"]: row for row in kept(database)}
    assert (rows["a"]["sent_at"] is None, rows["a"]["error"]) == (False, None)
    assert (rows["b"]["refused_at"] is None, rows["b"]["error"]) == (False, NASTY)
    with database.write() as connection:
        notifications.sent(connection, c, error="to one of two")
        notifications.shelve(connection, "nobody asked")
    assert due(database) == []
    rows = {row["title"]: row for row in kept(database)}
    assert {title: row["error"] for title, row in rows.items()} == {
        "a": None,
        "b": NASTY,
        "c": "to one of two",
        "d": "nobody asked",
        "e": "nobody asked",
    }
    assert rows["c"]["refused_at"] is None


def test_what_operators_were_told_is_remembered_per_command(database: Database) -> None:
    def told(command: str, *trouble: list[str]) -> None:
        with database.write() as connection:
            notifications.add_summary(
                connection, command=command, trouble=trouble, level="error", title="t", message="m"
            )

    add(database, "for somebody")
    told("sync", ["lab", "failed", NASTY])
    told("update-all-groups", ["lab", "unreadable", ""])
    told("sync")
    with database.read() as connection:
        assert notifications.told(connection, since=MOMENT) == [
            ("sync", [["lab", "failed", NASTY]]),
            ("update-all-groups", [["lab", "unreadable", ""]]),
            ("sync", []),
        ]
        assert notifications.told(connection, since="9999-01-01T00:00:00Z") == []
        assert notifications.last_trouble(connection, "sync") == []
        last = notifications.last_trouble(connection, "update-all-groups")
        assert last == [["lab", "unreadable", ""]]
        assert notifications.last_trouble(connection, "delete") == []
