"""From `hook = "…"` in the configuration to a ServiceHook: only what is configured is imported.

What is wrong with one service is kept with that service; the others load.
"""

import inspect
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import ValidationError

from svcctl.config.problems import Problem, dotted, problems_in, suggest, under
from svcctl.config.service import HookConfig, Removal
from svcctl.config.settings import Settings, no_hook
from svcctl.config.values import anchored, redacted, revealed, secrets_in
from svcctl.errors import ConfigError, HookError, ManagerError, UsageError
from svcctl.hooks.contract import ServiceHook, keeps_default
from svcctl.hooks.manager import Manager
from svcctl.model import Verb

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "svcctl.hooks"
"""The entry-point group in which packages offer their hooks."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """The hooks of the configured services. A service is in `loaded` or in `failed`.

    `problems` has everything that is wrong with a failed service; its HookError has the first.
    """

    loaded: Mapping[str, ServiceHook]
    failed: Mapping[str, HookError]
    problems: Mapping[str, tuple[Problem, ...]]


class _Unusable(Exception):
    """The problems of one service."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = problems


def load_hooks(settings: Settings, names: Iterable[str] | None = None) -> Hooks:
    """The hooks of these services, or of all; never raises because of one of them.

    Raises UsageError for a name that is not configured.
    """
    wanted = list(settings.services) if names is None else list(dict.fromkeys(names))
    offers = _Offers()
    loaded: dict[str, ServiceHook] = {}
    failed: dict[str, HookError] = {}
    problems: dict[str, tuple[Problem, ...]] = {}
    for name in wanted:
        if name not in settings.services:
            raise UsageError(
                f"{name}: no such service", hint=suggest(name, settings.services) or None
            )
        try:
            loaded[name] = _load(settings, name, offers)
        except _Unusable as unusable:
            problems[name] = unusable.problems
            failed[name] = _hook_error(unusable)
    return Hooks(loaded, failed, problems)


def build_manager(hook: ServiceHook) -> Manager:
    """The manager of a hook, its secrets fetched. It is the caller's to close.

    Raises HookError, and the ManagerError of a manager that refuses at once; never with a secret.
    """
    key = f"services.{hook.name}"
    arguments = hook.manager_arguments()
    private: tuple[str, ...] = ()
    try:
        private = tuple(secret.reveal() for _, secret in secrets_in(arguments, key))
        return hook.manager_class(**revealed(arguments))
    except ConfigError as error:
        raise HookError(error.message, hint=error.hint) from None
    except ManagerError as error:
        if not _tells(f"{error.message} {error.hint}", private):
            raise
        problem = redacted(_said(error), private)
    except Exception as error:  # noqa: BLE001 - whatever a foreign manager throws
        problem = redacted(_said(error), private)
    del private
    # Raised here, without the cause: its message and arguments may hold a secret.
    raise HookError(
        f"{key}: {hook.manager_class.__name__} cannot be built: {problem}",
        hint=f"check the settings of {key}",
    )


def _tells(text: str, private: Iterable[str]) -> bool:
    return any(value in text for value in private)


def available() -> dict[str, list[str]]:
    """The hooks that installed packages offer: name -> the packages that do."""
    offers = _Offers()
    return {name: offers.packages(name) for name in offers.entries}


def hook_class(name: str) -> type[ServiceHook]:
    """The class behind an entry point name or a `package.module:Class`. Raises HookError."""
    try:
        return _find(name, "hook", _Offers())
    except _Unusable as unusable:
        raise _hook_error(unusable) from unusable.__cause__


def _hook_error(unusable: _Unusable) -> HookError:
    first, more = unusable.problems[0], len(unusable.problems) - 1
    message = f"{first.key}: {first.message}"
    if more:
        message += f" (and {more} more: `svcctl config check`)"
    error = HookError(message, hint=first.remedy or None)
    error.__cause__ = unusable.__cause__
    return error


def _load(settings: Settings, name: str, offers: "_Offers") -> ServiceHook:
    table, key = settings.services[name], dotted((name,), "services")
    given = table.get("hook")
    if not isinstance(given, str) or not given:
        raise _Unusable(no_hook(f"{key}.hook"))
    cls = _find(given, f"{key}.hook", offers)
    config = _configure(cls, table, settings, key)
    try:
        hook = cls(name, config, default_name_format=settings.default_name_format)
    except _FOREIGN as error:
        _blame(
            f"{key}.hook",
            f"{cls.__name__} cannot be made: {_said(error)}",
            "its __init__ must take (name, config, *, default_name_format) and pass them on",
            error,
        )
    if not {"name", "config", "now"} <= vars(hook).keys():
        _blame(
            f"{key}.hook",
            f"{cls.__name__}.__init__ does not call super().__init__",
            "call super().__init__(name, config, default_name_format=default_name_format)",
        )
    try:
        problems = [
            *under(key, config.problems()),
            *_format_problems(hook, settings, key),
            *_ability_problems(hook, key),
        ]
    except _FOREIGN as error:
        _blame(f"{key}.hook", f"{cls.__name__}: {_said(error)}", "a defect of the hook", error)
    if problems:
        raise _Unusable(*problems)
    return hook


# A module may do anything while it is imported, also leave.
_FOREIGN = (Exception, SystemExit)


def _find(name: str, key: str, offers: "_Offers") -> type[ServiceHook]:
    module, colon, path = name.partition(":")
    if not colon:
        module, path = offers.find(name, key)
    try:
        found: Any = import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        own = module == missing or module.startswith(f"{missing}.")
        remedy = (
            f"install the package that has {module}, or correct the name"
            if own
            else f"install {missing} next to svcctl"
        )
        _blame(key, f"{module} cannot be imported: no module named {missing}", remedy, error)
    except _FOREIGN as error:
        remedy = f"see `{sys.executable} -c 'import {module}'`"
        _blame(key, f"{module} cannot be imported: {_said(error)}", remedy, error)
    for part in path.split("."):
        if not hasattr(found, part):
            names = [word for word in vars(found) if isinstance(vars(found)[word], type)]
            _blame(key, f"{module} has no {path}", suggest(path, names) or "name a class")
        found = getattr(found, part)
    if not (isinstance(found, type) and issubclass(found, ServiceHook)):
        _blame(
            key,
            f"{module}:{path} is not a ServiceHook",
            "derive it from svcctl.hooks.contract.ServiceHook",
        )
    for attribute, base in (("config_class", HookConfig), ("manager_class", Manager)):
        value = getattr(found, attribute)
        if not (isinstance(value, type) and issubclass(value, base)):
            _blame(key, f"{found.__name__}.{attribute} is no {base.__name__}", "subclass it")
    return found


class _Offers:
    """The entry points of the installed packages; looked up once, and only if a name needs it."""

    @cached_property
    def entries(self) -> "dict[str, list[EntryPoint]]":
        from importlib.metadata import entry_points

        found: dict[str, list[EntryPoint]] = {}
        for entry in entry_points(group=GROUP):
            found.setdefault(entry.name, []).append(entry)
        return found

    def packages(self, name: str) -> list[str]:
        """Who offers the name. Asked seldom: for a package's own name its metadata is read."""
        offering = {entry.dist.name if entry.dist else "?" for entry in self.entries.get(name, ())}
        return sorted(offering)

    def find(self, name: str, key: str) -> tuple[str, str]:
        entries = self.entries.get(name, ())
        if not entries:
            remedy = suggest(name, self.entries)
            _blame(key, f"no hook is called {name}", remedy or "write package.module:Class")
        if len(entries) > 1 and len(packages := self.packages(name)) > 1:
            _blame(
                key,
                f"{name} is offered by {' and by '.join(packages)}",
                "uninstall one, or write package.module:Class",
            )
        return entries[-1].module, entries[-1].attr


def _configure(
    cls: type[ServiceHook], table: Mapping[str, Any], settings: Settings, key: str
) -> HookConfig:
    """The service's table as the hook's own settings, with absolute paths.

    They are validated twice: what a path means is only known once it is absolute.
    """
    given: Mapping[str, Any] = table
    try:
        config = cls.config_class.model_validate(given)
        config = anchored(config, settings.folder, key)
        given = {name: getattr(config, name) for name in config.model_fields_set}
        return cls.config_class.model_validate(given)
    except ValidationError as error:
        problems = problems_in(error, cls.config_class, given, key)
    except _FOREIGN as error:
        _blame(key, f"{cls.config_class.__name__}: {_said(error)}", "a defect of the hook", error)
    raise _Unusable(*problems)


def _format_problems(hook: ServiceHook, settings: Settings, key: str) -> Iterable[Problem]:
    yield from settings.check_format(f"{key}.hook", hook.name_format)
    for name in ("username_format", "name_format"):
        yield from settings.check_format(f"{key}.{name}", getattr(hook.config, name))
    yield from settings.check_states(f"{key}.name_formats", hook.config.name_formats)
    for state, text in hook.config.name_formats.items():
        yield from settings.check_format(dotted((state,), f"{key}.name_formats"), text)
    yield from settings.check_states(f"{key}.access.states", hook.config.access.states)
    yield from settings.check_attributes(f"{key}.attributes", hook.config.attributes)


def _ability_problems(hook: ServiceHook, key: str) -> Iterable[Problem]:
    """What the settings ask for and the manager cannot do."""
    manager = hook.manager_class.__name__
    if hook.config.create == "auto" and not hook.can(Verb.CREATE):
        yield Problem(f"{key}.create", f"{manager} cannot create accounts", 'create = "manual"')
    configured = hook.config.removal
    needed = {
        "disable": (Verb.DISABLE, Verb.ENABLE),
        "delete": (Verb.DELETE,),
    }
    removal = hook.removal
    if configured is not None or (hook.can(Verb.DISABLE) and keeps_default(hook, "delete_user")):
        missing = [verb for verb in needed[removal.mode] if not hook.can(verb)]
        if missing:
            modes = [mode for mode, verbs in needed.items() if all(map(hook.can, verbs))]
            yield Problem(
                f"{key}.removal",
                f"{removal.mode}: {manager} has no {' and no '.join(missing)}",
                f'write removal = "{modes[0]}"' if modes else "it cannot remove accounts at all",
            )
    if isinstance(configured, Removal) and configured.delete_after is not None:
        if configured.mode == "delete":
            yield Problem(
                f"{key}.removal.delete_after",
                "means nothing with mode = delete",
                'leave it out, or write mode = "disable"',
            )
        elif not hook.can(Verb.DELETE):
            yield Problem(
                f"{key}.removal.delete_after", f"{manager} has no delete_account", "leave it out"
            )
    try:
        inspect.signature(hook.manager_class).bind(**hook.manager_arguments())
    except TypeError as error:
        yield Problem(
            f"{key}.hook",
            f"{manager} does not take the settings of {type(hook.config).__name__}: {error}",
            "the fields that a config_class adds are its manager's keyword arguments",
        )


def _said(error: BaseException) -> str:
    """The error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _blame(key: str, message: str, remedy: str, cause: BaseException | None = None) -> NoReturn:
    raise _Unusable(Problem(key, message, remedy)) from cause
