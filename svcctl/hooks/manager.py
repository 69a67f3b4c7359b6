"""The Manager contract: what speaks to one remote service, and what it can do."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from svcctl.model import NOTHING, Verb


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `calls` operations per `per` seconds."""

    calls: float
    per: float = 1.0


@dataclass(frozen=True, slots=True)
class NewAccount:
    """What a manager needs to create an account.

    external_id: our key for the user (`svcctl:<user id>`); to be stored where the service can.
    password: random, known to nobody; a manager may ignore it where the service has none.
    attributes: the user attributes that the service's `attributes` setting names.
    """

    name: str
    external_id: str
    password: str = field(repr=False)
    attributes: Mapping[str, Any] = NOTHING


@dataclass(frozen=True, slots=True)
class Created:
    """The answer to a create: the immutable uid, the name really given, the hook's own data."""

    uid: str
    name: str
    data: Mapping[str, Any] = NOTHING


@dataclass(frozen=True, slots=True)
class GroupChange:
    """What change_groups really changed; groups that were as asked before are not in it."""

    added: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RemoteAccount:
    """An account as the service shows it.

    `groups` None and `nickname` None mean: this read does not say, never: there are none.
    attributes: what the service shows of the person besides, by the name that the user attribute
    has here (`email`): a text, or a tuple of them where there are several. They serve to recognise
    whose account it is, never a decision about access. What is missing, this read does not say.
    """

    uid: str
    name: str
    active: bool = True
    external_id: str | None = None
    groups: frozenset[str] | None = None
    nickname: str | None = None
    data: Mapping[str, Any] = NOTHING
    attributes: Mapping[str, Any] = NOTHING


class Manager:
    """Speaks the protocol of one remote service; thin, synchronous, without policy.

    Every method is optional: **what a service can do is what its manager defines**. A manager gets
    its settings as keyword arguments (the hook's own config fields), and knows nothing of svcctl:
    no store, no config file, no dry run, no retry. Errors are the `ManagerError` subclasses of
    `svcctl.errors` and nothing else; a timeout, a 5xx or a short page is never NotFound.
    Every verb except create must be safe to repeat.
    """

    concurrency: int = 1
    """How many threads may call one instance at once; more than 1 is a promise of thread-safety."""
    rate: RateLimit | None = None
    """The service's documented limit for one credential; None when it has none."""
    stores_external_id: bool = False
    """True when `external_id` is kept by the service and `find_account` finds by it."""

    def check(self) -> None:
        """Verify credentials, version, permissions; a ManagerError has the remedy in `hint`."""
        raise NotImplementedError

    def close(self) -> None:
        """Release connections. Called once, when the run ends."""

    def list_accounts(self) -> Iterator[RemoteAccount]:
        """Every account, page by page, with groups if the service lists them.

        Read in the thread that iterates: it is called while a run plans, and whatever another
        thread does then is refused. Raises Incomplete when the listing ended early.
        """
        raise NotImplementedError

    def get_account(self, uid: str) -> RemoteAccount:
        """One account. Raises NotFound only when the service says so reliably."""
        raise NotImplementedError

    def find_account(self, external_id: str, name: str) -> RemoteAccount | None:
        """The account with our external id, else with this name under the service's case rule."""
        raise NotImplementedError

    def list_groups(self) -> Iterable[str]:
        """The names of all groups that exist on the service."""
        raise NotImplementedError

    def create_account(self, new: NewAccount) -> Created:
        """Create; Conflict if the name is taken. Never renames silently, never takes over."""
        raise NotImplementedError

    def enable_account(self, uid: str) -> None:
        """Undo disable_account; the account has the access and the password that it had."""
        raise NotImplementedError

    def disable_account(self, uid: str) -> None:
        """Take access away reversibly. Raises NotFound when there is no such account."""
        raise NotImplementedError

    def delete_account(self, uid: str) -> None:
        """Remove for good. An account that is gone already is NotFound."""
        raise NotImplementedError

    def set_password(self, uid: str, password: str) -> None:
        """Set the password in clear text given; it must not be logged or kept."""
        raise NotImplementedError

    def set_nickname(self, uid: str, nickname: str) -> None:
        """Set the display name; an empty one removes it."""
        raise NotImplementedError

    def change_groups(self, uid: str, add: frozenset[str], remove: frozenset[str]) -> GroupChange:
        """Add to and remove from exactly the groups named; returns what really changed."""
        raise NotImplementedError


READS = frozenset({"check", "list_accounts", "get_account", "find_account", "list_groups"})
VERBS = frozenset(verb.value for verb in Verb)


def capabilities(manager: type[Manager]) -> frozenset[str]:
    """The names of the contract's methods that this manager defines itself."""
    return frozenset(
        name for name in READS | VERBS if getattr(manager, name) is not getattr(Manager, name)
    )


def without(manager: type[Manager], names: Iterable[str]) -> type[Manager]:
    """The same kind of manager, which does not define these methods of the contract."""
    lost = {name: getattr(Manager, name) for name in names}
    known_as = {"__module__": manager.__module__, "__doc__": manager.__doc__}
    return type(manager.__name__, (manager,), known_as | lost) if lost else manager
