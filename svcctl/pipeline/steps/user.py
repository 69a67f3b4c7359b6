"""The user of a login: the username, the new user, what is taken over from the provider.

After social_core.pipeline.user of social-core 7.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

from svcctl.errors import ConfigError, Refused
from svcctl.pipeline.details import Details, text
from svcctl.pipeline.functions import imported
from svcctl.pipeline.interface import Backend, Strategy
from svcctl.pipeline.step import step

USER_FIELDS = ("username", "email")
"""What a new user gets, where the setting of that name says nothing."""

PROTECTED = (
    "username",
    "id",
    "pk",
    "email",
    "password",
    "is_active",
    "is_staff",
    "is_superuser",
)
"""What `user_details` never changes, unless NO_DEFAULT_PROTECTED_USER_FIELDS is true."""

_ATTEMPTS = 100
_HEX = 32  # as many digits as a UUID has


@step(
    produces=("username",),
    settings=(
        "USER_FIELDS",
        "USERNAME_IS_FULL_EMAIL",
        "UUID_LENGTH",
        "SLUGIFY_USERNAMES",
        "SLUGIFY_FUNCTION",
        "CLEAN_USERNAMES",
        "CLEAN_USERNAME_FUNCTION",
    ),
)
def get_username(
    strategy: Strategy,
    details: Details,
    backend: Backend,
    user: Any = None,
    *_args: Any,
    **_context: Any,
) -> dict[str, Any] | None:
    """Find a username that nobody has: the provider's, with random digits behind it if need be.

    Returns `username`: that of `user` if there is one. Raises Refused (`username_in_use`) where a
    hundred attempts found none that is free, and ConfigError for a setting that cannot be used.
    """
    if "username" not in backend.setting("USER_FIELDS", USER_FIELDS):
        return None
    users = strategy.storage.user
    if user:
        return {"username": users.get_username(user)}
    wish = ""
    if backend.setting("USERNAME_IS_FULL_EMAIL", default=False):
        wish = text(details, "email")
    wish = wish or text(details, "username") or uuid4().hex
    make = _shape(backend, users.clean_username)
    username = ""
    for candidate in _candidates(wish, users.username_max_length(), _digits(backend)):
        username = make(candidate)
        if username and not users.user_exists(username=username):
            return {"username": username}
    raise Refused(
        f"no free username like {wish!r} after {_ATTEMPTS} attempts, the last was {username!r}",
        hint="a longer UUID_LENGTH, or functions for CLEAN_USERNAME_FUNCTION and SLUGIFY_FUNCTION "
        "that leave the digits at the end",
        code="username_in_use",
    )


def _candidates(wish: str, longest: int | None, digits: int) -> Iterator[str]:
    yield wish[:longest]
    stem = wish if longest is None else wish[: max(longest - digits, 0)]
    for _ in range(_ATTEMPTS - 1):
        yield (stem + uuid4().hex[:digits])[:longest]


def _digits(backend: Backend) -> int:
    digits = backend.setting("UUID_LENGTH", 16)
    if not isinstance(digits, int) or isinstance(digits, bool) or not 0 <= digits <= _HEX:
        raise ConfigError(f"UUID_LENGTH: {digits!r} is no number from 0 to {_HEX}")
    return digits


def _shape(backend: Backend, clean: Callable[[str], str]) -> Callable[[str], str]:
    """What makes a username of a candidate: first cleaned, then made a slug, each if wanted."""
    shapes: list[Callable[[str], str]] = []
    if backend.setting("CLEAN_USERNAMES", default=True):
        shapes.append(_function(backend, "CLEAN_USERNAME_FUNCTION") or clean)
    if backend.setting("SLUGIFY_USERNAMES", default=False):
        shapes.append(_function(backend, "SLUGIFY_FUNCTION") or slug)

    def make(candidate: str) -> str:
        for shape in shapes:
            candidate = shape(candidate)
        return candidate

    return make


def _function(backend: Backend, setting: str) -> Callable[[str], str] | None:
    """The function that a setting names, None if it names none; what it returns is checked."""
    name = backend.setting(setting)
    if not name:
        return None
    function = imported(name, setting)

    def checked(candidate: str) -> str:
        made = function(candidate)
        if not isinstance(made, str):
            raise ConfigError(f"{setting}: {name} made {made!r} of {candidate!r}, which is no text")
        return made

    return checked


def slug(name: str) -> str:
    """The name in lower-case ASCII letters, digits, `_`, and `-` where blanks were."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii")
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]+", "", plain).strip().lower())


@step(
    produces=("user", "is_new"),
    consumes=USER_FIELDS,
    settings=("USER_FIELDS", "FORCE_EMAIL_LOWERCASE"),
    effects="creates a user where nobody is known yet",
)
def create_user(
    strategy: Strategy,
    details: Details,
    backend: Backend,
    user: Any = None,
    *_args: Any,
    **context: Any,
) -> dict[str, Any] | None:
    """Create the user where nobody is known yet.

    Each of USER_FIELDS comes from the context, where `get_username` put the username, else from
    `details`. Returns `user` and `is_new`; nothing where USER_FIELDS is empty. Raises what the
    storage raises.
    """
    if user:
        return {"is_new": False}
    names = backend.setting("USER_FIELDS", USER_FIELDS)
    if not names:
        return None
    fields = {name: context.get(name, details.get(name)) for name in names}
    for name in ("fullname", "first_name", "last_name"):
        if name in fields and fields[name] is None:
            del fields[name]  # the user model knows better than None
    if fields.get("email") and backend.setting("FORCE_EMAIL_LOWERCASE", default=False):
        fields["email"] = text(fields, "email").lower()
    return {"is_new": True, "user": strategy.create_user(**fields)}


@step(
    settings=(
        "PROTECTED_USER_FIELDS",
        "NO_DEFAULT_PROTECTED_USER_FIELDS",
        "USER_FIELD_MAPPING",
        "IMMUTABLE_USER_FIELDS",
    ),
    effects="changes the user's fields to what the provider says",
)
def user_details(
    strategy: Strategy,
    details: Details,
    backend: Backend | None,
    user: Any = None,
    *_args: Any,
    **_context: Any,
) -> None:
    """Bring the user's fields up to date with the details that have the same names.

    USER_FIELD_MAPPING gives other names. Protected fields stay, immutable ones once they have a
    value. What is None is not known and changes nothing; empty text empties a field.
    """
    if not user or (backend is not None and backend.ASSOCIATION_ONLY):
        return
    mapping = strategy.setting("USER_FIELD_MAPPING", {}, backend=backend)
    immutable = strategy.setting("IMMUTABLE_USER_FIELDS", (), backend=backend)
    protected = _protected(strategy, backend)
    changed = False
    for detail, value in details.items():
        name = mapping.get(detail, detail)
        if value is None or name in protected or not hasattr(user, name):
            continue
        current = getattr(user, name)
        if current == value or (current and name in immutable):
            continue
        try:
            setattr(user, name, value)
        except AttributeError:  # it can be seen, and is no field
            continue
        changed = True
    if changed:
        strategy.storage.user.changed(user)


def _protected(strategy: Strategy, backend: Backend | None) -> frozenset[str]:
    own = strategy.setting("PROTECTED_USER_FIELDS", (), backend=backend)
    if strategy.setting("NO_DEFAULT_PROTECTED_USER_FIELDS", backend=backend) is True:
        return frozenset(own)
    return frozenset((*own, *PROTECTED))
