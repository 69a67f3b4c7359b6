"""Finding and reading the configuration file. Whatever is wrong with it is said at once."""

import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import tomli
from pydantic import ValidationError

from svcctl.config.problems import MAX_PROBLEMS, Problem, dotted, problems_in
from svcctl.config.settings import Settings
from svcctl.config.values import anchored
from svcctl.errors import ConfigError

NAME = "svcctl.toml"
VARIABLE = "SVCCTL_CONFIG"
MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 32


def load(path: Path | None = None) -> Settings:
    """The settings in `path`, else in the first file that `find` knows of.

    Raises ConfigError; its `problems` are all that were found, as `file: key: message; remedy`.
    """
    found = path or find()
    return read(parse(found), found)


def find() -> Path:
    """The configuration file: $SVCCTL_CONFIG, ./svcctl.toml, the user's folder, the system's.

    Raises ConfigError when there is none, or one that a stranger may have put there.
    """
    if named := os.environ.get(VARIABLE):
        return Path(named)
    tried = []
    for candidate in _candidates():
        # A dangling link is not passed over: it would be another configuration that is used.
        if os.path.lexists(candidate):
            _refuse_strangers(candidate)
            return candidate
        tried.append(str(candidate))
    raise ConfigError(
        f"no configuration: none of {', '.join(tried)} exists",
        hint="`svcctl init` writes one; --config FILE or $SVCCTL_CONFIG names one",
    )


def parse(path: Path) -> dict[str, Any]:
    """The tables of a TOML file of at most 4 MiB. Raises ConfigError, with line and column."""
    text = _text(path)
    try:
        tables = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        place = f"{path}:{error.lineno}:{error.colno}"
        message = error.msg[:1].lower() + error.msg[1:]
        hint = "text needs quotes, and a table or a key may appear only once"
    except RecursionError:
        place, message = str(path), "nested too deeply"
        hint = f"at most {MAX_DEPTH} levels"
    else:
        if _depth(tables) <= MAX_DEPTH:
            return tables
        place, message = str(path), "nested too deeply"
        hint = f"at most {MAX_DEPTH} levels"
    # The parser's exception holds the whole text of the file, and with it what is private.
    raise ConfigError(f"{place}: {message}", hint=hint)


def read(tables: Mapping[str, Any], path: Path) -> Settings:
    """The tables of the file `path` as settings. Raises ConfigError with every problem."""
    settings, problems = examine(tables, path)
    if problems or settings is None:
        lines = tuple(f"{path}: {problem}" for problem in problems[:MAX_PROBLEMS])
        count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
        if len(lines) == MAX_PROBLEMS:
            count = f"{MAX_PROBLEMS} problems or more"
        raise ConfigError(f"{path}: {count} in the configuration", problems=lines)
    return settings


def examine(tables: Mapping[str, Any], path: Path) -> tuple[Settings | None, list[Problem]]:
    """What is wrong with the tables of the file `path`, and the settings without it.

    Hooks have not looked yet: what they say of the services comes to it.
    """
    problems: list[Problem] = []
    settings = None
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - the link's folder, not its target's
    try:
        settings = Settings.model_validate(tables)
    except ValidationError as error:
        problems.extend(problems_in(error, Settings, tables))
        if len(problems) < MAX_PROBLEMS:
            settings = _mended(tables, problems)
    if settings is not None:
        problems.extend(islice(settings.problems(), MAX_PROBLEMS))
    if settings is None:
        return None, problems
    settings = settings.model_copy(
        update={
            name: anchored(getattr(settings, name), absolute.parent, name)
            for name in (
                "vault_key",
                "directory",
                "pipelines",
                "backends",
                "notify",
                "monitor",
                "log",
            )
        }
    )
    settings._path = absolute  # noqa: SLF001 - not a setting, so no field
    return settings, problems


def _mended(tables: Mapping[str, Any], problems: list[Problem]) -> Settings | None:
    """The settings without what has problems, so that the rest is checked as well.

    The names of states and attributes stay: whatever refers to them is not wrong.
    """

    def sound(*path: str) -> bool:
        key = dotted(path)
        return not any(f"{problem.key}.".startswith((f"{key}.", f"{key}[")) for problem in problems)

    def table(value: Any) -> Mapping[str, Any]:
        return value if isinstance(value, Mapping) else {}

    def public(rule: Any) -> bool:
        return table(rule).get("public") is True

    directory = table(tables.get("directory"))
    attributes = directory.get("attributes")
    rest: dict[str, Any] = {key: value for key, value in tables.items() if sound(key)}
    rest["directory"] = {
        "attributes": attributes if sound("directory", "attributes") and attributes else [],
        "sources": {
            name: source
            for name, source in table(directory.get("sources")).items()
            if sound("directory", "sources", name)
        },
    }
    rest["states"] = {
        name: rule
        if sound("states", name)
        else {"priority": -(10**9) - number, "public": public(rule)}
        for number, (name, rule) in enumerate(table(tables.get("states")).items())
    }
    rest["services"] = {
        name: service
        for name, service in table(tables.get("services")).items()
        if sound("services", name)
    }
    for part in ("pipelines", "backends"):
        rest[part] = {
            name: item for name, item in table(tables.get(part)).items() if sound(part, name)
        }
    try:
        return Settings.model_validate(rest)
    except ValidationError:
        return None


def _candidates() -> Iterator[Path]:
    yield Path(NAME)
    import platformdirs

    yield platformdirs.user_config_path("svcctl", appauthor=False) / NAME
    yield platformdirs.site_config_path("svcctl", appauthor=False) / NAME


def _refuse_strangers(path: Path) -> None:
    """A file that lies about in a folder like /tmp may not choose what svcctl runs."""
    status, folder = path.lstat(), path.absolute().parent.stat()
    if folder.st_mode & 0o002 and status.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            f"{path}: belongs to someone else, in a folder that everybody can write to",
            hint=f"if you trust it, say so: --config {path}",
        )


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file",
            hint="`svcctl init` writes one; --config FILE or $SVCCTL_CONFIG names one",
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise ConfigError(
            f"{path}: cannot be read: {reason.lower()}",
            hint="check its permissions, and that it is a file",
        ) from error
    if len(content) > MAX_BYTES:
        raise ConfigError(
            f"{path}: more than {MAX_BYTES // 1024 // 1024} MiB",
            hint="users belong in a directory source, not in the configuration",
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    raise ConfigError(f"{path}:{line}: not UTF-8", hint="save the file as UTF-8")


def _depth(tables: Mapping[str, Any]) -> int:
    """How deep the tables and lists are nested; stops counting when it is too deep anyway."""
    level: list[Any] = [tables]
    depth = 0
    while level and depth <= MAX_DEPTH:
        depth += 1
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
    return depth
