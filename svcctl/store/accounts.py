"""Accounts as rows: reading them, reserving them, writing what an operation left."""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Update, bindparam, func, insert, select, update

from svcctl.clock import stamp
from svcctl.model import NOTHING, Account, AccountStatus, UndoPin, names_to_json, to_json
from svcctl.store.chunks import chunks, update_each
from svcctl.store.tables import accounts, users

COLUMNS = (
    accounts.c.user_id,
    accounts.c.service,
    accounts.c.id,
    accounts.c.status,
    accounts.c.uid,
    accounts.c.name,
    accounts.c.groups,
    accounts.c.nickname,
    accounts.c.data,
    accounts.c.disabled_at,
    accounts.c.pin,
)

_FETCH = 2000
_STATUS = {status.value: status for status in AccountStatus}


@lru_cache(maxsize=4096)
def _groups(text: str) -> frozenset[str]:
    return frozenset(json.loads(text))


def from_row(row: Any) -> Account:
    """A row of `COLUMNS` as hooks see it."""
    user_id, service, id_, status, uid, name, groups, nickname, data, disabled_at, pin = row
    return Account(
        service=service,
        user_id=user_id,
        id=id_,
        status=_STATUS[status],
        uid=uid,
        name=name,
        groups=_groups(groups),
        nickname=nickname,
        data=NOTHING if data == "{}" else json.loads(data),
        disabled_at=disabled_at,
        pin=pin,
    )


def find(connection: Connection, **where: Any) -> list[Account]:
    """Accounts whose columns equal the values given, or are among them; in order of user."""
    statement = select(*COLUMNS).order_by(accounts.c.user_id, accounts.c.service)
    for column, value in where.items():
        if isinstance(value, (list, tuple, set, frozenset)):
            statement = statement.where(accounts.c[column].in_(value))
        else:
            statement = statement.where(accounts.c[column] == value)
    return [from_row(row) for row in connection.execute(statement)]


def by_id(connection: Connection, ids: Iterable[int]) -> dict[int, Account]:
    """Accounts by row id; any number of ids."""
    return {
        row.id: from_row(row)
        for chunk in chunks(sorted(ids))
        for row in connection.execute(select(*COLUMNS).where(accounts.c.id.in_(chunk)))
    }


def by_uid(connection: Connection, service: str, uids: Iterable[str]) -> dict[str, Account]:
    """The service's accounts by the remote's uid; any number of uids."""
    rows = rows_by_uid(connection, service, uids)
    return {uid: from_row(row) for uid, row in rows.items()}


def rows_by_uid(connection: Connection, service: str, uids: Iterable[str]) -> dict[str, Any]:
    """The same as rows of `COLUMNS`."""
    return {
        row[4]: row
        for chunk in chunks(uids)
        for row in connection.execute(
            select(*COLUMNS).where(accounts.c.service == service, accounts.c.uid.in_(chunk))
        ).all()
    }


_HOLDERS = select(accounts.c.uid, accounts.c.id).where(
    accounts.c.service == bindparam("service"),
    accounts.c.uid.in_(bindparam("uids", expanding=True)),
)


def holders(connection: Connection, service: str, uids: Iterable[str]) -> dict[str, int]:
    """Whose the uids are already: uid -> account row id; any number of uids."""
    return {
        uid: id_
        for chunk in chunks(uids)
        for uid, id_ in connection.execute(_HOLDERS, {"service": service, "uids": chunk})
    }


def live_names(
    connection: Connection, service: str, keys: Iterable[str]
) -> dict[str, tuple[int, str]]:
    """Which of the name keys belong to a live account: key -> (user id, username)."""
    statement = select(accounts.c.name_key, users.c.id, users.c.username).join(
        users, users.c.id == accounts.c.user_id
    )
    return {
        key: (user_id, username)
        for chunk in chunks(keys)
        for key, user_id, username in connection.execute(
            statement.where(
                accounts.c.service == service,
                accounts.c.status != AccountStatus.ABSENT.value,
                accounts.c.name_key.in_(chunk),
            )
        )
    }


def ids_of(connection: Connection, pairs: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Row ids by (service, user id), of those that have a row."""
    wanted: dict[str, list[int]] = {}
    for service, user_id in pairs:
        wanted.setdefault(service, []).append(user_id)
    return {
        (service, user_id): id_
        for service, user_ids in wanted.items()
        for chunk in chunks(user_ids)
        for user_id, id_ in connection.execute(
            select(accounts.c.user_id, accounts.c.id).where(
                accounts.c.service == service, accounts.c.user_id.in_(chunk)
            )
        )
    }


def reserve(connection: Connection, pairs: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Rows for accounts to come, `absent` until they are created. Returns the row ids."""
    moment = stamp()
    rows = [
        {"service": service, "user_id": user_id, "created_at": moment, "updated_at": moment}
        for service, user_id in pairs
    ]
    if not rows:
        return {}
    connection.execute(insert(accounts), rows)
    return ids_of(connection, ((row["service"], row["user_id"]) for row in rows))  # type: ignore[misc]


def _writing(*columns: str) -> Update:
    return (
        update(accounts)
        .where(accounts.c.id == bindparam("b_id"))
        .values({column: bindparam(f"b_{column}") for column in columns})
    )


_CONTENT = ("groups", "nickname", "pin", "updated_at")
_STANDING = ("status", "uid", "name", "name_key", "data", "disabled_at")
_WRITE_CONTENT = _writing(*_CONTENT)
_WRITE_ALL = _writing(*_CONTENT, *_STANDING)


def content(account: Account) -> dict[str, Any]:
    """The parameters of `write` for an account of which only groups, nickname or pin changed.

    Writing the rest as well would cost an entry in each index.
    """
    return {
        "b_id": account.id,
        "b_groups": names_to_json(account.groups),
        "b_nickname": account.nickname,
        "b_pin": account.pin,
    }


def written(account: Account, name_key: str) -> dict[str, Any]:
    """The parameters of `write` for a whole account."""
    return {
        **content(account),
        "b_status": account.status.value,
        "b_uid": account.uid,
        "b_name": account.name,
        "b_name_key": name_key,
        "b_data": to_json(account.data) if account.data else "{}",
        "b_disabled_at": account.disabled_at,
    }


def write(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Write accounts, all at one moment; `rows` come from `written` and `content`."""
    moment = stamp()
    for row in rows:
        row["b_updated_at"] = moment
    update_each(connection, _WRITE_ALL, [row for row in rows if "b_status" in row])
    update_each(connection, _WRITE_CONTENT, [row for row in rows if "b_status" not in row])


_OBSERVE = (
    update(accounts)
    .where(accounts.c.id == bindparam("b_id"))
    .values(groups=bindparam("b_groups"), updated_at=bindparam("b_updated_at"))
)


def observe(connection: Connection, groups: Mapping[int, frozenset[str]]) -> None:
    """Take over the managed groups that a service really listed, where no operation is needed."""
    moment = stamp()
    rows = [
        {"b_id": id_, "b_groups": names_to_json(names), "b_updated_at": moment}
        for id_, names in groups.items()
    ]
    update_each(connection, _OBSERVE, rows)


def live(connection: Connection, service: str) -> Iterator[Any]:
    """The accounts that exist, by user, streamed: id, user_id, username, name, uid and status."""
    statement = (
        select(
            *(accounts.c.id, accounts.c.user_id, users.c.username),
            *(accounts.c.name, accounts.c.uid, accounts.c.status),
        )
        .join(users, users.c.id == accounts.c.user_id)
        .where(accounts.c.service == service, accounts.c.status != AccountStatus.ABSENT.value)
        .order_by(accounts.c.user_id)
    )
    with connection.execute(statement.execution_options(yield_per=_FETCH)) as result:
        for part in result.partitions():
            yield from part


def population(connection: Connection, service: str) -> tuple[int, int]:
    """How many accounts are active, and how many exist at all (active or disabled)."""
    counted: dict[str, int] = dict(
        connection.execute(
            select(accounts.c.status, func.count())
            .where(accounts.c.service == service)
            .group_by(accounts.c.status)
        ).all()
    )
    active = counted.get(AccountStatus.ACTIVE.value, 0)
    return active, active + counted.get(AccountStatus.DISABLED.value, 0)


def pin(connection: Connection, ids: Iterable[int], reason: str | None) -> None:
    """Fix the status of accounts, or with None let runs decide again, also after an undo."""
    values: dict[str, Any] = {"pin": reason, "updated_at": stamp()}
    if reason is None:
        values["undo_pin"] = None
    for chunk in chunks(ids):
        connection.execute(update(accounts).where(accounts.c.id.in_(chunk)).values(**values))


def _undone(text: str | None) -> str | None:
    """Which undo pinned an account, as long as it keeps anything."""
    if text is None:
        return None
    pin = UndoPin.of(text)
    return pin.by if pin.keeps else None


def listing(
    connection: Connection,
    *,
    user_ids: Iterable[int] | None,
    services: Iterable[str] | None,
    status: str | None,
) -> list[dict[str, Any]]:
    """Accounts with usernames, for people; reserved and deleted ones only when asked for."""
    statement = select(accounts, users.c.username.label("user")).join(
        users, users.c.id == accounts.c.user_id
    )
    if status is None:
        statement = statement.where(
            (accounts.c.status != AccountStatus.ABSENT.value)
            | accounts.c.pin.isnot(None)
            | accounts.c.undo_pin.isnot(None)
        )
    else:
        statement = statement.where(accounts.c.status == status)
    if services is not None:
        statement = statement.where(accounts.c.service.in_(sorted(services)))
    chosen = [None] if user_ids is None else list(chunks(user_ids))
    found = [
        {
            **row,
            "account": row["name"],
            "groups": _groups(row["groups"]),
            "pin": row["pin"] or _undone(row["undo_pin"]),
        }
        for chunk in chosen
        for row in connection.execute(
            statement if chunk is None else statement.where(accounts.c.user_id.in_(chunk))
        ).mappings()
    ]
    return sorted(found, key=itemgetter("service", "user"))
