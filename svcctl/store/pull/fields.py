"""What a source says of users who are there already: whether they are active, and attributes."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Row, bindparam, update

from svcctl.directory.person import Person
from svcctl.model import to_json
from svcctl.store.pull.diff import Changed
from svcctl.store.pull.work import Work
from svcctl.store.tables import users

Fields = dict[str, tuple[object, object]]


def compare_fields(work: Work, present: Iterable[tuple[Row[Any], Person]]) -> None:
    """Write what differs and is not an operator's; whoever was missing has returned."""
    updates = []
    for row, person in present:
        origins = {} if row.origins == "{}" else json.loads(row.origins)
        fields: Fields = {}
        enabled = row.enabled
        if person.active is not None and person.active != enabled and "active" not in origins:
            fields["active"] = (enabled, person.active)
            enabled = person.active
        attributes = _merge(row.attributes, person.attributes, origins, fields)
        if fields:
            work.diff.changed.add(Changed(person.username, fields))
        if row.missing_pulls:
            work.diff.returned.add(person.username)
        if fields or row.missing_pulls:
            updates.append(
                {
                    "b_id": row.id,
                    "enabled": enabled,
                    "attributes": attributes,
                    "missing_pulls": 0,
                    "updated_at": work.moment,
                }
            )
    if updates:
        work.diff.touch(values["b_id"] for values in updates)
        work.connection.execute(update(users).where(users.c.id == bindparam("b_id")), updates)


def _merge(
    stored: str, given: Mapping[str, Any], origins: Mapping[str, str], fields: Fields
) -> str:
    """The attributes to store; those that change are added to `fields`."""
    values: dict[str, Any] = {} if stored == "{}" else json.loads(stored)
    changed = False
    for key, value in given.items():
        before = values.get(key)
        if _same(before, value) or f"attributes.{key}" in origins:
            continue
        fields[f"attributes.{key}"] = (before, value)
        changed = True
        if value is None:
            del values[key]
        else:
            values[key] = value
    return to_json(values) if changed else stored


def _same(before: Any, value: Any) -> bool:
    """Equal as JSON, where 1, 1.0 and true are three things."""
    if value is None or type(value) is str:
        return bool(before == value)
    return to_json(before) == to_json(value)
