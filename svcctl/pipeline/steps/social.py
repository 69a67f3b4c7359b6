"""Who comes from a provider, which user that is, and what is kept of it.

After social_core.pipeline.social_auth of social-core 7, whose codes the refusals carry.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from svcctl.errors import Refused
from svcctl.pipeline.details import Details, text
from svcctl.pipeline.interface import Association, Backend, UserStorage, same
from svcctl.pipeline.step import step
from svcctl.pipeline.steps import migration

_GROUPS = ("GROUPS_KEY", "GROUPS_MISSING_AS_EMPTY")  # by way of the backend


@step(produces=("details", "groups"), settings=_GROUPS)
def social_details(
    backend: Backend, details: Details, response: Any, *_args: Any, **_context: Any
) -> dict[str, Any]:
    """Take the details of the person, and the groups, from the provider's response.

    details: what is known already, and wins. Returns `details`, and `groups`: None where the
    backend reads none. Raises what the backend raises; some of them ask the provider.
    """
    said = backend.get_user_details(response)
    return {"details": {**said, **details}, "groups": backend.get_user_groups(response)}


@step(produces=("details",), settings=("FIRSTLAST_FROM_FULL", "FULL_FROM_FIRSTLAST"))
def social_names(
    backend: Backend, details: Details, *_args: Any, **_context: Any
) -> dict[str, Any]:
    """Fill in the full name from first and last name, or these two from the full name.

    What the provider gave stays, without blanks at its ends. A name that nobody knows stays as it
    was, None or missing: empty text would clear the user's.
    """
    full, first, last = (text(details, name).strip() for name in _NAMES)
    if not first and not last and backend.setting("FIRSTLAST_FROM_FULL", default=True):
        first, _, last = (part.strip() for part in full.partition(" "))
    if not full and backend.setting("FULL_FROM_FIRSTLAST", default=True):
        full = last if _has_words(last, first) else f"{first} {last}".strip()
    known = dict(details)
    for name, value in zip(_NAMES, (full, first, last), strict=True):
        if value or isinstance(known.get(name), str):
            known[name] = value
    return {"details": known}


_NAMES = ("fullname", "first_name", "last_name")


def _has_words(name: str, words: str) -> bool:
    """Whether these words stand in a name: some providers put the whole name into the last one."""
    return re.search(rf"(?<!\S){re.escape(words)}(?!\S)", name) is not None


@step(
    produces=("uid", "id_key", "legacy_identifiers", "legacy_uids"),
    settings=("ID_KEY", "LEGACY_ID_KEYS"),
)
def social_uid(
    backend: Backend, details: Details, response: Any, *_args: Any, **_context: Any
) -> dict[str, Any]:
    """Find the person's uid at the provider, and the identifiers that were the uid earlier.

    Returns `uid` as text, `id_key` (where it stands), `legacy_identifiers` as pairs of key and
    value, and `legacy_uids`. Raises Refused (`missing_claim`) without a uid; 0 is one.
    """
    uid, key = backend.get_user_id(details, response), backend.id_key()
    if uid is None or uid == "":
        raise Refused(
            f"{backend.name}: no uid in the response, {key or 'its key'} is missing or empty",
            hint="it must be the one thing that never changes; ID_KEY says where it stands",
            code="missing_claim",
        )
    return {
        "uid": str(uid),
        "id_key": key,
        "legacy_identifiers": backend.get_legacy_user_identifiers(details, response),
        "legacy_uids": list(dict.fromkeys(backend.get_legacy_user_ids(details, response))),
    }


@step(settings=("WHITELISTED_EMAILS", "WHITELISTED_DOMAINS", "ALLOW_GROUPS", *_GROUPS))
def auth_allowed(
    backend: Backend, details: Details, response: Any, *_args: Any, **_context: Any
) -> None:
    """Stop whom the settings do not let in.

    Raises Refused (`authentication_disallowed`), and what the backend raises for such settings.
    """
    if not backend.auth_allowed(response, details):
        who = details.get("email") or details.get("username") or "somebody without an address"
        raise Refused(
            f"{backend.name}: {who} is not let in",
            hint="WHITELISTED_EMAILS, WHITELISTED_DOMAINS and ALLOW_GROUPS say who is",
            code="authentication_disallowed",
        )


@step(
    produces=("social", "user", "is_new", "new_association"),
    settings=("ID_KEY", "ALLOW_UNVERIFIED_LEGACY_UID_MIGRATION"),
    effects="brings an association up to date that was stored under an earlier identifier",
)
def social_user(
    backend: Backend,
    uid: str,
    user: Any = None,
    *_args: Any,
    id_key: str = "",
    response: Any = None,
    legacy_uids: Iterable[str] = (),
    legacy_identifiers: Iterable[Sequence[str]] = (),
    **_context: Any,
) -> dict[str, Any]:
    """Find whose uid this is.

    user: who is logged in. Returns `social` (the association or None), `user`, `is_new` (nobody is
    known yet) and `new_association`. Raises Refused: `identity_in_use` where the uid belongs to
    somebody else, `identifier_migration_conflict` where an association under an earlier identifier
    cannot be shown to be this person's.
    """
    users = backend.strategy.storage.user
    uid = str(uid)
    social = users.get_social_auth(backend.name, uid, id_key=id_key)
    if social is None:
        found = migration.find(backend, uid, id_key, legacy_identifiers, legacy_uids)
        if found is None and response is not None:
            found = migration.of_backend(backend, uid, id_key, response, user)
        if found is not None:
            _refuse_other(backend, users, found.social, user)
            social = migration.migrate(backend, found, uid, id_key)
    if social is not None:
        _refuse_other(backend, users, social, user)
        user = user or social.user
    return {
        "social": social,
        "user": user,
        "is_new": user is None,
        "new_association": social is None,
    }


def _refuse_other(backend: Backend, users: UserStorage, social: Association, user: Any) -> None:
    if user and not same(social.user, user):
        owner, other = users.get_username(social.user), users.get_username(user)
        raise Refused(
            f"{backend.name}: uid {social.uid} belongs to {owner}, not to {other}",
            hint=f"disconnect it from {owner} first, or go on as {owner}",
            code="identity_in_use",
        )


@step(
    produces=("user", "is_new"),
    effects="takes an existing user who has the provider's e-mail address",
)
def associate_by_email(
    backend: Backend, details: Details, user: Any = None, *_args: Any, **_context: Any
) -> dict[str, Any] | None:
    """Take the user with the same e-mail address, where nobody is known yet.

    Safe only with providers that verify addresses: with others, whoever types somebody's address
    there becomes that user here. Raises Refused (`email_in_use`) where several users have it.
    """
    if user or not (email := text(details, "email")):
        return None
    found = list(backend.strategy.storage.user.get_users_by_email(email))
    if len(found) > 1:
        raise Refused(
            f"{len(found)} users have the address {email}",
            hint="which of them it is cannot be told; log in as the right one and connect it there",
            code="email_in_use",
        )
    return {"user": found[0], "is_new": False} if found else None


@step(
    produces=("social", "user", "is_new", "new_association"),
    consumes=("response",),
    effects="stores whose uid this is",
)
def associate_user(
    backend: Backend,
    uid: str,
    user: Any = None,
    social: Association | None = None,
    *args: Any,
    id_key: str = "",
    **context: Any,
) -> dict[str, Any] | None:
    """Store that the uid belongs to the user, unless that is known.

    Returns `social`, `user` and `new_association`; where somebody else was faster, what
    `social_user` returns. Raises as that does, and what the storage raises.
    """
    if not user or social:
        return None
    storage = backend.strategy.storage
    try:
        social = storage.user.create_social_auth(user, uid, backend.name, id_key=id_key)
    except Exception as error:
        if not storage.is_integrity_error(error):
            raise
        result: dict[str, Any] = social_user(backend, uid, user, *args, id_key=id_key, **context)
        if not result["social"]:  # something else than this association was in the way
            raise
        return result
    return {"social": social, "user": social.user, "new_association": True}


@step(
    consumes=("social", "access_token"),
    settings=("EXTRA_DATA", "GET_ALL_EXTRA_DATA"),
    effects="stores tokens and other data of the response with the association",
)
def load_extra_data(
    backend: Backend,
    details: Details,
    response: Any,
    uid: str,
    user: Any = None,
    *_args: Any,
    **context: Any,
) -> None:
    """Keep with the association what the settings name of the response: tokens, their lifetime.

    What is stored already and not named now stays. Raises what the backend raises.
    """
    social = context.get("social")
    if not social:
        social = backend.strategy.storage.user.get_social_auth(backend.name, uid)
    if social:
        social.set_extra_data(backend.extra_data(user, uid, response, details, context))
