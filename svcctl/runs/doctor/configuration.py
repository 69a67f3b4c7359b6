"""The configuration, the secrets that it names and the hooks of its services."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from svcctl import vault
from svcctl.config.load import examine as examine_tables
from svcctl.config.load import find, parse
from svcctl.config.problems import MAX_PROBLEMS, Problem
from svcctl.config.settings import Settings
from svcctl.config.values import secrets_in
from svcctl.errors import ConfigError, ExitCode
from svcctl.hooks.registry import Hooks, load_hooks
from svcctl.runs.doctor.line import Line, fail, failed, ok, warn


@dataclass(slots=True)
class Examined:
    """A configuration and what is wrong with it; `settings` and `hooks` as far as it goes.

    error: it cannot be read at all. secrets: how many there are.
    """

    path: Path | None
    error: ConfigError | None = None
    settings: Settings | None = None
    hooks: Hooks | None = None
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    secrets: int = 0


def examine(given: Path | None, *, fetch: bool) -> Examined:
    """Find everything that is wrong, offline. fetch: the secrets are fetched as well."""
    examined = Examined(given)
    try:
        path = examined.path = given or find()
        examined.settings, problems = examine_tables(parse(path), path)
    except ConfigError as error:
        examined.error = error
        return examined
    settings = examined.settings
    if settings is not None:
        examined.path = settings.path
        hooks = examined.hooks = load_hooks(settings)
        found = [problem for each in hooks.problems.values() for problem in each]
        secrets = list(_secrets(settings, hooks))
        examined.secrets = len(secrets)
        found.extend(_secret_problems(secrets, fetch=fetch))
        problems.extend(problem for problem in found if problem not in problems)
        examined.warnings = [*map(str, settings.warnings()), *_secret_warnings(secrets)]
    examined.problems = problems[:MAX_PROBLEMS]
    return examined


def lines(examined: Examined) -> Iterator[Line]:
    """The same, for the doctor."""
    place = str(examined.path or "")
    if examined.error is not None:
        yield failed("configuration", place, examined.error)
        return
    if not examined.problems:
        secrets = f"; {examined.secrets} secrets can be had" if examined.secrets else ""
        yield ok("configuration", place, f"nothing wrong was found{secrets}")
    for problem in examined.problems:
        yield fail(
            "configuration", problem.key, problem.message, problem.remedy, code=ExitCode.CONFIG
        )
    for warning in examined.warnings:
        key, _, rest = warning.partition(": ")
        message, _, remedy = rest.partition("; ")
        yield warn("configuration", key, message, remedy)
    if examined.hooks is not None:
        for name, hook in examined.hooks.loaded.items():
            yield ok("hook", name, f"{type(hook).__name__} of {type(hook).__module__}")


def _secret_problems(secrets: list[tuple[str, Any]], *, fetch: bool) -> Iterator[Problem]:
    for key, secret in secrets:
        try:
            secret.inspect()
            if fetch:
                secret.reveal()
        except ConfigError as error:
            message = error.message.removeprefix(f"{key}: ")
            yield Problem(key, message, error.hint or "")


def _secret_warnings(secrets: list[tuple[str, Any]]) -> Iterator[str]:
    for _, secret in secrets:
        try:
            if doubt := secret.inspect():
                yield doubt
        except ConfigError:
            continue


def _secrets(settings: Settings, hooks: Hooks) -> Iterator[tuple[str, Any]]:
    yield from secrets_in(settings, "")
    if (default := vault.default_file(settings)) and default.exists():
        yield vault.SETTING, vault.place(settings)
    for name, hook in hooks.loaded.items():
        yield from secrets_in(hook.config, f"services.{name}")
