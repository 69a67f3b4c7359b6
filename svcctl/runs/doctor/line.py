"""One line of the doctor: what was looked at, how it is, and what to do."""

from dataclasses import dataclass
from enum import StrEnum

from svcctl.errors import ExitCode, SvcctlError


class Health(StrEnum):
    """How it is: as it should be, worth a look, or wrong."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Line:
    """`subject` is what of its kind was looked at; `exit_code` says what a failure is of."""

    check: str
    subject: str
    result: Health
    message: str
    remedy: str | None = None
    exit_code: ExitCode = ExitCode.OK


def ok(check: str, subject: str, message: str) -> Line:
    return Line(check, subject, Health.OK, message)


def warn(check: str, subject: str, message: str, remedy: str | None = None) -> Line:
    return Line(check, subject, Health.WARN, message, remedy or None)


def fail(
    check: str,
    subject: str,
    message: str,
    remedy: str | None = None,
    *,
    code: ExitCode = ExitCode.FAILED,
) -> Line:
    return Line(check, subject, Health.FAIL, message, remedy or None, code)


def failed(check: str, subject: str, error: SvcctlError, *, code: ExitCode | None = None) -> Line:
    """An error of ours as a line."""
    message = error.message.removeprefix(f"{subject}: ")
    return fail(check, subject, message, error.hint, code=code or error.exit_code)
