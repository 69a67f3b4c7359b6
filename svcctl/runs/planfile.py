"""A plan as a file: written whole or not at all, read as what anybody may have written."""

import json
import os
import re
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkstemp
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from svcctl import __version__
from svcctl.clock import stamp
from svcctl.disk import sync
from svcctl.errors import StoreError, UsageError
from svcctl.hooks.contract import ServiceHook
from svcctl.runs.binding import Binding
from svcctl.runs.report import Report

VERSION: Literal[1] = 1
LARGEST = 256 * 2**20
"""Bytes of the largest file that is written or read."""
AGAIN = "make a new plan: svcctl plan --out FILE"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Made(_Part):
    """Where the plan comes from, for people."""

    at: str
    by: str
    on: str
    svcctl: str


class Selected(_Part):
    """Whom the plan was asked for; None does not narrow."""

    users: list[str] | None
    state: str | None
    group: str | None


class Hook(_Part):
    """The policy that planned a service, and the package that it came in."""

    hook: str
    version: str
    package: str | None


class Step(_Part):
    """One operation."""

    seq: int
    verb: str
    args: dict[str, Any]
    before: dict[str, Any]
    after: dict[str, Any]
    reason: str


class Entry(_Part):
    """The operations on one account. `shown`: what the service showed; None where it cannot."""

    service: str
    user: str
    verdict: Literal["held", "skipped"] | None
    because: str
    shown: dict[str, Any] | Literal["absent"] | None
    operations: list[Step]


class Trouble(_Part):
    """What kept a service, or one user on it, from being planned."""

    service: str
    user: str | None
    message: str


class Missing(_Part):
    """An account that the service does not have any more."""

    service: str
    user: str
    account: str


class PlanFile(_Part):
    """All that stands in the file."""

    svcctl_plan: Literal[1]
    made: Made
    task: Literal["sync"]
    selection: Selected
    services: Annotated[list[str], Field(min_length=1)] | None
    accept_removals: Annotated[int, Field(ge=0)]
    configuration: str
    hooks: dict[str, Hook]
    accounts: list[Entry]
    problems: list[Trouble]
    missing: list[Missing]
    hash: str

    def binding(self) -> Binding:
        """What must be the same when this is applied."""
        return Binding(
            self.configuration,
            {name: hook.version for name, hook in self.hooks.items()},
            tuple(entry.model_dump() for entry in self.accounts),
            frozenset(trouble.service for trouble in self.problems if trouble.user is None),
        )


def plan_file(
    report: Report,
    hooks: Mapping[str, ServiceHook],
    selection: Selected,
    services: list[str] | None,
    *,
    accept_removals: int,
    by: str,
) -> PlanFile:
    """The file of a plan whose accounts were looked at. `hooks`: of the planned services."""
    assert report.binding is not None
    problems = (*report.problems, *report.plan.problems)
    return PlanFile(
        svcctl_plan=VERSION,
        made=Made(at=stamp(), by=by, on=socket.gethostname(), svcctl=__version__),
        task="sync",
        selection=selection,
        services=services,
        accept_removals=accept_removals,
        configuration=report.binding.configuration,
        hooks=_hooks(hooks),
        accounts=[Entry.model_validate(entry) for entry in report.binding.entries],
        problems=[
            Trouble(service=problem.service, user=problem.username, message=problem.message)
            for problem in problems
        ],
        missing=[
            Missing(service=service, user=user, account=account)
            for service, user, account in report.plan.missing
        ],
        hash=report.binding.hash,
    )


def _hooks(hooks: Mapping[str, ServiceHook]) -> dict[str, Hook]:
    from importlib.metadata import packages_distributions, version

    packages: Mapping[str, list[str]] | None = None
    found = {}
    for name, hook in hooks.items():
        cls = type(hook)
        top = cls.__module__.partition(".")[0]
        package = f"svcctl {__version__}" if top == "svcctl" else None
        if package is None:
            packages = packages_distributions() if packages is None else packages
            if top in packages:
                package = f"{packages[top][0]} {version(packages[top][0])}"
        path = f"{cls.__module__}:{cls.__qualname__}"
        found[name] = Hook(hook=path, version=cls.version, package=package)
    return found


class Draft:
    """A file that does not have its name yet."""

    def __init__(self, path: Path, temporary: str, descriptor: int) -> None:
        self._path = path
        self._temporary = temporary
        self._descriptor = descriptor

    def keep(self, plan: PlanFile) -> None:
        """Write the plan and give the file its name. Raises StoreError when the disk refuses."""
        content = _legible(plan.model_dump()).encode()
        if len(content) > LARGEST:
            raise UsageError(
                f"{self._path}: the plan would be larger than {LARGEST >> 20} MiB",
                hint="plan for fewer services or users",
            )
        try:
            with open(self._descriptor, "wb", closefd=False) as file:
                file.write(content)
            os.fsync(self._descriptor)
            os.replace(self._temporary, self._path)  # noqa: PTH105 - as the rest here
            sync(self._path.parent)
        except OSError as error:
            raise StoreError(
                f"{self._path}: cannot be written: {_reason(error)}", hint="make room, then again"
            ) from error


@contextmanager
def draft(path: Path) -> Iterator[Draft]:
    """A place for a plan, found before the plan is made. Raises UsageError where there is none."""
    target = Path(os.path.realpath(path.parent), path.name)
    try:
        if target.is_symlink():
            # Where it leads, somebody else may have a file; and /dev/stdout is one, too.
            _refuse(path, "is a link", "name the file itself")
        if str(path) == "-" or (target.exists() and not target.is_file()):
            _refuse(path, "not a file", "name a file that may be replaced")
        # For its owner only, from the first moment.
        descriptor, temporary = mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except (OSError, ValueError) as error:
        hint = "name a file in a folder that exists and that you may write to"
        _refuse(path, f"cannot be written: {_reason(error)}", hint)
    try:
        yield Draft(target, temporary, descriptor)
    finally:
        os.close(descriptor)
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108 - as the rest here


def read(path: Path) -> PlanFile:
    """The plan of a file. Raises UsageError for what is not a plan as it was written."""
    try:
        body = json.loads(
            _content(path), object_pairs_hook=_unambiguous, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        _refuse(path, f"not a plan: {said}", AGAIN)
    if not isinstance(body, dict) or "svcctl_plan" not in body:
        _refuse(path, "not a plan: it has no svcctl_plan", AGAIN)
    version = body["svcctl_plan"]
    if type(version) is not int or version != VERSION:
        shown = version if type(version) is int else "a strange one"
        _refuse(path, f"a plan of version {shown}; this svcctl reads version {VERSION}", AGAIN)
    try:
        plan = PlanFile.model_validate(body)
    except (ValidationError, RecursionError) as error:
        said = "nested too deeply"
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))
            said = f"{place}: {first['msg'].lower()}"
        _refuse(path, f"not a plan: {said}", AGAIN)
    try:
        fits = plan.binding().hash == plan.hash
    except RecursionError:
        _refuse(path, "not a plan: nested too deeply", AGAIN)
    if not fits:
        _refuse(path, "the hash does not fit the content: the file was changed", AGAIN)
    return plan


def _content(path: Path) -> str:
    try:
        # Not to wait for whoever writes into a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                _refuse(path, "not a file", AGAIN)
            content = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        _refuse(path, f"cannot be read: {_reason(error)}", "name a file of: svcctl plan --out FILE")
    if len(content) > LARGEST:
        _refuse(path, f"larger than {LARGEST >> 20} MiB", AGAIN)
    try:
        return content.decode()
    except UnicodeDecodeError:
        _refuse(path, "not a plan: not UTF-8 text", AGAIN)


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in an object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _legible(body: Mapping[str, Any]) -> str:
    """JSON for people, in which no invisible or direction-changing character hides anything."""
    text = json.dumps(body, ensure_ascii=False, indent=2)
    return re.sub(r"[^\n -~]", _escaped, text) + "\n"


def _escaped(match: re.Match[str]) -> str:
    char = match[0]
    if char.isprintable():
        return char
    return json.dumps(char)[1:-1] if char > "\x7f" else "\\u007f"


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or "not a path").lower()


def _refuse(path: Path, what: str, hint: str) -> NoReturn:
    raise UsageError(f"{path}: {what}", hint=hint)
