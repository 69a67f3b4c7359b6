"""Runs as rows, and paused services."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, exists, func, insert, or_, select, update

from svcctl.clock import stamp
from svcctl.model import OperationStatus, to_json
from svcctl.store import chain
from svcctl.store.chain.digest import new_salt
from svcctl.store.chunks import chunks
from svcctl.store.tables import LARGEST_ID, operations, paused_services, runs
from svcctl.store.texts import legible

_INSERT = insert(runs)
_UNDERWAY = (OperationStatus.PENDING.value, OperationStatus.RUNNING.value)
_RECENT = 1000
"""So many runs back are looked through for ones that died."""


def begin(connection: Connection, *, command: str, actor: str, host: str, pid: int) -> int:
    """Record that a run starts; its id."""
    return _insert(connection, command=command, actor=actor, host=host, pid=pid, started_at=stamp())


def record(
    connection: Connection,
    *,
    command: str,
    actor: str,
    host: str,
    pid: int,
    exit_code: int,
    summary: Mapping[str, Any],
) -> int:
    """Record a run that began and ends with this transaction; its id."""
    moment = stamp()
    run_id = _insert(
        connection,
        command=command,
        actor=actor,
        host=host,
        pid=pid,
        started_at=moment,
        ended_at=moment,
        exit_code=exit_code,
        summary=to_json(summary),
    )
    chain.extend(connection, runs=[run_id])
    return run_id


def _insert(connection: Connection, *, command: str, actor: str, host: str, **values: Any) -> int:
    texts = {"command": legible(command), "actor": legible(actor), "host": legible(host)}
    result = connection.execute(_INSERT, {**texts, **values, "salt": new_salt()})
    assert result.inserted_primary_key is not None
    return int(result.inserted_primary_key[0])


def end(connection: Connection, run_id: int, *, exit_code: int, summary: Mapping[str, Any]) -> None:
    """Record that the run ended by itself; what it left open is only waiting, not lost."""
    connection.execute(
        update(runs)
        .where(runs.c.id == run_id)
        .values(ended_at=stamp(), exit_code=exit_code, summary=to_json(summary))
    )
    chain.extend(connection, runs=[run_id])


def close_unended(connection: Connection, ids: Iterable[int]) -> None:
    """Close runs that died, once their operations were looked at."""
    unended = select(runs.c.id).where(runs.c.id.in_(sorted(ids)), runs.c.ended_at.is_(None))
    # On a server one of them may be ending by itself at this moment: that is waited for.
    died = list(connection.scalars(unended.with_for_update()))
    connection.execute(
        update(runs)
        .where(runs.c.id.in_(died))
        .values(ended_at=stamp(), summary=to_json({"died": True}))
    )
    chain.extend(connection, died=died)


def close_dead(connection: Connection, services: Iterable[str], *, before: int) -> None:
    """Close runs that died when all of their operations had been recorded.

    To be called by who holds the locks of these services: no other run is at work on them. One
    that never worked on anything may be closed too early; it is closed anew when it ends.
    """
    elsewhere = exists().where(
        operations.c.run_id == runs.c.id,
        or_(operations.c.service.not_in(sorted(services)), operations.c.status.in_(_UNDERWAY)),
    )
    dead = select(runs.c.id).where(
        runs.c.id.between(before - _RECENT, before - 1), runs.c.ended_at.is_(None), ~elsewhere
    )
    close_unended(connection, connection.scalars(dead).all())


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment in the life of the database: the latest run, and those that have not ended."""

    latest: int
    underway: frozenset[int]


def mark(connection: Connection) -> Mark:
    """The moment of this transaction."""
    latest = connection.scalar(select(func.max(runs.c.id))) or 0
    return Mark(
        latest, frozenset(connection.scalars(select(runs.c.id).where(runs.c.ended_at.is_(None))))
    )


def listing(connection: Connection, *, limit: int) -> list[Mapping[str, Any]]:
    """The latest runs, newest first."""
    statement = select(runs).order_by(runs.c.id.desc()).limit(limit)
    return [dict(row) for row in connection.execute(statement).mappings()]


def find(connection: Connection, run_id: int) -> Mapping[str, Any] | None:
    if run_id > LARGEST_ID:
        return None
    row = connection.execute(select(runs).where(runs.c.id == run_id)).mappings().first()
    return dict(row) if row else None


def paused(connection: Connection) -> dict[str, Mapping[str, Any]]:
    """The services that an operator paused."""
    found = connection.execute(select(paused_services)).mappings()
    return {row["service"]: dict(row) for row in found}


def pause(connection: Connection, service: str, *, reason: str, actor: str) -> None:
    """Stop applying to a service; pausing twice keeps the first moment."""
    if service not in paused(connection):
        connection.execute(
            insert(paused_services).values(
                service=service, since=stamp(), reason=legible(reason), actor=legible(actor)
            )
        )


def resume(connection: Connection, service: str) -> bool:
    """Apply to the service again; whether it had been paused."""
    result = connection.execute(delete(paused_services).where(paused_services.c.service == service))
    return result.rowcount > 0


def started(connection: Connection, ids: Iterable[int]) -> dict[int, str]:
    """When these runs began."""
    return {
        id_: moment
        for chunk in chunks(sorted(set(ids)))
        for id_, moment in connection.execute(
            select(runs.c.id, runs.c.started_at).where(runs.c.id.in_(chunk))
        )
    }
