"""Every exception that svcctl raises on purpose, and the exit codes they lead to.

An exception carries its message, its hint and its exit code as data; only `svcctl.cli.main` turns
one into output. Messages are lower case, without a full stop, the thing first.
"""

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit code of every command. The README's table is tested against this enum."""

    OK = 0
    FAILED = 1
    USAGE = 2
    PENDING = 3
    HELD = 4
    INCOMPLETE = 5
    PAUSED = 6
    REFUSED = 7
    DATABASE = 74
    TRY_LATER = 75
    CONFIG = 78
    INTERRUPTED = 130
    TERMINATED = 143


_PRECEDENCE = (
    ExitCode.INTERRUPTED,
    ExitCode.TERMINATED,
    ExitCode.USAGE,
    ExitCode.CONFIG,
    ExitCode.DATABASE,
    ExitCode.INCOMPLETE,
    ExitCode.FAILED,
    ExitCode.HELD,
    ExitCode.TRY_LATER,
    ExitCode.REFUSED,
    ExitCode.PAUSED,
    ExitCode.PENDING,
)


def gravest(codes: Iterable[ExitCode]) -> ExitCode:
    """The one exit code to give when several hold."""
    given = set(codes)
    return next((code for code in _PRECEDENCE if code in given), ExitCode.OK)


class SvcctlError(Exception):
    """Something that the person at the shell can understand and act upon.

    `hint` says what to do, `exit_code` what the process returns.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class UsageError(SvcctlError):
    """The command line names something that does not exist or does not fit together."""

    exit_code = ExitCode.USAGE


class ConfigError(SvcctlError):
    """The configuration is wrong. `problems` lists every problem found, not only the first."""

    exit_code = ExitCode.CONFIG

    def __init__(
        self, message: str, *, hint: str | None = None, problems: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.problems = problems


class HookError(SvcctlError):
    """A hook cannot be loaded, or broke its contract while deciding."""

    exit_code = ExitCode.CONFIG


class SourceError(SvcctlError):
    """A directory source cannot be read completely; nothing of it was taken over."""

    exit_code = ExitCode.INCOMPLETE


class StoreError(SvcctlError):
    """The database or its disk is unusable."""

    exit_code = ExitCode.DATABASE


class SchemaError(StoreError):
    """The database was written by another version of svcctl."""

    exit_code = ExitCode.CONFIG


class LockedError(SvcctlError):
    """Another run is at work on the same service."""

    exit_code = ExitCode.TRY_LATER


class InterruptedRun(SvcctlError):
    """A signal ended the command; what was done is recorded."""

    exit_code = ExitCode.INTERRUPTED


class PipelineError(SvcctlError):
    """A pipeline cannot go on: a step failed, or something that it needs is not there."""


class Refused(SvcctlError):
    """A step said no. `code` is social-core's word for the reason, like `identity_in_use`."""

    exit_code = ExitCode.REFUSED

    def __init__(self, message: str, *, hint: str | None = None, code: str = "refused") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class ManagerError(SvcctlError):
    """What a service said instead of yes. The subclasses are closed: the engine decides by them."""

    retry = False

    def __init__(
        self, message: str, *, retry_after: float | None = None, hint: str | None = None
    ) -> None:
        """retry_after: seconds after which the service wants to be asked again, if it said so."""
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class NotFound(ManagerError):
    """The service says, reliably, that this account does not exist."""


class Conflict(ManagerError):
    """The name or external id is taken, or something else than was asked was created."""


class RateLimited(ManagerError):
    """The service asks for a pause, and did nothing."""

    retry = True


class Denied(ManagerError):
    """The credentials are wrong, or do not allow this."""


class Invalid(ManagerError):
    """The service understood the request and will never accept it as it is."""


class Transient(ManagerError):
    """A timeout, a lost connection, a server error: unknown whether it was done. Try again."""

    retry = True


class Incomplete(ManagerError):
    """A listing ended early; what was read must not be taken for all there is."""

    exit_code = ExitCode.INCOMPLETE
    retry = True
