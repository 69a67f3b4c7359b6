"""A plan: all that one run would do, complete before `guard`, `journal` and `apply` see it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from svcctl.errors import ExitCode, ManagerError, SvcctlError
from svcctl.model import Account, Operation, UndoPin, difference, effect
from svcctl.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that kept a service, or one user on it, from being planned or applied."""

    service: str
    message: str
    code: ExitCode
    username: str | None = None
    hint: str | None = None


@dataclass(slots=True)
class PlannedAccount:
    """The operations of one run on one account; they stand or fall together.

    verdict: None to go ahead; "held" by a limit; "skipped" when the account is protected.
    removal: one of the operations takes access away. counted: it counts against the limits.
    undo_pin: how what an undo puts back is pinned, without what it keeps yet. unpins: the pin of an
    earlier undo ends.
    """

    account: Account
    username: str
    operations: tuple[Operation, ...]
    removal: bool = False
    counted: bool = True
    verdict: str | None = None
    because: str = ""
    pin: str | None = None
    undo_pin: UndoPin | None = None
    unpins: bool = False

    def steps(self, at: str) -> Iterator[tuple[Operation, Account, Account]]:
        """Each operation with the account before and after it."""
        before = self.account
        for operation in self.operations:
            after = effect(before, operation, at=at)
            yield operation, before, after
            before = after


@dataclass(slots=True)
class Plan:
    """Everything that one run would do."""

    task: Task
    at: str
    accounts: list[PlannedAccount] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    observed: dict[int, frozenset[str]] = field(default_factory=dict)
    evaluated: set[str] = field(default_factory=set)
    missing: list[tuple[str, str, str]] = field(default_factory=list)
    first: list[Problem] = field(default_factory=list)
    """What is said before anything is done, instead of with the problems."""
    released: set[int] = field(default_factory=set)
    """Accounts that an undo had pinned until something changed, which it has."""

    def of(self, service: str) -> list[PlannedAccount]:
        return [planned for planned in self.accounts if planned.account.service == service]

    def drop(self, service: str) -> None:
        """Forget everything about a service that could not be read completely."""
        self.accounts = [p for p in self.accounts if p.account.service != service]
        self.evaluated.discard(service)


def unread(service: str, error: Exception, what: str) -> Problem:
    """A service that did not give what was asked of it, by whatever its manager raised."""
    code, hint = ExitCode.INCOMPLETE, None
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, SvcctlError):
        said, hint = error.message, error.hint
        if not isinstance(error, ManagerError):
            code = error.exit_code
    return Problem(service, f"{what}: {said}", code, hint=hint)


def undecided(service: str, username: str, error: Exception) -> Problem:
    """A user about whom a hook could not decide, by whatever it raised."""
    if isinstance(error, SvcctlError):
        code = ExitCode.FAILED if isinstance(error, ManagerError) else error.exit_code
        return Problem(service, error.message, code, username, error.hint)
    return Problem(
        service,
        f"the hook failed: {type(error).__name__}: {error}",
        ExitCode.FAILED,
        username,
        "this is a defect in the hook; its tests should show where",
    )


def changes(
    planned: PlannedAccount, at: str
) -> Iterator[tuple[Operation, dict[str, Any], dict[str, Any]]]:
    """Each operation with the fields that it changes: (operation, before, after)."""
    for operation, before, after in planned.steps(at):
        yield operation, *difference(before, after)
