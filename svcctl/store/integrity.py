"""What can be wrong with a database, from its file's permissions to the sense of its rows."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from sqlalchemy import Column, Connection, Select, Table, and_, func, or_, select

from svcctl.errors import SchemaError
from svcctl.model import OPEN, AccountStatus, OperationStatus, RecordVerb, Verb
from svcctl.store.database import SCHEMA, Database
from svcctl.store.tables import accounts, metadata, operations, runs

_MANY = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that should not be so: by which check, where, and what."""

    check: str
    subject: str
    problem: str


def check(database: Database) -> list[Finding]:
    """Everything that is found wrong, at most 20 of a kind; nothing is changed.

    Rows are looked at only when the file is sound and the schema this code's. Raises SchemaError
    for a newer one, StoreError when it is not a svcctl database or cannot be read at all.
    """
    findings = list(_permissions(database))
    try:
        database.require_schema()
        current = True
    except SchemaError as error:
        found = database.schema()
        if found is None or found > SCHEMA:
            raise
        current = False
        findings.append(Finding("schema", database.name, f"{error.message}; {error.hint}"))
    with database.read() as connection:
        if database.sqlite:
            damage = list(islice(_pages(connection), _MANY))
            if damage:
                return findings + damage
            findings += islice(_references(connection), _MANY)
        if current:
            for rows in (_accounts, _operations, _documents):
                findings += islice(rows(connection), _MANY)
    return findings


def _permissions(database: Database) -> Iterator[Finding]:
    if database.path is None:
        return
    for suffix in ("", "-wal", "-shm"):
        file = database.path.with_name(database.path.name + suffix)
        mode = file.stat().st_mode & 0o777 if file.exists() else 0o600
        if mode & 0o077:
            yield Finding("permissions", str(file), f"mode is {mode:04o}; run: chmod 600 {file}")


def _pages(connection: Connection) -> Iterator[Finding]:
    for (said,) in connection.exec_driver_sql(f"PRAGMA integrity_check({_MANY})"):
        if said != "ok":
            yield Finding("integrity", "file", said)


def _references(connection: Connection) -> Iterator[Finding]:
    for table, row, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield Finding("references", f"{table} {row}", f"refers to {parent} that are not there")


def _accounts(connection: Connection) -> Iterator[Finding]:
    columns = accounts.c
    live = columns.status != AccountStatus.ABSENT
    rules = (
        (columns.status.not_in(list(AccountStatus)), "status is not one of svcctl's"),
        (and_(live, func.coalesce(columns.uid, "") == ""), "exists but has no uid"),
        (and_(~live, columns.uid.is_not(None)), "is absent but has a uid"),
        (and_(live, columns.name_key == ""), "exists but has no name key"),
    )
    for rule, problem in rules:
        yield from _rows(connection, "accounts", select(accounts.c.id).where(rule), problem)


def _operations(connection: Connection) -> Iterator[Finding]:
    columns = operations.c
    is_open = columns.status.in_(sorted(OPEN))
    rules = (
        (columns.status.not_in(list(OperationStatus)), "status is not one of svcctl's"),
        (columns.verb.not_in([*Verb, *RecordVerb]), "verb is not one of svcctl's"),
        (
            and_(columns.status == OperationStatus.RUNNING, runs.c.ended_at.is_not(None)),
            "is running though its run has ended",
        ),
        (
            or_(columns.user_id != accounts.c.user_id, columns.service != accounts.c.service),
            "user and service are not its account's",
        ),
    )
    ids = select(columns.id).select_from(operations.join(runs).join(accounts))
    for rule, problem in rules:
        yield from _rows(connection, "operations", ids.where(rule), problem)
    doubled = (
        select(columns.account_id)
        .where(is_open)
        .group_by(columns.account_id, columns.verb)
        .having(func.count() > 1)
    )
    yield from _rows(connection, "accounts", doubled, "has two open operations of one verb")


def _rows(
    connection: Connection, table: str, ids: Select[tuple[int]], problem: str
) -> Iterator[Finding]:
    for id_ in connection.scalars(ids.limit(_MANY)):
        yield Finding(table, f"{table} {id_}", problem)


def _documents(connection: Connection) -> Iterator[Finding]:
    """JSON columns, which hold what the empty one holds: an object or a list."""
    for table in metadata.sorted_tables:
        columns = [column for column in table.columns if "json" in column.info]
        if columns:
            yield from _unreadable(connection, table, columns)


def _unreadable(
    connection: Connection, table: Table, columns: list[Column[Any]]
) -> Iterator[Finding]:
    kinds = [(column.name, type(json.loads(column.info["json"]))) for column in columns]
    key = next(iter(table.primary_key))
    rows = select(key, *columns).execution_options(yield_per=5000)
    with connection.execute(rows) as found:
        for id_, *documents in found:
            for (name, kind), document in zip(kinds, documents, strict=True):
                if _kind(document) is not kind:
                    yield Finding("json", f"{table.name} {id_}", f"{name} is not readable")


@lru_cache(maxsize=65536)
def _kind(document: str) -> type | None:
    try:
        return type(json.loads(document))
    except (ValueError, RecursionError):
        return None
