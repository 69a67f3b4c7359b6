"""Mailed codes as rows: only the hash of a code is kept, and it counts once."""

from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from svcctl.clock import stamp
from svcctl.store.tables import codes


def add(
    connection: Connection, *, code_hash: str, email: str, partial_id: str | None, expires_at: str
) -> None:
    """Keep a code that is about to be mailed."""
    connection.execute(
        insert(codes).values(
            code_hash=code_hash,
            email=email,
            partial_id=partial_id,
            created_at=stamp(),
            expires_at=expires_at,
        )
    )


def find(connection: Connection, code_hash: str) -> Row[Any] | None:
    """The code with this hash."""
    return connection.execute(select(codes).where(codes.c.code_hash == code_hash)).first()


def verify(connection: Connection, code_hash: str) -> bool:
    """Use the code; False when it was used before, or by somebody else at this moment."""
    result = connection.execute(
        update(codes)
        .where(codes.c.code_hash == code_hash, codes.c.verified_at.is_(None))
        .values(verified_at=stamp())
    )
    return result.rowcount == 1


def remove_expired(connection: Connection, *, at: str) -> int:
    """Remove what proves nothing any more; how many."""
    return connection.execute(delete(codes).where(codes.c.expires_at <= at)).rowcount
