"""What a run of a pipeline came to: a frozen value that commands render and that has a code."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from svcctl.errors import ExitCode, Refused, SvcctlError, gravest
from svcctl.pipeline.engine import Trace, read
from svcctl.pipeline.mask import masked, scrub
from svcctl.pipeline.step import SURROUNDINGS
from svcctl.pipeline.user import Association, PipelineUser

Kind = Literal["done", "stopped", "paused", "answered", "refused", "failed"]
_NOT_SHOWN = frozenset(
    {
        "strategy",
        "backend",
        "storage",
        "user_storage",
        "pipeline_index",
        "request",
        "current_partial",
    }
)


@dataclass(frozen=True, slots=True)
class Paused:
    """A run that was saved: what it waits for, and until when it can go on."""

    id: str
    step: str
    why: str
    needs: tuple[str, ...]
    external: bool
    expires_at: str


@dataclass(slots=True)
class Outcome:
    """kind: `done`, `stopped` (at --until), `paused`, `answered` (a step's own response ended it),
    `refused` (a step said no) or `failed`. Only after `done` and `paused` is anything kept.

    initial: what was in the context before the first step. would: what a dry run has not done.
    report: what was done on services. problems: what went wrong after the run was kept.
    """

    kind: Kind
    pipeline: str
    backend: str
    dry_run: bool = False
    context: Mapping[str, Any] = field(default_factory=dict)
    trace: list[Trace] = field(default_factory=list)
    initial: frozenset[str] = frozenset()
    step: str | None = None
    error: SvcctlError | None = None
    response: Any = None
    partial: Paused | None = None
    run_id: int | None = None
    would: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[SvcctlError] = field(default_factory=list)
    report: Any = None

    @property
    def exit_code(self) -> ExitCode:
        """0, 6 (paused), 7 (refused or answered), or what the error or the services say."""
        codes = [problem.exit_code for problem in self.problems]
        if self.report is not None:
            codes.append(self.report.exit_code)
        if self.error is not None:
            codes.append(self.error.exit_code)
        if self.kind == "answered":
            codes.append(ExitCode.REFUSED)
        elif self.kind == "paused":
            codes.append(ExitCode.PAUSED)
        return gravest(codes)

    @property
    def user(self) -> PipelineUser | None:
        """Whom it was about, as far as it came."""
        user = self.context.get("user")
        return user if isinstance(user, PipelineUser) else None

    def summary(self) -> dict[str, Any]:
        """What the run row keeps, and what a line of a batch says."""
        return {
            "outcome": self.kind,
            "pipeline": self.pipeline,
            "backend": self.backend,
            "user": None if self.user is None else self.user.username,
            "is_new": bool(self.context.get("is_new")),
            "step": self.step,
            "partial": None if self.partial is None else self.partial.id,
            "code": self.error.code if isinstance(self.error, Refused) else None,
            "error": None if self.error is None else self.told(self.error.message),
        }

    def told(self, text: str) -> str:
        """A message without the secrets of the context."""
        return scrub(text, self.context)

    def read(self) -> list[tuple[str, ...]]:
        """For each step of the trace, what it may have looked at."""
        return read(self.initial | SURROUNDINGS, self.trace)

    def values(self) -> dict[str, Any]:
        """The context for people: secrets masked, objects by what they are."""
        return {
            name: _shown(masked(value, name))
            for name, value in sorted(self.context.items())
            if name not in _NOT_SHOWN
        }


def _shown(value: Any) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case PipelineUser():
            return value.username
        case Association():
            return f"{value.provider} {value.uid}"
        case Mapping():
            return {str(key): _shown(item) for key, item in value.items()}
        case list() | tuple():
            return [_shown(item) for item in value]
        case set() | frozenset():
            return sorted(map(str, map(_shown, value)))
    return f"a {type(value).__name__}"
