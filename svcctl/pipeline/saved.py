"""A paused run in the database: its context, encrypted; found again, checked, and used up once."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from svcctl.clock import now, stamp
from svcctl.errors import PipelineError, Refused, UsageError
from svcctl.pipeline import serial
from svcctl.pipeline.definition import Definition
from svcctl.pipeline.outcome import Paused
from svcctl.pipeline.step import SURROUNDINGS
from svcctl.pipeline.unit import UnitOfWork, digest
from svcctl.pipeline.user import Association, PipelineUser
from svcctl.store import partials
from svcctl.store.database import Connection, Database, Row

_NOT_SAVED = SURROUNDINGS | {"current_partial", "user_storage"}
_EXPIRED = "run the pipeline from the start"


@dataclass(frozen=True, slots=True)
class Saved:
    """A run that is about to pause, ready to be written."""

    paused: Paused
    token: str
    values: Mapping[str, Any]

    def write(self, connection: Connection) -> None:
        """Keep it, in the caller's transaction."""
        partials.add(connection, **self.values)


def new_id() -> str:
    """A public id: short enough to type, not secret."""
    return secrets.token_hex(5)


def save(
    unit: UnitOfWork,
    definition: Definition,
    *,
    backend: str,
    step: str,
    context: Mapping[str, Any],
    session: Mapping[str, Any],
    token: str,
    why: str,
    needs: tuple[str, ...],
    external: bool,
    actor: str,
) -> Saved:
    """Everything that the run needs to go on. Raises PipelineError for a value that cannot be kept.

    Nothing is left out in silence, as social-core does with floats, dates and objects.
    """
    kept = {name: value for name, value in context.items() if name not in _NOT_SAVED}
    text = serial.dump({"context": kept, "session": dict(session)}, reference=_reference)
    id_ = new_id()
    user = context.get("user")
    expires_at = stamp(now() + definition.pipeline.partial_expires)
    return Saved(
        Paused(id_, step, why, needs, external, expires_at),
        token,
        {
            "id": id_,
            "token_hash": digest(token),
            "pipeline": definition.name,
            "kind": definition.kind,
            "backend": backend,
            "step": step,
            "fingerprint": definition.fingerprint,
            "user_id": user.id if isinstance(user, PipelineUser) else None,
            "why": why,
            "needs": needs,
            "external": external,
            "data": unit.vault.seal(text, _purpose(id_)),
            "actor": actor,
            "expires_at": expires_at,
        },
    )


def find(database: Database, word: str) -> tuple[Row[Any], bool]:
    """The partial with this public id, or token; and whether it was the token.

    Raises UsageError, which does not repeat what may be a token.
    """
    with database.read() as connection:
        row = partials.find(connection, word)
        if row is not None:
            return row, False
        row = partials.by_token(connection, digest(word))
    if row is None:
        raise UsageError(
            "no such partial: it was resumed, aborted, has expired, or never was",
            hint="see: svcctl pipeline partials",
        )
    return row, True


def load(unit: UnitOfWork, row: Row[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Context and session of a paused run. Raises Refused and PipelineError."""
    if row.expires_at <= stamp():
        raise Refused(
            f"partial {row.id} expired at {row.expires_at}", hint=_EXPIRED, code="partial_expired"
        )
    text = unit.vault.unseal(row.data, _purpose(row.id))
    found = serial.load(text, resolve=lambda reference: _resolve(unit, row.id, reference))
    return dict(found["context"]), dict(found["session"])


def start_of(definition: Definition, row: Row[Any], *, accept_changes: bool) -> int:
    """The place of the step that paused. Raises Refused where the pipeline is another one now."""
    index = definition.index_of(row.step)
    before, after = json.loads(row.fingerprint), list(definition.fingerprint)
    if before == after and index is not None:
        return index
    changes = ", ".join(
        [f"+{name}" for name in after if name not in before]
        + [f"-{name}" for name in before if name not in after]
    )
    problem = f"pipeline {row.pipeline} has changed since ({changes or 'the order of its steps'})"
    if index is None:
        raise Refused(
            f"{problem}, and {row.step} is not in it any more",
            hint=f"svcctl pipeline abort {row.id}, and run it from the start",
            code="pipeline_changed",
        )
    if not accept_changes:
        raise Refused(
            problem, hint=f"go on at {row.step} with --accept-changes", code="pipeline_changed"
        )
    return index


def _purpose(id_: str) -> str:
    return f"partial {id_}"


def _reference(value: Any) -> serial.Reference | None:
    if isinstance(value, PipelineUser):
        return "user", int(value.id)
    if isinstance(value, Association):
        return "association", json.dumps([value.provider, value.uid])
    return None


def _resolve(unit: UnitOfWork, id_: str, reference: serial.Reference) -> Any:
    """Raises Refused for a user or an association that is gone: nobody goes on as nobody."""
    kind, key = reference
    found: Any = None
    if kind == "user":
        found = unit.user(key)
    elif kind == "association":
        found = unit.association(*json.loads(str(key)))
    else:
        raise PipelineError(f"partial {id_}: {kind} is no record of svcctl's")
    if found is None:
        raise Refused(f"partial {id_}: its {kind} is gone", hint=_EXPIRED, code="user_removed")
    return found
