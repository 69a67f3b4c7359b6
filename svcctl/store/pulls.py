"""When each source was last taken over: a pull that fails leaves the row of the one before."""

from sqlalchemy import Connection, insert, select, update

from svcctl.clock import stamp
from svcctl.store.tables import pulls


def note(connection: Connection, source: str) -> None:
    """It is taken over now, in the transaction that does so."""
    moment = stamp()
    changed = connection.execute(update(pulls).where(pulls.c.source == source).values(at=moment))
    if not changed.rowcount:
        connection.execute(insert(pulls).values(source=source, at=moment))


def last(connection: Connection) -> dict[str, str]:
    """Source -> when that was last."""
    return dict(connection.execute(select(pulls.c.source, pulls.c.at)).all())
