"""Logins through the default pipeline, against social-core with its own steps.

In memory, both engines work on the same storage. Durable, social-core's storage is SQLAlchemy on a
SQLite file that commits at each save, as python-social-auth's own storages do.
"""

import time
from pathlib import Path
from typing import Any

from social_core.backends.github import GithubOAuth2
from social_core.pipeline import DEFAULT_AUTH_PIPELINE
from social_core.storage import BaseStorage, UserMixin
from sqlalchemy import JSON, ForeignKey, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from benchmarks.measure import Row, in_turn
from svcctl.config.load import load
from svcctl.config.pipeline import Pipeline
from svcctl.hooks.registry import Hooks
from svcctl.pipeline import engine
from svcctl.pipeline.definition import DEFAULT_STEPS, resolve
from svcctl.pipeline.run import Runner, Start
from svcctl.pipeline.settings import Lookup
from svcctl.pipeline.strategy import Strategy as OurStrategy
from svcctl.store.database import Database
from svcctl.store.migrate import upgrade
from tests.support.social import Strategy

IN_MEMORY = 1_000
DURABLE = 150
CONFIG = """
[pipelines.join]
[backends.github]
class = "social_core.backends.github.GithubOAuth2"
"""


def response(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "login": f"user{number}",
        "email": f"user{number}@example.org",
        "name": f"User Number{number}",
        "access_token": "token",
        "token_type": "bearer",
        "expires": 3600,
    }


class Base(DeclarativeBase):
    """Tables of the baseline."""

    __allow_unmapped__ = True


class User(Base):
    __tablename__ = "users"
    is_active = is_authenticated = True
    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(unique=True)
    email: Mapped[str | None]
    fullname: Mapped[str | None]
    social_user: Any = None
    is_new: Any = False


class Association(UserMixin, Base):
    __tablename__ = "associations"
    session: Any = None
    id: Mapped[int] = mapped_column(primary_key=True)
    provider: Mapped[str]
    uid: Mapped[str]
    id_key: Mapped[str]
    extra_data: Mapped[dict[str, Any]] = mapped_column(JSON)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    user: Mapped[User] = relationship()

    def save(self) -> None:
        self.session.commit()

    def set_extra_data(self, extra_data: Any = None) -> bool:
        self.extra_data = {**self.extra_data, **(extra_data or {})}
        self.save()
        return True

    @classmethod
    def changed(cls, user: Any) -> None:
        cls.session.commit()

    @classmethod
    def get_username(cls, user: Any) -> str:
        return str(user.username)

    @classmethod
    def username_max_length(cls) -> int:
        return 255

    @classmethod
    def user_exists(cls, *args: Any, **fields: Any) -> bool:
        found = select(User.id).where(User.username == fields["username"])
        return cls.session.scalar(found) is not None

    @classmethod
    def create_user(cls, *args: Any, **fields: Any) -> User:
        user = User(**fields)
        cls.session.add(user)
        cls.session.commit()
        return user

    @classmethod
    def get_social_auth(cls, provider: str, uid: str, id_key: str | None = None) -> Any:
        statement = select(Association).where(
            Association.provider == provider, Association.uid == uid
        )
        found = cls.session.scalar(statement)
        return found if found is None or id_key in (None, found.id_key) else None

    @classmethod
    def create_social_auth(cls, user: Any, uid: str, provider: str, id_key: str = "") -> Any:
        one = cls(user=user, provider=provider, uid=uid, id_key=id_key, extra_data={})
        cls.session.add(one)
        cls.session.commit()
        return one


class Storage(BaseStorage):
    user: Any = Association

    @classmethod
    def is_integrity_error(cls, exception: Any) -> bool:
        return False


def theirs_in_memory() -> float:
    """Seconds of so many new logins on social-core's engine."""
    strategy: Any = Strategy()
    backend = GithubOAuth2(strategy)
    start = time.perf_counter()
    for number in range(IN_MEMORY):
        backend.run_pipeline(
            DEFAULT_AUTH_PIPELINE, response=response(number), user=None, is_new=False
        )
        strategy.storage.user.rows.clear()
        strategy.storage.user.associations.clear()
    return time.perf_counter() - start


def ours_in_memory() -> float:
    """The same on svcctl's engine and strategy, with svcctl's steps."""
    unit: Any = None
    strategy: Any = OurStrategy(unit, Lookup("join", Pipeline(), {}), request={})
    strategy.storage = Strategy().storage
    backend = GithubOAuth2(strategy)
    steps = [resolve(name) for name in DEFAULT_STEPS["auth"]]
    start = time.perf_counter()
    for number in range(IN_MEMORY):
        context = {
            "strategy": strategy,
            "backend": backend,
            "details": {},
            "response": response(number),
            "user": None,
            "is_new": False,
        }
        engine.run(steps, context, consulted=strategy.consulted)
        strategy.storage.user.rows.clear()
        strategy.storage.user.associations.clear()
    return time.perf_counter() - start


def theirs_durable(folder: Path) -> float:
    """Seconds of new logins, each followed by a second one."""
    database = create_engine(f"sqlite:///{folder}/theirs.db")
    Base.metadata.drop_all(database)
    Base.metadata.create_all(database)
    with Session(database) as session:
        Association.session = session
        strategy: Any = Strategy()
        strategy._storage = Storage  # noqa: SLF001 - no other way in
        backend = GithubOAuth2(strategy)
        start = time.perf_counter()
        for number in range(DURABLE):
            for _ in range(2):
                strategy.authenticate(backend, response=response(number), user=None)
        elapsed = time.perf_counter() - start
    database.dispose()
    return elapsed


def ours_durable(folder: Path) -> float:
    """The same by the runner, each login one durable transaction with its record."""
    for path in folder.glob("svcctl.*"):
        path.unlink()
    (folder / "svcctl.toml").write_text(CONFIG)
    settings = load(folder / "svcctl.toml")
    database = Database(settings.database_url)
    upgrade(database)
    runner = Runner(settings, database, lambda: Hooks({}, {}, {}))
    start = time.perf_counter()
    for number in range(DURABLE):
        for _ in range(2):
            outcome = runner.run(Start("join", "github", response(number)))
            assert outcome.kind == "done", outcome.error
    elapsed = time.perf_counter() - start
    database.close()
    return elapsed


def run(folder: Path) -> list[Row]:
    folder.mkdir(parents=True)
    theirs, ours = in_turn(theirs_in_memory, ours_in_memory)
    theirs_kept, ours_kept = in_turn(
        lambda: theirs_durable(folder), lambda: ours_durable(folder), rounds=3
    )
    return [
        Row(
            "pipeline engine, logins/s in memory / social-core",
            IN_MEMORY / ours,
            IN_MEMORY / theirs,
            1.0,
            unit="/",
            at_least=True,
        ),
        Row(
            "durable logins/s / social-core on SQLAlchemy, SQLite",
            2 * DURABLE / ours_kept,
            2 * DURABLE / theirs_kept,
            3.0,
            unit="/",
            at_least=True,
        ),
    ]
