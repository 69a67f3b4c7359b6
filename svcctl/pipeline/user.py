"""The user and the association that steps get: plain objects, whose changes a run collects."""

from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any

from svcctl.errors import PipelineError

_OWN = frozenset({"username", "is_active"})
_TOKENS = frozenset(
    {
        "access_token_expired",
        "expiration_datetime",
        "expiration_timedelta",
        "get_access_token",
        "refresh_token",
        "_compute_expiration_from_relative",
        "_compute_expiration_from_timestamp",
        "_handle_expires_field",
        "ACCESS_TOKEN_EXPIRED_THRESHOLD",
    }
)


class PipelineUser:
    """A user as steps see one: `username`, `is_active`, and each attribute under its name.

    An attribute that the directory does not know (`directory.attributes`) is an AttributeError: it
    could not be kept. Two are equal when they are one row, whatever their fields say. What a step
    sets is kept when the run ends; what belongs to an operator or to a source stays theirs.
    Source of the names: social-core's `UserProtocol`.
    """

    is_authenticated = True
    is_anonymous = False
    is_staff = False

    def __init__(
        self,
        pk: int,
        values: Mapping[str, Any],
        names: frozenset[str],
        *,
        is_superuser: bool = False,
        state: str = "",
        groups: frozenset[str] = frozenset(),
        source: str | None = None,
        new: bool = False,
    ) -> None:
        """values: username, is_active and the attributes. names: all attributes there are."""
        own = vars(self)
        own["id"] = own["pk"] = pk
        own["is_superuser"] = is_superuser
        own["state"] = state
        own["groups"] = groups
        own["source"] = source
        own["_new"] = new
        own["_names"] = names | _OWN
        own["_before"] = {} if new else dict(values)
        own["_values"] = dict(values)
        own["social_user"] = None
        own["is_new"] = False

    def __getattr__(self, name: str) -> Any:
        own = vars(self)
        if name in own.get("_names", ()):
            return own["_values"].get(name)
        raise AttributeError(f"a user has no {name}; directory.attributes names what there is")

    def __setattr__(self, name: str, value: Any) -> None:
        own = vars(self)
        if name in own["_names"]:
            own["_values"][name] = value
        elif name in ("social_user", "is_new"):
            own[name] = value
        else:
            raise AttributeError(f"a user has no {name}; directory.attributes names what there is")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PipelineUser) and vars(self)["id"] == other.id

    def __hash__(self) -> int:
        return hash(vars(self)["id"])

    def __repr__(self) -> str:
        return f"<user {self.username}>"

    def changes(self) -> dict[str, Any]:
        """What steps have set, and the user did not have before."""
        own = vars(self)
        before = own["_before"]
        return {
            name: value
            for name, value in own["_values"].items()
            if name not in before or before[name] != value or type(before[name]) is not type(value)
        }


class Association:
    """A provider's uid and whose it is; social-core's `UserSocialAuth`.

    `extra_data` is decrypted when a step first looks at it. `set_extra_data` merges. Methods about
    the lifetime of tokens, and `refresh_token`, are social-core's own and need svcctl[social].
    """

    def __init__(
        self,
        *,
        id_: int | None,
        provider: str,
        uid: str,
        id_key: str,
        user: Callable[[], Any],
        extra_data: Callable[[], dict[str, Any]],
        touched: Callable[["Association"], None],
    ) -> None:
        self.id = self.pk = id_
        self.provider = provider
        self.uid = uid
        self.id_key = id_key
        self._user = user
        self._load = extra_data
        self._touched = touched
        self._data: dict[str, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        if name not in _TOKENS:
            raise AttributeError(f"an association has no {name}")
        try:
            from social_core.storage import UserMixin
        except ImportError:
            raise PipelineError(
                f"{name} of an association needs social-core",
                hint="install it with: pip install 'svcctl[social]'",
            ) from None
        found = getattr(UserMixin, name)
        return MethodType(found, self) if callable(found) else found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Association) and (self.provider, self.uid) == (
            other.provider,
            other.uid,
        )

    def __hash__(self) -> int:
        return hash((self.provider, self.uid))

    def __repr__(self) -> str:
        return f"<association {self.provider} {self.uid}>"

    @property
    def user(self) -> Any:
        """Whose it is."""
        return self._user()

    @property
    def user_id(self) -> int:
        """The id of that user."""
        return int(self._user().id)

    @property
    def extra_data(self) -> dict[str, Any]:
        """What is kept of the provider's responses: tokens, their lifetime, and more."""
        if self._data is None:
            self._data = self._load()
        return self._data

    @extra_data.setter
    def extra_data(self, data: dict[str, Any] | None) -> None:
        self._data = dict(data or {})
        self._touched(self)

    @property
    def access_token(self) -> str | None:
        """The provider's token, if one was kept."""
        return self.extra_data.get("access_token")

    def set_extra_data(self, extra_data: dict[str, Any] | None = None) -> bool:
        """Merge into what is kept; whether that changed anything."""
        merged = {**self.extra_data, **(extra_data or {})}
        if merged == self.extra_data:
            return False
        self.extra_data = merged
        return True

    def save(self) -> None:
        """Keep the uid, its key and the extra data as they are now."""
        self._touched(self)

    def get_backend(self, strategy: Any) -> Any:
        """The class of its provider's backend."""
        return strategy.get_backend_class(self.provider)

    def get_backend_instance(self, strategy: Any) -> Any:
        """The backend of its provider, None where that is not configured any more."""
        return strategy.get_backend(self.provider) if strategy.has_backend(self.provider) else None
