"""Many rows at once: lists in pieces that fit a statement, and one statement for many rows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import Connection, Dialect, Update

T = TypeVar("T")
SIZE = 500


def chunks(items: Iterable[T], size: int = SIZE) -> Iterator[list[T]]:
    """Consecutive lists of at most `size` items."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def update_each(
    connection: Connection, statement: Update, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Run the update for each row of parameters, past SQLAlchemy's own work on every parameter.

    Only for columns whose values need no conversion: text, numbers and booleans.
    """
    if not rows:
        return
    sql, names = _compiled(statement, connection.dialect)
    if names is None:
        connection.exec_driver_sql(sql, [dict(row) for row in rows])
    else:
        pick = itemgetter(*names)
        connection.exec_driver_sql(sql, [pick(row) for row in rows])


@lru_cache(maxsize=16)
def _compiled(statement: Update, dialect: Dialect) -> tuple[str, tuple[str, ...] | None]:
    """The driver's SQL, and the order of the parameters where the driver goes by position."""
    compiled = statement.compile(dialect=dialect)
    names = tuple(compiled.positiontup or ()) if compiled.positional else None
    return str(compiled), names
