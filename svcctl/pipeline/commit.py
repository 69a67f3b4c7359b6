"""Committing a unit of work: everything that the steps of a run wrote, in one transaction."""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from svcctl.clock import stamp
from svcctl.directory.person import name_problem, text_problem
from svcctl.errors import ExitCode, PipelineError, Refused
from svcctl.model import to_json
from svcctl.pipeline.unit import Message, UnitOfWork, digest, purpose
from svcctl.pipeline.user import Association, PipelineUser
from svcctl.runs.deliver import SEALED
from svcctl.store import associations, codes, groups, notifications, partials, people
from svcctl.store.database import Connection
from svcctl.store.standing import refresh_states
from svcctl.tripwire import allowed

AGAIN = "run it again: it will see what is there now"


def commit(unit: UnitOfWork, connection: Connection, *, partial_id: str | None) -> None:
    """Write everything.

    partial_id: the partial that is kept in the same transaction, which new codes belong to.
    Raises Refused for a code that was used meanwhile, PipelineError for a name or a uid that
    somebody else was given meanwhile.
    """
    for code in unit.used_codes:
        if not codes.verify(connection, digest(code.code)):
            raise Refused(
                "the code was used meanwhile",
                hint="have another one sent",
                code="email_verification_rejected",
            )
    touched = [user.id for user in unit.added]
    for user in unit.added:
        _insert(connection, user)
    for user, changes in unit.changed_users().items():
        _update(connection, user, changes)
        touched.append(user.id)
    for user, name in unit.memberships:
        (group_id,) = groups.ensure(connection, [name], unit.origin).values()
        if groups.grant(connection, group_id, user.id, unit.origin):
            touched.append(user.id)
    if touched:
        refresh_states(connection, unit.settings.state_rules(), sorted(set(touched)))
    _write_associations(unit, connection)
    for code in unit.made_codes:
        codes.add(
            connection,
            code_hash=digest(code.code),
            email=code.email,
            partial_id=partial_id,
            expires_at=code.expires_at,
        )
    if partial_id is not None:
        moment = stamp()
        codes.remove_expired(connection, at=moment)
        partials.remove_expired(connection, at=moment)
    notifications.add(connection, [_sealed(unit, message) for message in unit.messages])


def _insert(connection: Connection, user: PipelineUser) -> None:
    values = user.changes()
    username = values.pop("username")
    active = values.pop("is_active", True)
    if people.by_name(connection, username) is not None:
        _overtaken(f"the username {username} was given to somebody else meanwhile")
    kept = _keepable(user, values)
    people.add_user(connection, username, attributes=kept, id_=user.id)
    if not active:
        people.take_over(connection, user.id, {"is_active": False})


def _update(connection: Connection, user: PipelineUser, changes: Mapping[str, Any]) -> None:
    if "username" in changes:
        if problem := name_problem(changes["username"]):
            raise PipelineError(f"the username {problem}")
        if people.by_name(connection, changes["username"]) is not None:
            _overtaken(f"the username {changes['username']} belongs to somebody else")
    own = {name: changes[name] for name in ("username", "is_active") if name in changes}
    rest = {name: value for name, value in changes.items() if name not in own}
    people.take_over(connection, user.id, {**own, **_keepable(user, rest, keep_none=True)})


def _write_associations(unit: UnitOfWork, connection: Connection) -> None:
    for one in unit.unlinked:
        if one.id is not None:
            associations.remove(connection, one.id)
    for one in unit.touched:
        if one in unit.unlinked or one.id is None:
            continue
        sealed = _sealed_data(unit, one)
        there = associations.change(
            connection, one.id, uid=one.uid, id_key=one.id_key, extra_data=sealed
        )
        if not there:
            _overtaken(f"the association {one.provider} {one.uid} was removed meanwhile")
    for one in unit.linked:
        if associations.find(connection, one.provider, one.uid) is not None:
            _overtaken(f"{one.provider} {one.uid} was associated with somebody meanwhile")
        one.id = one.pk = associations.add(
            connection,
            user_id=one.user_id,
            provider=one.provider,
            uid=one.uid,
            id_key=one.id_key or "",
            extra_data=_sealed_data(unit, one),
        )


def _sealed_data(unit: UnitOfWork, one: Association) -> str:
    try:
        text = json.dumps(one.extra_data, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise PipelineError(
            f"extra_data of {one.provider} {one.uid} cannot be kept: {error}",
            hint="EXTRA_DATA says what is kept of a response",
        ) from None
    with allowed():
        return unit.vault.seal(text, purpose(one.provider, one.uid))


def _sealed(unit: UnitOfWork, message: Message) -> dict[str, Any]:
    sealed = None
    if message.secret is not None:
        sealed = unit.vault.seal(message.secret, SEALED)
    return {
        "user_id": None if message.user is None else message.user.id,
        "operation_id": None,
        "address": message.address,
        "level": "info",
        "title": message.title,
        "message": message.text,
        "sealed": sealed,
    }


def _keepable(
    user: PipelineUser, values: Mapping[str, Any], *, keep_none: bool = False
) -> dict[str, Any]:
    """Attributes as the directory keeps them: JSON, and text without what no database holds."""
    kept = {}
    for name, value in values.items():
        if value is None and not keep_none:
            continue
        problem = text_problem(value) if isinstance(value, str) else None
        try:
            to_json(value)
        except (TypeError, ValueError):
            problem = f"a {type(value).__name__} cannot be kept"
        if problem:
            raise PipelineError(f"{user.username}: {name}: {problem}")
        kept[name] = value
    return kept


def _overtaken(problem: str) -> NoReturn:
    error = PipelineError(problem, hint=AGAIN)
    error.exit_code = ExitCode.TRY_LATER
    raise error
