"""A record that is older than it is."""

from sqlalchemy import text

from svcctl.store.chain.digest import GENESIS, head
from svcctl.store.database import Database


def age(database: Database, through: int, at: str = "2020-01-01T00:00:00Z") -> None:
    """Entries up to this one are from then. The moment is in the head, so all heads are new."""
    with database.write() as connection:
        connection.execute(
            text("UPDATE audit SET at = :at WHERE id <= :through"), {"at": at, "through": through}
        )
        last = GENESIS
        rows = connection.execute(text("SELECT id, at, content FROM audit ORDER BY id")).all()
        for id_, moment, content in rows:
            last = head(last, id_, moment, content)
            connection.execute(
                text("UPDATE audit SET head = :head WHERE id = :id"), {"head": last, "id": id_}
            )
