"""What operators do to the directory by hand, and the states that follow from it."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from svcctl.config.settings import Settings
from svcctl.directory.person import tidy
from svcctl.errors import UsageError
from svcctl.store import groups, people
from svcctl.store.database import Connection, Row
from svcctl.store.oblivion import forget_user
from svcctl.store.standing import refresh_states

Fields = dict[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Change:
    """One user after an operator's word. `fields` have a value before and one after."""

    user_id: int
    username: str
    what: str
    fields: Fields = field(default_factory=dict)


def add(
    connection: Connection,
    settings: Settings,
    username: str,
    *,
    attributes: Mapping[str, Any],
    member_of: Collection[str] = (),
    superuser: bool = False,
) -> list[Change]:
    """A user of the operator's own."""
    username = tidy(username)
    id_ = people.add_user(connection, username, attributes=attributes, superuser=superuser)
    found = groups.ensure(connection, [tidy(name) for name in member_of], people.OPERATOR)
    for group_id in found.values():
        groups.put_in(connection, group_id, [people.find_user(connection, username)])
    fields: Fields = {f"attributes.{key}": (None, value) for key, value in attributes.items()}
    if superuser:
        fields["superuser"] = (False, True)
    return _sorted(connection, settings, [Change(id_, username, "added", fields)])


def check_attributes(settings: Settings, names: Iterable[str]) -> None:
    """Raise UsageError for the first of these names that is no attribute of users."""
    for name in names:
        for problem in settings.check_attributes(name, [name]):
            add_it = "add it to directory.attributes"
            hint = problem.remedy if problem.remedy == add_it else f"{problem.remedy} Or {add_it}"
            raise UsageError(problem.message, hint=hint)


def restore(connection: Connection, settings: Settings, username: str) -> list[Change]:
    """Take back a user whom an operator removed. Raises UsageError for one who was not removed."""
    row = people.find_user(connection, username)
    if not row.removed_at:
        raise UsageError(f"{username} was not removed", hint=f"see: svcctl users show {username}")
    people.restore_user(connection, row)
    return _sorted(connection, settings, [Change(row.id, username, "restored")])


def change(
    connection: Connection,
    settings: Settings,
    username: str,
    *,
    attributes: Mapping[str, Any],
    active: bool | None = None,
    superuser: bool | None = None,
    unset: Sequence[str] = (),
) -> list[Change]:
    """Set fields of a user, which from then on are the operator's; or give them back (`unset`)."""
    row = people.find_present(connection, username)
    held = {"active", "superuser", *json.loads(row.attributes)}
    check_attributes(settings, [name for name in unset if name not in held])
    fields = people.change_user(
        connection,
        row,
        attributes=attributes,
        active=active,
        superuser=superuser,
        unset=unset,
    )
    changes = [Change(row.id, username, "changed", fields)] if fields else []
    return _sorted(connection, settings, changes)


def remove(connection: Connection, settings: Settings, user_ids: Iterable[int]) -> list[Change]:
    """Mark these users as removed; they lose access, and no source brings them back."""
    rows = people.rows_of(connection, user_ids)
    changes = []
    for row in rows:
        if not row.removed_at:
            people.remove_user(connection, row)
            changes.append(Change(row.id, row.username, "removed"))
    return _sorted(connection, settings, changes)


def forget(connection: Connection, settings: Settings, username: str) -> list[Change]:
    """Erase a person's data; the user remains under a pseudonym, for the audit."""
    row = people.find_user(connection, username)
    pseudonym = forget_user(connection, row)
    refresh_states(connection, settings.state_rules(), [row.id])
    return [Change(row.id, username, "forgotten", {"username": (None, pseudonym)})]


def put_in(
    connection: Connection, settings: Settings, group: str, user_ids: Iterable[int]
) -> list[Change]:
    """Put users into a group, which is made if there is none of this name."""
    name = tidy(group)
    rows = _present(connection, user_ids)
    group_id = groups.ensure(connection, [name], people.OPERATOR)[name]
    return _moved(connection, settings, rows, groups.put_in(connection, group_id, rows), f"+{name}")


def take_out(
    connection: Connection, settings: Settings, group: str, user_ids: Iterable[int]
) -> list[Change]:
    """Take users out of a group; no source puts them back."""
    row, rows = groups.find_group(connection, group), _present(connection, user_ids)
    return _moved(
        connection, settings, rows, groups.take_out(connection, row.id, rows), f"-{group}"
    )


def unset(
    connection: Connection, settings: Settings, group: str, user_ids: Iterable[int]
) -> list[Change]:
    """Forget what operators said about users in a group; the next pull decides."""
    row, rows = groups.find_group(connection, group), _present(connection, user_ids)
    return _moved(
        connection, settings, rows, groups.unset(connection, row.id, rows), f"unset {group}"
    )


def delete_group(connection: Connection, settings: Settings, group: str) -> list[Change]:
    """Delete a group; what it granted ends for everybody who was in it."""
    row = groups.find_group(connection, group)
    ids = groups.delete_group(connection, row.id)
    names = people.names_of(connection, ids)
    changes = [Change(id_, names[id_], f"-{group}") for id_ in ids]
    return _sorted(connection, settings, changes)


def _present(connection: Connection, user_ids: Iterable[int]) -> list[Row[Any]]:
    rows = people.rows_of(connection, user_ids)
    for row in rows:
        if row.removed_at:
            people.find_present(connection, row.username)
    return rows


def _moved(
    connection: Connection,
    settings: Settings,
    rows: Iterable[Row[Any]],
    moved: Collection[int],
    what: str,
) -> list[Change]:
    among = set(moved)
    changes = [Change(row.id, row.username, what) for row in rows if row.id in among]
    return _sorted(connection, settings, changes)


def _sorted(connection: Connection, settings: Settings, changes: Sequence[Change]) -> list[Change]:
    """The changes with the states that follow; also of others, if the rules have changed too."""
    found = {
        id_: (before or None, after)
        for id_, before, after in refresh_states(
            connection, settings.state_rules(), [change.user_id for change in changes]
        )
    }
    told = [
        replace(change, fields=change.fields | {"state": found.pop(change.user_id)})
        if change.user_id in found
        else change
        for change in changes
    ]
    names = people.names_of(connection, found)
    return told + [
        Change(id_, names[id_], "changed", {"state": state}) for id_, state in found.items()
    ]
