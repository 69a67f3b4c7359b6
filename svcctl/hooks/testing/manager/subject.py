"""What is tested: a manager, made by the fixtures of the subclass, and the accounts of a test."""

import functools
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, TypeVar

import pytest

from svcctl.errors import ManagerError, NotFound
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import Manager, NewAccount, RemoteAccount, capabilities
from svcctl.hooks.testing.faults import Faults

Test = TypeVar("Test", bound=Callable[..., Any])
Connect = Callable[[], Manager]
LogsIn = Callable[[str, str], bool]
"""Whether the service lets somebody in who gives this name and this password."""


def needs(*names: str) -> Callable[[Test], Test]:
    """Skip the test, with the reason, where the manager lacks one of these methods."""

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def checked(self: "Subject", **fixtures: Any) -> Any:
            for name in names:
                self.require(fixtures["manager"], name)
            return test(self, **fixtures)

        return checked  # type: ignore[return-value]

    return decorate


def refusal(what: str, call: Callable[[], object], *fitting: type[ManagerError]) -> ManagerError:
    """The error with which a call is refused; fails the test unless it is one of these."""
    wanted = " or ".join(kind.__name__ for kind in fitting)
    try:
        answer = call()
    except fitting as error:
        return error
    except Exception as error:
        if isinstance(error, NotImplementedError):
            raise
        raise AssertionError(
            f"{what} must raise {wanted}, and raised {type(error).__name__}: {error}"
        ) from error
    pytest.fail(f"{what} must raise {wanted}, and returned {answer!r}")


class Subject:
    """What a subclass says of its service; see ManagerContract."""

    hook_class: ClassVar[type[ServiceHook]] = ServiceHook
    page_size: ClassVar[int | None] = None
    patience: ClassVar[float] = 10.0

    def can(self, manager: Manager, capability: str) -> bool:
        """Whether this manager has this method; override it where that depends on settings."""
        return capability in capabilities(type(manager))

    def require(self, manager: Manager, capability: str) -> None:
        """Skip the test where it does not."""
        if not self.can(manager, capability):
            pytest.skip(f"{type(manager).__name__} has no {capability}")

    def fit(self, text: str) -> str:
        """`text` as a name that the service takes. Raises Invalid when nothing is left of it."""
        return self.hook_class.username_rule.apply(text)

    def attributes(self, name: str) -> Mapping[str, Any]:  # noqa: ARG002 - for subclasses
        """The user attributes that the service wants for a new account of this name."""
        return {}

    # What a subclass gives

    @pytest.fixture
    def connect(self) -> Connect:
        """A function that makes a manager for the service under test, the same for each call."""
        raise NotImplementedError(
            "write the fixture `connect`: it returns a function that makes a manager for the "
            "service under test, like `lambda: MyManager(url, token=token)`"
        )

    @pytest.fixture
    def impatient(self, connect: Connect) -> Connect:
        """`connect` for the tests with faults: managers that wait for an answer as short as can be.

        Where a manager waits longer than `patience`, they fail.
        """
        return connect

    @pytest.fixture
    def groups(self, manager: Manager) -> tuple[str, ...]:
        """The names of three groups that accounts of the service can join."""
        self.require(manager, "change_groups")
        _not_given("groups", "the names of three groups that an account can join")

    @pytest.fixture
    def faults(self) -> Faults:
        """What breaks the way between the manager and the service: HttpFaults, WireFaults, …"""
        _not_given("faults", "what breaks the connection to the service, such as HttpFaults")

    @pytest.fixture
    def denied(self) -> Manager:
        """A manager for the service under test whose credentials are wrong."""
        _not_given("denied", "a manager with wrong credentials")

    @pytest.fixture
    def credentials(self) -> tuple[str, ...]:
        """The secrets that the manager got: a token, a password."""
        _not_given("credentials", "the secrets that the manager got")

    @pytest.fixture
    def logs_in(self) -> LogsIn:
        """Whether a name and a password are let in by the service."""
        _not_given("logs_in", "a function of name and password: whether the service lets them in")

    @pytest.fixture
    def absent_uid(self, manager: Manager, accounts: "Accounts") -> str:
        """The uid of an account that is not there; of one that was deleted, unless overridden."""
        if not self.can(manager, "delete_account"):
            _not_given("absent_uid", "the uid of an account that is not there")
        gone = accounts.new("gone")
        manager.delete_account(gone.uid)
        return gone.uid

    # What the tests use

    @pytest.fixture
    def opened(self, connect: Connect) -> Iterator[Connect]:
        """`connect`, each manager closed at the end of the test."""
        with closing(connect) as make:
            yield make

    @pytest.fixture
    def hurried(self, impatient: Connect) -> Iterator[Connect]:
        """`impatient`, each manager closed at the end of the test."""
        with closing(impatient) as make:
            yield make

    @pytest.fixture
    def manager(self, opened: Connect) -> Manager:
        return opened()

    @pytest.fixture
    def accounts(self, manager: Manager) -> Iterator["Accounts"]:
        accounts = Accounts(self, manager)
        yield accounts
        accounts.clear()


@contextmanager
def closing(connect: Connect) -> Iterator[Connect]:
    """`connect`, and whatever it made is closed in the end."""
    managers: list[Manager] = []

    def make() -> Manager:
        managers.append(connect())
        return managers[-1]

    yield make
    for manager in managers:
        manager.close()


def _not_given(fixture: str, what: str) -> NoReturn:
    pytest.skip(f"no fixture `{fixture}`: {what}")


@dataclass(frozen=True, slots=True)
class Made:
    """An account that a test made."""

    uid: str
    asked: NewAccount

    @property
    def name(self) -> str:
        return self.asked.name


class Accounts:
    """Accounts of one test: made under names of their own, looked at, deleted at the end."""

    def __init__(self, subject: Subject, manager: Manager) -> None:
        self._subject = subject
        self._manager = manager
        self._uids: list[str] = []

    def ask(self, text: str = "ada") -> NewAccount:
        """What to create: a name like `text` that nobody has, an external id, a password."""
        return self.ask_for(self._subject.fit(f"k{secrets.token_hex(4)}{text}"))

    def ask_for(self, name: str) -> NewAccount:
        return NewAccount(
            name=name,
            external_id=f"svcctl:{secrets.randbelow(10**9)}",
            password=f"Pw1-{secrets.token_urlsafe(18)}",
            attributes=self._subject.attributes(name),
        )

    def new(self, text: str = "ada") -> Made:
        """A new account."""
        return self.make(self.ask(text))

    def make(self, asked: NewAccount) -> Made:
        self._subject.require(self._manager, "create_account")
        created = self._manager.create_account(asked)
        self.remember(created.uid)
        return Made(created.uid, asked)

    def remember(self, uid: str) -> None:
        """Delete it when the test is over."""
        self._uids.append(uid)

    def look(self, uid: str) -> RemoteAccount:
        """What the service shows of the account. Raises NotFound."""
        if self._subject.can(self._manager, "get_account"):
            return self._manager.get_account(uid)
        listed = self.listed()
        if uid not in listed:
            raise NotFound(f"no account {uid} is listed")
        return listed[uid]

    def listed(self) -> dict[str, RemoteAccount]:
        """All accounts by uid."""
        if not self._subject.can(self._manager, "list_accounts"):
            name = type(self._manager).__name__
            pytest.skip(f"{name} has no get_account and no list_accounts: nothing can be seen")
        return {account.uid: account for account in self._manager.list_accounts()}

    def gone(self, uid: str) -> bool:
        try:
            self.look(uid)
        except NotFound:
            return True
        return False

    def taken(self, asked: NewAccount) -> bool:
        """Whether there is an account of this name."""
        if self._subject.can(self._manager, "find_account"):
            found = self._manager.find_account(asked.external_id, asked.name)
            return found is not None and found.name == asked.name
        return asked.name in {account.name for account in self.listed().values()}

    def groups(self, uid: str) -> frozenset[str]:
        """The groups of the account, from whichever read shows them."""
        shown = self.look(uid).groups
        if shown is None and self._subject.can(self._manager, "list_accounts"):
            shown = self.listed()[uid].groups
        if shown is None:
            pytest.skip(f"no read of {type(self._manager).__name__} shows groups")
        return shown

    def nickname(self, uid: str) -> str:
        """The nickname of the account, from whichever read shows it; empty where none does."""
        shown = self.look(uid).nickname
        if shown is None and self._subject.can(self._manager, "list_accounts"):
            shown = self.listed()[uid].nickname
        return shown or ""

    def clear(self) -> None:
        """Delete what the test made, as far as that can be done."""
        if self._subject.can(self._manager, "delete_account"):
            for uid in self._uids:
                with suppress(ManagerError, NotImplementedError):
                    self._manager.delete_account(uid)
        self._uids.clear()
