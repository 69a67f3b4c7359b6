"""Partials as rows: pipeline runs that paused; found by public id, or by the hash of a token."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from svcctl.clock import stamp
from svcctl.model import to_json
from svcctl.store.tables import partials, users
from svcctl.store.texts import fits


def add(connection: Connection, **values: Any) -> None:
    """Keep a paused run. `fingerprint` and `needs` are lists; the rest goes in as it is."""
    connection.execute(
        insert(partials).values(
            **{
                **values,
                "fingerprint": to_json(list(values["fingerprint"])),
                "needs": to_json(list(values["needs"])),
            },
            attempts=0,
            created_at=stamp(),
        )
    )


def any_there(connection: Connection) -> bool:
    """Whether any run is paused."""
    return connection.execute(select(partials.c.id).limit(1)).first() is not None


def find(connection: Connection, id_: str) -> Row[Any] | None:
    """The partial with this public id."""
    statement = select(partials).where(partials.c.id == id_)
    return connection.execute(statement).first() if fits(id_) else None


def by_token(connection: Connection, token_hash: str) -> Row[Any] | None:
    """The partial whose token has this hash."""
    return connection.execute(select(partials).where(partials.c.token_hash == token_hash)).first()


def listing(connection: Connection) -> list[Mapping[str, Any]]:
    """All partials, oldest first, with their users' names; never a token or what was saved."""
    statement = (
        select(
            partials.c.id,
            partials.c.pipeline,
            partials.c.kind,
            partials.c.backend,
            partials.c.step,
            users.c.username.label("user"),
            partials.c.why,
            partials.c.needs,
            partials.c.external,
            partials.c.attempts,
            partials.c.actor,
            partials.c.created_at,
            partials.c.expires_at,
        )
        .outerjoin(users, users.c.id == partials.c.user_id)
        .order_by(partials.c.created_at, partials.c.id)
    )
    return [
        {**row, "needs": json.loads(row["needs"])}
        for row in connection.execute(statement).mappings()
    ]


def remove(connection: Connection, id_: str) -> bool:
    """Use it up; False when somebody else has done so: only one may go on."""
    return connection.execute(delete(partials).where(partials.c.id == id_)).rowcount == 1


def count_attempt(connection: Connection, id_: str) -> None:
    """Remember that a resume failed."""
    connection.execute(
        update(partials).where(partials.c.id == id_).values(attempts=partials.c.attempts + 1)
    )


def remove_expired(connection: Connection, *, at: str) -> int:
    """Remove what nobody can resume any more; how many."""
    return connection.execute(delete(partials).where(partials.c.expires_at <= at)).rowcount
