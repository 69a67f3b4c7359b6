"""Adopting accounts that were recognised: they are linked, in our records alone.

Nothing is changed on the service, and nothing is removed anywhere.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from svcctl.model import RecordVerb
from svcctl.runs import records
from svcctl.runs.adoption import Adoption
from svcctl.runs.engine import Site, current_actor
from svcctl.runs.link import reserved, taken_over
from svcctl.runs.planner import managed_groups
from svcctl.runs.recognise import refusal, standing
from svcctl.store import accounts as account_rows
from svcctl.store.chunks import chunks
from svcctl.store.database import Connection
from svcctl.store.standing import stale_states
from svcctl.tripwire import tripwire


def adopt(site: Site, adoption: Adoption, *, command: str) -> None:
    """Link what was recognised, as far as it is still so. Raises LockedError."""
    hook = adoption.hook
    with (
        records.alone(site.database, hook.name, command, dry_run=False),
        site.database.write(durable=True) as connection,
        tripwire("adopting accounts"),
    ):
        states = stale_states(connection, site.settings.state_rules())
        changes = _changes(connection, adoption, states or None)
        records.write(connection, hook, RecordVerb.LINK, changes, command=command)
    adoption.done = True


def _changes(
    connection: Connection, adoption: Adoption, states: Mapping[int, str] | None
) -> Iterator[records.Change]:
    hook = adoption.hook
    managed = managed_groups(connection, hook)
    actor = current_actor()
    for part in chunks(adoption.recognised()):
        found = {user_id: (remote, rule) for remote, user_id, rule in part}
        held = account_rows.holders(connection, hook.name, [r.uid for r, _, _ in part])
        names = {id_: remote.name for id_, (remote, _) in found.items()}
        now = list(standing(connection, hook, names, states))
        fresh = [user.id for user, account, _ in now if account is None]
        new = reserved(connection, hook.name, fresh)
        for user, account, taken in now:
            remote, rule = found[user.id]
            before = account or new[user.id]
            reason = refusal(hook, user, account, taken)
            if remote.uid in held:
                reason = "was linked meanwhile"
            if reason is not None:
                adoption.refuse(remote.uid, reason)
                continue
            assert before.id is not None
            after = taken_over(hook, user, before.id, remote, managed)
            if after.disabled:
                after = replace(after, pin=f"disabled when adopted by {actor}")
            why = f"adopted: recognised by {rule}"
            yield records.Change(user.username, before, after, why)
