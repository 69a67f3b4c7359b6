"""Associations as rows: which provider's uid belongs to which user."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from svcctl.clock import stamp
from svcctl.store.tables import associations
from svcctl.store.texts import fits

_OF_UID = select(associations).where(
    associations.c.provider == bindparam("b_provider"), associations.c.uid == bindparam("b_uid")
)
# Statements of every login are made once: making one takes as long as asking it.


def find(connection: Connection, provider: str, uid: str) -> Row[Any] | None:
    """The association of exactly this uid, case included; None if nobody has it."""
    if not fits(provider) or not fits(uid):
        return None
    return connection.execute(_OF_UID, {"b_provider": provider, "b_uid": uid}).first()


def any_there(connection: Connection) -> bool:
    """Whether there is anything encrypted."""
    return connection.execute(select(associations.c.id).limit(1)).first() is not None


def of_user(
    connection: Connection, user_id: int, provider: str | None = None, id_: int | None = None
) -> list[Row[Any]]:
    """The user's associations, oldest first; each condition narrows."""
    statement = select(associations).where(associations.c.user_id == user_id)
    if provider is not None:
        statement = statement.where(associations.c.provider == provider)
    if id_ is not None:
        statement = statement.where(associations.c.id == id_)
    return list(connection.execute(statement.order_by(associations.c.id)))


def of_provider(connection: Connection, provider: str, id_key: str) -> Iterator[Row[Any]]:
    """All associations with a provider under one identifier, streamed."""
    statement = select(associations).where(
        associations.c.provider == provider, associations.c.id_key == id_key
    )
    with connection.execute(statement.execution_options(yield_per=500)) as result:
        yield from result


def listing(connection: Connection, user_id: int) -> list[dict[str, Any]]:
    """The user's associations for people: nothing of `extra_data`."""
    return [
        {"id": row.id, "provider": row.provider, "uid": row.uid, "since": row.created_at}
        for row in of_user(connection, user_id)
    ]


def add(
    connection: Connection, *, user_id: int, provider: str, uid: str, id_key: str, extra_data: str
) -> int:
    """A new association; its id. Two of one uid are an IntegrityError."""
    moment = stamp()
    result = connection.execute(
        insert(associations).values(
            user_id=user_id,
            provider=provider,
            uid=uid,
            id_key=id_key,
            extra_data=extra_data,
            created_at=moment,
            updated_at=moment,
        )
    )
    assert result.inserted_primary_key is not None
    return int(result.inserted_primary_key[0])


_CHANGE = (
    update(associations)
    .where(associations.c.id == bindparam("b_id"))
    .values(
        uid=bindparam("uid"),
        id_key=bindparam("id_key"),
        extra_data=bindparam("extra_data"),
        updated_at=bindparam("updated_at"),
    )
)


def change(connection: Connection, id_: int, *, uid: str, id_key: str, extra_data: str) -> bool:
    """Write it as it is now; False when the association is gone."""
    values = {"uid": uid, "id_key": id_key, "extra_data": extra_data, "updated_at": stamp()}
    return connection.execute(_CHANGE, {"b_id": id_, **values}).rowcount == 1


def remove(connection: Connection, id_: int) -> bool:
    """Remove it; False when it was gone already."""
    result = connection.execute(delete(associations).where(associations.c.id == id_))
    return result.rowcount == 1
