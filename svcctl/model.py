"""The words of svcctl as frozen values: User, Account, Operation, Outcome, and `effect`.

Nothing here knows a database, a file or a network. Hooks and managers see these and nothing else.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]


class _Nothing(Mapping[str, Any]):
    """An empty mapping that nobody can fill, so that it can be everybody's default."""

    def __getitem__(self, key: str) -> Any:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "{}"


NOTHING: Mapping[str, Any] = _Nothing()


def to_json(value: Any) -> str:
    """Canonical JSON: equal values give equal text. Sets become sorted lists.

    Halves of surrogate pairs, which no database keeps, are written as escapes.
    """
    text = _encoder.encode(value)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return _ascii_encoder.encode(value)
    return text


def names_to_json(names: Collection[str]) -> str:
    """What `to_json` gives for a set of names, in a third of the time: most need no escaping."""
    text = '","'.join(sorted(names))
    plain = text.isprintable() and "\\" not in text and text.count('"') == 2 * (len(names) - 1)
    return f'["{text}"]' if names and plain else to_json(frozenset(names))


def _plain(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no place in JSON")


_encoder = json.JSONEncoder(
    default=_plain, ensure_ascii=False, sort_keys=True, separators=(",", ":")
)
_ascii_encoder = json.JSONEncoder(default=_plain, sort_keys=True, separators=(",", ":"))


class Verb(StrEnum):
    """What can be done to an account; the value is the manager's method."""

    DISABLE = "disable_account"
    DELETE = "delete_account"
    ENABLE = "enable_account"
    CREATE = "create_account"
    SET_PASSWORD = "set_password"  # noqa: S105 - a method's name
    CHANGE_GROUPS = "change_groups"
    SET_NICKNAME = "set_nickname"

    @property
    def rank(self) -> int:
        """Order inside a lane: removals, enables, creates; then, within an account, the rest."""
        return _RANKS[self]


_RANKS = {
    Verb.DISABLE: 0,
    Verb.DELETE: 0,
    Verb.ENABLE: 1,
    Verb.CREATE: 2,
    Verb.SET_PASSWORD: 3,
    Verb.CHANGE_GROUPS: 4,
    Verb.SET_NICKNAME: 5,
}


class RecordVerb(StrEnum):
    """What happens to our record of an account, and to nothing on its service."""

    LINK = "link_account"
    UNLINK = "unlink_account"
    REFRESH = "refresh_account"


class AccountStatus(StrEnum):
    """ABSENT: a reserved or deleted record, nothing exists remotely."""

    ABSENT = "absent"
    ACTIVE = "active"
    DISABLED = "disabled"


class OperationStatus(StrEnum):
    """Where an operation stands; see the table in docs/explanation.md."""

    PENDING = "pending"
    RUNNING = "running"
    UNKNOWN = "unknown"
    HELD = "held"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    SUPERSEDED = "superseded"


OPEN = frozenset(
    {
        OperationStatus.PENDING,
        OperationStatus.RUNNING,
        OperationStatus.UNKNOWN,
        OperationStatus.HELD,
    }
)


@dataclass(frozen=True, slots=True)
class User:
    """A person in the local directory, as hooks see one.

    `active` is the effective answer: switched on, present in the source, not removed.
    """

    id: int
    username: str
    active: bool = True
    state: str = ""
    groups: frozenset[str] = frozenset()
    attributes: Mapping[str, Any] = NOTHING
    superuser: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """The local record of one user on one service.

    `groups` and `nickname` are what svcctl last put there, not what the remote may hold besides.
    `id` is None until the row is reserved; `uid` is the service's own immutable id. `pin` is why an
    operator fixed the status: no run creates, enables, disables or deletes a pinned account.
    """

    service: str
    user_id: int
    id: int | None = None
    status: AccountStatus = AccountStatus.ABSENT
    uid: str | None = None
    name: str = ""
    groups: frozenset[str] = frozenset()
    nickname: str = ""
    data: Mapping[str, Any] = NOTHING
    disabled_at: str | None = None
    pin: str | None = None

    @property
    def absent(self) -> bool:
        return self.status is AccountStatus.ABSENT

    @property
    def active(self) -> bool:
        return self.status is AccountStatus.ACTIVE

    @property
    def disabled(self) -> bool:
        return self.status is AccountStatus.DISABLED


@dataclass(frozen=True, slots=True)
class Operation:
    """One verb on one user's account, with its arguments and the reason. Hooks yield these.

    The engine adds `before` and `after`: the fields of the account that the verb changes. `undo_of`
    is the row id of the operation that this one undoes; hooks leave it alone.
    """

    verb: Verb
    user_id: int
    reason: str
    args: Mapping[str, Any] = NOTHING
    notify: bool = False
    before: Mapping[str, Any] = NOTHING
    after: Mapping[str, Any] = NOTHING
    undo_of: int | None = None


@dataclass(frozen=True, slots=True)
class UndoPin:
    """What an undo put back on an account, and how long runs leave it so.

    by: the undo, and who asked for it. basis: the fingerprint of what the policy went by then; the
    pin ends with another one. keeps: some of "access", "groups" and "nickname", as they were put
    back; "access" is the whole account.
    """

    by: str
    basis: str
    keeps: frozenset[str] = frozenset()

    def keeping(self, verb: Verb) -> "UndoPin":
        """The same pin, which also keeps what an operation of this verb put back."""
        return replace(self, keeps=self.keeps | {_KEPT.get(verb, "access")})

    def left_alone(self, verb: Verb) -> bool:
        """Whether runs leave alone what this verb would change."""
        if verb is Verb.SET_PASSWORD:
            return False
        return "access" in self.keeps or _KEPT.get(verb) in self.keeps

    def text(self) -> str:
        """As the database keeps it."""
        return to_json({"by": self.by, "basis": self.basis, "keeps": self.keeps})

    @classmethod
    def of(cls, text: str) -> "UndoPin":
        values = json.loads(text)
        return cls(values["by"], values["basis"], frozenset(values["keeps"]))


_KEPT = {Verb.CHANGE_GROUPS: "groups", Verb.SET_NICKNAME: "nickname"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an operation really did, when the remote said more than yes."""

    uid: str | None = None
    data: Mapping[str, Any] = NOTHING
    added: frozenset[str] | None = None
    removed: frozenset[str] | None = None
    note: str = ""


def effect(
    account: Account, operation: Operation, outcome: Outcome | None = None, *, at: str | None = None
) -> Account:
    """The account as it is after the operation: the one function for projection and settlement.

    While planning there is no outcome and the arguments speak. `at` is the moment of a disable.
    """
    args = operation.args
    match operation.verb:
        case Verb.CREATE:
            return replace(
                account,
                status=AccountStatus.ACTIVE,
                uid=outcome.uid if outcome else None,
                name=args["name"],
                groups=frozenset(),
                nickname="",
                data=outcome.data if outcome else NOTHING,
                disabled_at=None,
            )
        case Verb.ENABLE:
            return replace(account, status=AccountStatus.ACTIVE, disabled_at=None)
        case Verb.DISABLE:
            return replace(account, status=AccountStatus.DISABLED, disabled_at=at)
        case Verb.DELETE:
            return replace(
                account,
                status=AccountStatus.ABSENT,
                uid=None,
                groups=frozenset(),
                nickname="",
                data=NOTHING,
                disabled_at=None,
            )
        case Verb.CHANGE_GROUPS:
            return replace(
                account,
                groups=(account.groups | frozenset(args["add"])) - frozenset(args["remove"]),
            )
        case Verb.SET_NICKNAME:
            return replace(account, nickname=args["nickname"])
        case Verb.SET_PASSWORD:
            return account


_FACETS = ("status", "uid", "name", "groups", "nickname")


def difference(before: Account, after: Account) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields that differ, as (before, after), in JSON's types."""
    old: dict[str, Any] = {}
    new: dict[str, Any] = {}
    for facet in _FACETS:
        left, right = getattr(before, facet), getattr(after, facet)
        if left != right:
            old[facet] = sorted(left) if isinstance(left, frozenset) else left
            new[facet] = sorted(right) if isinstance(right, frozenset) else right
    return old, new


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """A user's row on the services page: name, username, url and the actions offered."""

    service: str
    title: str
    username: str
    url: str
    status: str
    actions: tuple[str, ...] = ()
