"""social-core's engine on a storage in memory: the ground on which steps of either origin run."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from social_core.exceptions import AuthConfigurationError
from social_core.storage import BaseStorage, CodeMixin, PartialMixin, UserMixin
from social_core.strategy import BaseStrategy


class Taken(Exception):
    """What a database says when another one was faster."""


class User:
    """A row of users: what was given at its creation, and fields that login may fill."""

    is_active = is_authenticated = True

    def __init__(self, pk: int, **fields: Any) -> None:
        self.id = pk
        self.username: str | None = None
        self.email: str | None = None
        self.fullname: str | None
        self.first_name: str | None
        self.last_name: str | None
        self.nick: str | None
        self.fullname = self.first_name = self.last_name = self.nick = None
        for name, value in fields.items():
            setattr(self, name, value)

    @property
    def row(self) -> dict[str, Any]:
        """What a database would keep: not what social-core's engine sets for its caller."""
        return {k: v for k, v in vars(self).items() if k not in {"social_user", "is_new"}}


class Association(UserMixin):
    """A row of associations."""

    def __init__(self, pk: int, user: User, provider: str, uid: str, id_key: str) -> None:
        self.id = pk
        self.user: Any = user
        self.provider = provider
        self.uid = uid
        self.id_key = id_key
        self.extra_data: dict[str, Any] = {}

    def save(self) -> None:
        """A row in memory is what it is."""


@dataclass
class Users:
    """Both tables. `faster` is called before an association is made, as another login would be."""

    rows: list[User] = field(default_factory=list)
    associations: list[Association] = field(default_factory=list)
    saved: list[int] = field(default_factory=list)
    longest: int | None = 150
    faster: Any = None
    refuse_last: bool = True

    clean_username = staticmethod(UserMixin.clean_username)

    def user_model(self) -> type[User]:
        return User

    def username_max_length(self) -> int | None:
        return self.longest

    def create_user(self, **fields: Any) -> User:
        self.rows.append(User(len(self.rows) + 1, **fields))
        return self.rows[-1]

    def get_user(self, pk: int) -> User | None:
        return next((user for user in self.rows if user.id == pk), None)

    def get_username(self, user: User) -> str | None:
        return user.username

    def user_exists(self, username: str) -> bool:
        return any(user.username == username for user in self.rows)

    def get_users_by_email(self, email: str) -> Iterable[User]:
        return [user for user in self.rows if user.email and user.email.lower() == email.lower()]

    def changed(self, user: User) -> None:
        self.saved.append(user.id)

    def get_social_auth(
        self, provider: str, uid: str, id_key: str | None = None
    ) -> Association | None:
        found = (
            one
            for one in self.associations
            if (one.provider, one.uid) == (provider, uid) and id_key in (None, one.id_key)
        )
        return next(found, None)

    def get_social_auth_for_user(
        self, user: User, provider: str | None = None, id: int | None = None
    ) -> list[Association]:
        return [
            one
            for one in self.associations
            if one.user.id == user.id and provider in (None, one.provider) and id in (None, one.id)
        ]

    def create_social_auth(
        self, user: User, uid: str, provider: str, id_key: str = ""
    ) -> Association:
        if self.faster is not None:
            faster, self.faster = self.faster, None
            faster()
        if self.get_social_auth(provider, uid, id_key):
            raise Taken(uid)
        pk = max((one.id for one in self.associations), default=0) + 1
        self.associations.append(Association(pk, user, provider, uid, id_key))
        return self.associations[-1]

    def migrate_social_auth(
        self, social: Association, uid: str, id_key: str, *, evidence_key: str | None = None
    ) -> Association:
        if evidence_key is not None and str(social.extra_data.get(evidence_key)) != uid:
            raise ValueError("the evidence changed")
        other = self.get_social_auth(social.provider, uid)
        if other is not None and other is not social:
            raise Taken(uid)
        social.uid, social.id_key = uid, id_key
        return social

    def allowed_to_disconnect(
        self, user: User, backend_name: str, association_id: int | None = None
    ) -> bool:
        leaving = self.get_social_auth_for_user(user, backend_name, association_id)
        left = len(self.get_social_auth_for_user(user)) - len(leaving)
        return left > 0 or not self.refuse_last

    def disconnect(self, entry: Association) -> None:
        self.associations.remove(entry)


class Partials(PartialMixin):
    """Paused runs."""

    kept: dict[str, PartialMixin]

    def save(self) -> None:
        self.kept[self.token] = self

    @classmethod
    def load(cls, token: str) -> PartialMixin | None:
        return cls.kept.get(token)

    @classmethod
    def destroy(cls, token: str) -> None:
        cls.kept.pop(token, None)


class Codes(CodeMixin):
    """Mailed codes."""

    kept: dict[str, CodeMixin]

    def save(self) -> None:
        self.kept[self.code] = self

    @classmethod
    def get_code(cls, code: str) -> CodeMixin | None:
        return cls.kept.get(code)


def storage() -> Any:
    """Empty tables, in the shape of social-core's storages."""

    class Storage(BaseStorage):
        user: Any = Users()
        partial: Any = type("Partial", (Partials,), {"kept": {}})
        code: Any = type("Code", (Codes,), {"kept": {}})

        @classmethod
        def is_integrity_error(cls, exception: BaseException) -> bool:
            return isinstance(exception, Taken)

    return Storage


@dataclass(frozen=True)
class Redirect:
    """The response that sends somebody to a page."""

    url: Any


class Strategy(BaseStrategy[Any]):
    """Settings, session and request as plain dicts."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(storage())
        self.settings = settings
        self.backends: dict[str, Any] = {}
        self.session: dict[str, Any] = {}
        self.request: dict[str, Any] = {}

    def get_setting(self, name: str) -> Any:
        return self.settings[name]

    def get_backend_class(self, name: str) -> Any:
        if name not in self.backends:
            raise AuthConfigurationError(code="backend_missing")
        return self.backends[name]

    def get_request_data(self, merge: bool = True) -> dict[str, Any]:  # noqa: FBT001, FBT002
        return self.request

    def build_absolute_uri(self, path: str | None = None) -> str:
        return f"https://svcctl.test{path or ''}"

    def redirect(self, url: Any) -> Redirect:
        return Redirect(url)

    def session_get(self, name: str, default: Any = None) -> Any:
        return self.session.get(name, default)

    def session_set(self, name: str, value: Any) -> None:
        self.session[name] = value

    def session_pop(self, name: str) -> Any:
        return self.session.pop(name, None)
