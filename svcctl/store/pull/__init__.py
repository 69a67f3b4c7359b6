"""Taking over a directory source: the difference between its people and the users we have."""

from collections.abc import Iterable
from itertools import islice

from sqlalchemy import Connection

from svcctl.config.settings import Settings
from svcctl.directory.person import Person
from svcctl.store import pulls
from svcctl.store.chunks import chunks
from svcctl.store.people import names_of
from svcctl.store.pull.diff import SHOWN, PullDiff
from svcctl.store.pull.fields import compare_fields
from svcctl.store.pull.missing import Continuity
from svcctl.store.pull.moves import Moves
from svcctl.store.pull.newcomers import Newcomers
from svcctl.store.pull.work import Work
from svcctl.store.standing import StateChange, refresh_states, resort_states

_BATCH = 2000


def pull(
    connection: Connection,
    settings: Settings,
    source_name: str,
    persons: Iterable[Person],
    *,
    accept_missing: int | None = None,
) -> PullDiff:
    """Make the source's users and memberships what the source says; operators' own entries stay.

    The caller opens the transaction, and rolls it back when this raises: SourceError for a name
    that belongs to someone else, or when more users vanished than the limit allows and
    `accept_missing` does not cover them. Users missing within the limit lose their access at the
    second pull in a row; those whom `accept_missing` covers, at once.
    """
    diff = PullDiff(source_name)
    work = Work(connection, source_name, settings.state_rules(), diff)
    resorted = refresh_states(connection, work.rules)
    continuity = Continuity(work)
    moves = Moves(work)
    newcomers = Newcomers(work, moves)
    for batch in chunks(persons, _BATCH):
        diff.read += len(batch)
        moves.meet(batch)
        known = continuity.known(batch)
        present = [(row, person) for row, person in known if row and not row.removed_at]
        compare_fields(work, present)
        newcomers.rename(present)
        moves.compare(present)
        newcomers.insert([person for row, person in known if row is None])
    newcomers.settle()
    continuity.settle(settings.directory.limits.removals, accept_missing)
    pulls.note(connection, source_name)
    _tell_states(work, [*resorted, *resort_states(connection, work.rules, diff.users())])
    return diff


def _tell_states(work: Work, changes: Iterable[StateChange]) -> None:
    """Whoever was sorted twice, by new rules and then by new facts, has changed once."""
    told: dict[int, tuple[str, str]] = {}
    for id_, before, after in changes:
        told[id_] = (told[id_][0] if id_ in told else before, after)
    work.diff.touch(told)
    names = names_of(work.connection, islice(told, SHOWN))
    for id_, (before, after) in told.items():
        if before != after:
            work.diff.states.add((names.get(id_, ""), before, after))
