"""What a step stands on, in two makes with the same handles for tests."""

from collections.abc import Callable
from typing import Any

from social_core.backends.github import GithubOAuth2
from sqlalchemy import select

from svcctl.config import pipeline as configured
from svcctl.config.load import load
from svcctl.pipeline import engine
from svcctl.pipeline.commit import commit
from svcctl.pipeline.definition import resolve
from svcctl.pipeline.settings import Lookup
from svcctl.pipeline.storage import UserStorage
from svcctl.pipeline.strategy import Strategy
from svcctl.pipeline.unit import Taken, UnitOfWork
from svcctl.store.tables import users
from svcctl.vault import Vault
from tests.conftest import Site
from tests.support import social

FIELDS = ("username", "email", "fullname", "first_name", "last_name", "nick")


class Ground:
    """A strategy with its storage, and what tests put there."""

    strategy: Any
    users: Any
    """`strategy.storage.user`, with `rows`, `associations` and `saved` (ids), to look at; and with
    `longest` (a username), `faster` (called before an association is made) and `refuse_last` (way
    in), to set."""

    taken: type[Exception]
    """What its storage raises where another one was faster."""

    def configure(self, **settings: Any) -> None:
        """Settings by the names that an installation writes."""
        raise NotImplementedError

    def provide(self, name: str, backend_class: type) -> None:
        """A provider is configured with a class."""
        raise NotImplementedError

    def withdraw(self, name: str) -> None:
        """A provider is not configured any more."""
        raise NotImplementedError

    def fields(self, user: Any) -> dict[str, Any]:
        """What of a user a login may fill."""
        return {name: getattr(user, name) for name in FIELDS}

    def backend(self, backend_class: Callable[..., Any] = GithubOAuth2) -> Any:
        """A provider; GitHub needs neither key nor network where the response is given."""
        return backend_class(self.strategy)

    def user(self, username: str, **fields: Any) -> Any:
        """Somebody who is known."""
        raise NotImplementedError

    def association(
        self, user: Any, uid: str, id_key: str = "id", provider: str = "github", **extra: Any
    ) -> Any:
        """A uid that is theirs, as it is stored whenever one looks."""
        raise NotImplementedError

    def login(self, backend: Any, steps: list[str], **context: Any) -> Any:
        """As a web framework, or svcctl's runner, does it: the user, or a response."""
        raise NotImplementedError

    def run(self, backend: Any, steps: list[str], **context: Any) -> dict[str, Any]:
        """All steps; the context that they leave. Raises what a step raises."""
        raise NotImplementedError


class Memory(Ground):
    """social-core's engine over tables in memory."""

    taken = social.Taken

    def __init__(self) -> None:
        self.strategy = social.Strategy()
        self.users = self.strategy.storage.user

    def configure(self, **settings: Any) -> None:
        self.strategy.settings.update(settings)

    def provide(self, name: str, backend_class: type) -> None:
        self.strategy.backends[name] = backend_class

    def withdraw(self, name: str) -> None:
        self.strategy.backends.pop(name, None)

    def user(self, username: str, **fields: Any) -> Any:
        return self.users.create_user(username=username, **fields)

    def association(
        self, user: Any, uid: str, id_key: str = "id", provider: str = "github", **extra: Any
    ) -> Any:
        one = self.users.create_social_auth(user, uid, provider, id_key=id_key)
        one.set_extra_data(extra)
        return one

    def login(self, backend: Any, steps: list[str], **context: Any) -> Any:
        self.configure(SOCIAL_AUTH_PIPELINE=steps)
        return self.strategy.authenticate(backend, **context)

    def run(self, backend: Any, steps: list[str], **context: Any) -> dict[str, Any]:
        came_to: dict[str, Any] = backend.run_pipeline(steps, **context)
        return came_to


class Svcctl(Ground):
    """svcctl's engine, strategy and storage, over a real database."""

    taken = Taken

    def __init__(self, site: Site) -> None:
        self.site = site
        self.settings = load(site.folder / "svcctl.toml")
        self._configured: dict[str, Any] = {}
        self.unit = self._unit()
        self.strategy = Strategy(self.unit, self._lookup(), request={})
        self.users = _Users(self.unit, self.strategy.setting, self.configure)
        self.strategy.storage.user = self.users

    def _unit(self) -> UnitOfWork:
        vault = Vault(self.settings, in_use=lambda: False)
        return UnitOfWork(
            self.site.database, self.settings, vault, origin="pipeline:join", dry_run=False
        )

    def _lookup(self) -> Lookup:
        table = configured.Pipeline(settings=self._configured)
        return Lookup("join", table, self.settings.backends)

    def configure(self, **settings: Any) -> None:
        bare = {name.removeprefix(configured.PREFIX): value for name, value in settings.items()}
        self._configured |= bare
        self.strategy._lookup = self._lookup()

    def provide(self, name: str, backend_class: type) -> None:
        path = f"{backend_class.__module__}:{backend_class.__name__}"
        self.settings.backends[name] = configured.Backend(class_=path)

    def withdraw(self, name: str) -> None:
        del self.settings.backends[name]

    def user(self, username: str, **fields: Any) -> Any:
        unit = self._unit()
        made = Strategy(unit, self._lookup(), request={}).create_user(username=username, **fields)
        with self.site.database.write() as connection:
            commit(unit, connection, partial_id=None)
        return self.unit.user(made.id)

    def association(
        self, user: Any, uid: str, id_key: str = "id", provider: str = "github", **extra: Any
    ) -> Any:
        unit = self._unit()
        one = unit.link(unit.user(user.id), provider, uid, id_key)  # type: ignore[arg-type]
        one.set_extra_data(extra)
        with self.site.database.write() as connection:
            commit(unit, connection, partial_id=None)
        return _Kept(self, user, one.id)

    def login(self, backend: Any, steps: list[str], **context: Any) -> Any:
        ended = self.run(backend, steps, **{"user": None, "is_new": False, **context})
        user = ended["user"]
        if user is not None:
            user.is_new = ended["is_new"]
        return user

    def run(self, backend: Any, steps: list[str], **context: Any) -> dict[str, Any]:
        given = {"strategy": self.strategy, "backend": backend, "storage": self.strategy.storage}
        try:
            ended = engine.run(
                [resolve(name) for name in steps], {"details": {}, **given, **context}
            )
        except engine.StepError as error:
            raise error.__cause__ or error from None
        return ended.context


class _Kept:
    """An association by its id, as the run has it by now."""

    def __init__(self, ground: Svcctl, user: Any, pk: Any) -> None:
        vars(self).update(id=pk, _ground=ground, _user=user)

    def _now(self) -> Any:
        own = vars(self)
        return own["_ground"].unit.associations_of(own["_user"], None, own["id"])[0]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._now(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._now(), name, value)


class _Users(UserStorage):
    """svcctl's, with the handles."""

    longest: Any = NotImplemented
    faster: Any = None

    def __init__(
        self, unit: UnitOfWork, setting: Callable[..., Any], configure: Callable[..., None]
    ) -> None:
        super().__init__(unit, setting)
        self.saved: list[int] = []
        self._configure = configure

    @property
    def refuse_last(self) -> bool:
        return not self._setting("ALLOW_LAST_DISCONNECT", default=False)

    @refuse_last.setter
    def refuse_last(self, refuse: bool) -> None:
        self._configure(ALLOW_LAST_DISCONNECT=not refuse)

    @property
    def rows(self) -> list[Any]:
        with self._unit.reading() as connection:
            ids = connection.scalars(select(users.c.id)).all()
        for pk in ids:
            self._unit.user(pk)
        return list(self._unit._users.values())

    @property
    def associations(self) -> list[Any]:
        return [one for user in self.rows for one in self._unit.associations_of(user)]

    def changed(self, user: Any) -> None:
        super().changed(user)
        self.saved.append(user.id)

    def username_max_length(self) -> int:
        longest: int = self.longest
        return super().username_max_length() if longest is NotImplemented else longest

    def create_social_auth(self, user: Any, uid: Any, provider: str, id_key: str = "") -> Any:
        if self.faster is not None:
            faster, self.faster = self.faster, None
            faster()
        return super().create_social_auth(user, uid, provider, id_key)
