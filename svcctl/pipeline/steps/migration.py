"""Associations that were stored under an identifier which is not the uid any more.

Providers change what they call an id, and people change their addresses. An association under an
old identifier is this person's only if what was stored with it says so, or an operator does: who
holds an old address today need not be who held it then. Source: social-core 6.0 to 7.0.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

from svcctl.errors import Refused
from svcctl.pipeline.interface import Association, Backend, same


class Found(NamedTuple):
    """An association, and the key of its extra data that shows whose it is (None if none does)."""

    social: Association
    evidence: str | None


class _Place(NamedTuple):
    """Where an association may lie.

    means: what the uid was then, "" if nobody says. hearsay: only `get_legacy_user_ids` names it.
    """

    uid: str
    key: str
    means: str = ""
    hearsay: bool = False


def find(
    backend: Backend,
    uid: str,
    id_key: str,
    identifiers: Iterable[Sequence[str]],
    uids: Iterable[str],
) -> Found | None:
    """The association of this uid under an earlier identifier, or None.

    Raises Refused (`identifier_migration_conflict`) for several, for one that says it is somebody
    else's, and for one that says nothing, unless the backend or the settings believe it.
    """
    storage = backend.strategy.storage.user
    matches: list[Association] = []
    places = []
    for place in _places(uid, id_key, identifiers, uids):
        candidate = storage.get_social_auth(backend.name, place.uid, id_key=place.key)
        if candidate is not None:
            places.append(place)
            if not any(same(candidate, match) for match in matches):
                matches.append(candidate)
    if not matches:
        return None
    if len(matches) > 1:
        known = ", ".join(sorted(match.uid for match in matches))
        _refuse(backend, uid, f"several earlier associations match: {known}")
    evidence = _evidence(backend, matches[0], uid, id_key)
    if evidence is None:
        if not any(_believed(backend, place, id_key) for place in places):
            _refuse(backend, uid, f"nothing shows that {matches[0].uid} was the same person")
        backend.log_warning("uid %s takes over an association without evidence", uid)
    return Found(matches[0], evidence)


def of_backend(backend: Backend, uid: str, id_key: str, response: Any, user: Any) -> Found | None:
    """An association that only the backend can find; it has verified it."""
    social = backend.get_legacy_social_auth(uid, id_key, response, user=user)
    return None if social is None else Found(social, None)


def migrate(backend: Backend, found: Found, uid: str, id_key: str) -> Association:
    """Store the association under the uid of today, its evidence looked at once more.

    Raises Refused (`identifier_migration_conflict`) where another one has that uid, or the evidence
    is gone.
    """
    storage = backend.strategy.storage
    try:
        return storage.user.migrate_social_auth(
            found.social, uid, id_key, evidence_key=found.evidence
        )
    except Exception as error:
        if not isinstance(error, ValueError) and not storage.is_integrity_error(error):
            raise
        _refuse(backend, uid, "the association changed, or another one has it", cause=error)


def _places(
    uid: str, id_key: str, identifiers: Iterable[Sequence[str]], uids: Iterable[str]
) -> Iterator[_Place]:
    yield _Place(uid, "")  # stored before there were keys
    named = set()
    for key, value in identifiers:
        old = str(value)
        named.add(old)
        if (key, old) != (id_key, uid):
            yield _Place(old, key, key)
            yield _Place(old, "", key)
    for old in map(str, uids):
        if old not in named:
            yield _Place(old, "", hearsay=True)


def _evidence(backend: Backend, social: Association, uid: str, id_key: str) -> str | None:
    stored = social.extra_data or {}
    keys = [key for key in backend.get_stored_user_id_keys(id_key) if key in stored]
    for key in keys:
        if not _is(stored[key], uid):
            _refuse(backend, uid, f"{social.uid} was somebody else: its {key} is another one")
    return keys[0] if keys else None


def _is(stored: object, uid: str) -> bool:
    """Whether a stored value is this uid; True is not 1."""
    return (
        isinstance(stored, str | int) and not isinstance(stored, bool) and str(stored) == uid != ""
    )


def _believed(backend: Backend, place: _Place, id_key: str) -> bool:
    """Whether somebody vouches for an association without evidence.

    Where the operator chose the ID_KEY, hearsay takes the operator's own word.
    """
    if place.hearsay and backend.setting("ID_KEY"):
        word = backend.setting("ALLOW_UNVERIFIED_LEGACY_UID_MIGRATION", default=None)
        if word is not True:
            return False
    return backend.allow_unverified_legacy_uid_migration(place.means, id_key)


def _refuse(backend: Backend, uid: str, why: str, *, cause: Exception | None = None) -> NoReturn:
    raise Refused(
        f"{backend.name}: uid {uid}: {why}",
        hint="connect it as the right user; where nothing shows whose it is, "
        "ALLOW_UNVERIFIED_LEGACY_UID_MIGRATION = true believes it",
        code="identifier_migration_conflict",
    ) from cause
