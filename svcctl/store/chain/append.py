"""New entries, in the transaction that makes them due."""

from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import cache
from typing import Any

from sqlalchemy import Connection, select, update

from svcctl.clock import stamp
from svcctl.model import to_json
from svcctl.store.chain.digest import (
    DIED,
    GENESIS,
    OPERATIONS,
    RUNS,
    Kind,
    commitment,
    digest,
    head,
    sealed,
)
from svcctl.store.chunks import chunks
from svcctl.store.tables import operations, runs

MANY = 512
"""At most so many rows are named by one entry."""
_ALONE = "LOCK TABLE audit IN EXCLUSIVE MODE"
_LAST = "SELECT id, head FROM audit ORDER BY id DESC LIMIT 1"
_INSERT = "INSERT INTO audit (id, at, content, head) VALUES (?, ?, ?, ?)"
TABLES = {RUNS: runs, OPERATIONS: operations}


def extend(
    connection: Connection,
    *,
    operations: Sequence[int] = (),
    runs: Sequence[int] = (),
    died: Sequence[int] = (),
) -> None:
    """Name these rows, which have just ended, in new entries. To be called last in a transaction.

    From here to the commit no other transaction extends the chain. died: runs that somebody else
    ended; they are named once more when they were alive after all.
    """
    for key, kind, ids in (
        (OPERATIONS.name, OPERATIONS, operations),
        (RUNS.name, RUNS, runs),
        (DIED, RUNS, died),
    ):
        for part in chunks(ids, MANY):
            append(connection, {key: digests(connection, kind, part)})


def append(connection: Connection, content: dict[str, Any]) -> None:
    """One more entry."""
    if connection.dialect.name != "sqlite":  # there, who writes is alone anyway
        connection.exec_driver_sql(_ALONE)
    last = ask(connection, _LAST)
    number, previous = (last[0][0] + 1, last[0][1]) if last else (1, GENESIS)
    moment, text = stamp(), to_json(content)
    ask(connection, _INSERT, number, moment, text, head(previous, number, moment, text))


def digests(connection: Connection, kind: Kind, ids: list[int]) -> list[list[Any]]:
    """The ids with the digests of their rows as they are now; at most `MANY`."""
    return [[row[0], digest(kind, row)] for row in fetch(connection, kind, ids)]


def fetch(connection: Connection, kind: Kind, ids: list[int]) -> list[Any]:
    """The rows with these ids that are there, as values of `kind.columns`; at most `MANY`."""
    if connection.dialect.name == "sqlite":
        # A few lengths only, whose statements stay prepared.
        size = 1 << (len(ids) - 1).bit_length()
        return ask(connection, _select(kind, size), *ids, *ids[-1:] * (size - len(ids)))
    found = ask(connection, f"{_select(kind, 0)} = ANY(?)", ids)
    # Flags are numbers in SQLite, and in the digest.
    return [[int(value) if isinstance(value, bool) else value for value in row] for row in found]


@cache
def _select(kind: Kind, size: int) -> str:
    columns = ", ".join(f'"{column}"' for column in kind.columns)
    marks = f" IN ({','.join('?' * size)})" if size else ""
    return f"SELECT {columns} FROM {kind.name} WHERE id{marks}"  # noqa: S608 - constants


def ask(connection: Connection, sql: str, *parameters: Any) -> list[Any]:
    """Rows of a statement, past all of SQLAlchemy's work. The transaction has begun."""
    if connection.dialect.name == "sqlite":
        with closing(connection.connection.cursor()) as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())
    found = connection.exec_driver_sql(sql.replace("?", "%s"), parameters)
    return list(found) if found.returns_rows else []


def seal(connection: Connection, user_id: int, *, runs: Iterable[int]) -> None:
    """Before a person is erased: their operations, and these runs, keep a commitment, and no salt.

    Rows that have not ended are left out: they are digested when they end.
    """
    theirs = list(
        connection.scalars(select(operations.c.id).where(operations.c.user_id == user_id))
    )
    named = sorted(runs)
    for kind, ids in ((OPERATIONS, theirs), (RUNS, named)):
        table = TABLES[kind]
        for part in chunks(ids, MANY):
            for row in fetch(connection, kind, part):
                if not sealed(row):
                    connection.execute(
                        update(table)
                        .where(table.c.id == row[0])
                        .values(salt="", commitment=commitment(kind, row))
                    )
    append(connection, {"forgotten": {"user": user_id, "runs": named}})
