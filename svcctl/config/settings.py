"""The settings of svcctl: what stands in `svcctl.toml`, frozen. A service's own come on top of it.

Every default and description here is what `config.example.toml` and the documentation show.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PrivateAttr

from svcctl.config.log import Log
from svcctl.config.monitor import Monitor
from svcctl.config.notify import Notify
from svcctl.config.pipeline import Backend, Pipeline
from svcctl.config.problems import Problem, dotted, suggest, under
from svcctl.config.secrets import Secret
from svcctl.config.service import SERVICE_NAME, Duration, Frozen, Limits
from svcctl.config.source import Source
from svcctl.names import ATTRIBUTES, PLACEHOLDERS, NameFormat

ATTRIBUTE_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
GUEST = "Guest"
TAKEN = frozenset({"active", "groups", "id", "state", "superuser", "username"})
_STATE_NAME = re.compile(r"\S(.{0,62}\S)?")


def _word(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else value


Word = Annotated[str, BeforeValidator(_word, json_schema_input_type=str | int | bool)]
"""A value that an attribute is compared with, as text."""


class Directory(Frozen):
    """The local directory of users: what it knows of them, and where from."""

    attributes: tuple[str, ...] = Field(
        (),
        description="further user attributes, for formats, states and sources, besides "
        f"{', '.join(sorted(ATTRIBUTES))}",
    )
    sources: dict[str, Source] = Field(
        default_factory=dict, description="the sources that `directory pull` reads, by name"
    )
    limits: Limits = Field(
        Limits(), description="how many users a pull may lose before it is not taken over"
    )


class StateRule(Frozen):
    """Who is in a state: any one match is enough. Of several, the highest priority counts."""

    priority: int = Field(description="the highest one that matches is the user's state")
    public: bool = Field(default=False, description="true: everybody matches")
    users: frozenset[str] = Field(frozenset(), description="these usernames")
    groups: frozenset[str] = Field(frozenset(), description="members of one of these groups")
    attributes: dict[str, frozenset[Word]] = Field(
        default_factory=dict, description="attribute -> any of these values"
    )


LEAST_KEPT = timedelta(days=30)
"""Of the record: limits, retries and people look back."""


class Audit(Frozen):
    """The record of what was done."""

    keep: Duration | None = Field(
        None,
        description="how long `audit prune` keeps what was recorded, at least 30d; default: it has"
        " to be told",
    )

    def problems(self) -> Iterator[Problem]:
        """What is wrong although every single value is well-formed."""
        if self.keep is not None and self.keep < LEAST_KEPT:
            yield Problem("keep", f"less than {LEAST_KEPT.days} days", 'write it like "104w"')


class Settings(Frozen):
    """All that `svcctl.toml` says. `[services.<name>]` tables are raw: hooks validate them."""

    database: str = Field(
        "svcctl.db",
        description="a path, starting at this file's folder, or a PostgreSQL URL without password",
    )
    vault_key: Secret | None = Field(
        None,
        description="the key that encrypts what is private in the database, or several, one a "
        "line: the first encrypts, all decrypt; default: the file svcctl.key beside the SQLite "
        "database, else beside this file, made when it is first needed",
    )
    default_name_format: str = Field(
        "{character_name}", description="the nickname where neither service nor hook has a format"
    )
    protected: frozenset[str] = Field(
        frozenset(), description="usernames whose accounts are never disabled or deleted, anywhere"
    )
    directory: Directory = Field(Directory(), description="the local directory of users")
    states: dict[str, StateRule] = Field(default_factory=dict, description="the states, by name")
    services: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="the services, by name"
    )
    pipelines: dict[str, Pipeline] = Field(
        default_factory=dict, description="the pipelines, by name"
    )
    backends: dict[str, Backend] = Field(
        default_factory=dict, description="the providers that pipelines are about, by name"
    )
    audit: Audit = Field(Audit(), description="the record of what was done")
    notify: Notify | None = Field(None, description="where messages go; default: nowhere")
    monitor: Monitor | None = Field(
        None, description="what a monitoring system sees; default: nothing"
    )
    log: Log | None = Field(None, description="where runs are logged; default: nowhere")
    _path: Path = PrivateAttr(default=Path("svcctl.toml"))

    @property
    def path(self) -> Path:
        """The file that was read, absolute."""
        return self._path

    @property
    def folder(self) -> Path:
        """Where relative paths of the file start."""
        return self._path.parent

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL of `database`. It may hold a password: not to be shown."""
        scheme, separator, rest = self.database.partition("://")
        if not separator:
            return f"sqlite:///{self.folder / os.path.expanduser(self.database)}"  # noqa: PTH111 - never raises
        if scheme in ("postgres", "postgresql"):
            return f"postgresql+psycopg://{rest}"
        if scheme.startswith("sqlite") and rest[1:] and rest != "/:memory:":
            return f"{scheme}:///{self.folder / rest[1:]}"
        return self.database

    @cached_property
    def attributes(self) -> frozenset[str]:
        """The names of all attributes that a user may have."""
        return ATTRIBUTES.union(self.directory.attributes)

    @cached_property
    def state_names(self) -> frozenset[str]:
        """The names of all states."""
        return frozenset(name for name, _ in self.state_rules())

    def state_rules(self) -> tuple[tuple[str, StateRule], ...]:
        """The states, highest priority first; with a public `Guest` where none is public."""
        rules = dict(self.states)
        if not any(rule.public for rule in rules.values()):
            lowest = min((rule.priority for rule in rules.values()), default=1)
            rules[GUEST] = StateRule(priority=min(0, lowest - 1), public=True)
        return tuple(sorted(rules.items(), key=lambda item: -item[1].priority))

    def fingerprint(self) -> str:
        """SHA-256 of what the settings say, however it is written; of secrets the reference."""
        from hashlib import sha256

        from svcctl.config.values import plain
        from svcctl.model import to_json

        return sha256(to_json(plain(self)).encode()).hexdigest()

    def check_format(self, key: str, text: object) -> Iterator[Problem]:
        """What is wrong with the name format at `key`."""
        if isinstance(text, str):
            try:
                NameFormat(text).check(frozenset(self.directory.attributes))
            except ValueError as error:
                yield Problem(key, str(error))

    def check_states(self, key: str, names: object) -> Iterator[Problem]:
        """States at `key` that do not exist."""
        for name in _texts(names):
            if name not in self.state_names:
                yield Problem(key, f"no such state: {name}", suggest(name, self.state_names))

    def check_attributes(self, key: str, names: object) -> Iterator[Problem]:
        """Attributes at `key` that no user can have."""
        for name in _texts(names):
            if name not in self.attributes:
                remedy = suggest(name, self.attributes) if name else ""
                if not remedy.startswith("did"):
                    remedy = "add it to directory.attributes"
                yield Problem(key, f"no such attribute: {name}", remedy)

    def problems(self) -> Iterator[Problem]:
        """Everything that is wrong although every single value is well-formed."""
        if not self.database or "?" in self.database.partition("://")[0]:
            yield Problem("database", "not a path", "a file name without a question mark")
        yield from self.check_format("default_name_format", self.default_name_format)
        yield from self._directory_problems()
        yield from self._state_problems()
        for name, table in self.services.items():
            yield from self._service_problems(name, table)
        yield from self._pipeline_problems()
        yield from under("audit", self.audit.problems())
        if self.notify is not None:
            yield from self.notify.problems()
        for part in (self.monitor, self.log):
            if part is not None:
                yield from part.problems()

    def _pipeline_problems(self) -> Iterator[Problem]:
        for table, named in (("pipelines", self.pipelines), ("backends", self.backends)):
            for name, item in named.items():
                key = dotted((name,), table)
                if not re.fullmatch(SERVICE_NAME, name):
                    yield Problem(key, "not a name", "write it like join or google-oauth2")
                yield from under(key, item.problems())

    def _directory_problems(self) -> Iterator[Problem]:
        for name in self.directory.attributes:
            if not ATTRIBUTE_NAME.fullmatch(name):
                yield Problem(
                    "directory.attributes", f"not a name: {name}", "write it like office_phone"
                )
            elif name in TAKEN | (PLACEHOLDERS - ATTRIBUTES):
                yield Problem(
                    "directory.attributes",
                    f"{name} has a meaning of its own",
                    "choose another name",
                )
        for name, source in self.directory.sources.items():
            key = dotted((name,), "directory.sources")
            if not re.fullmatch(SERVICE_NAME, name):
                yield Problem(key, "not a name for a source", "write it like people or hr-export")
            for column, attribute in source.attributes.items():
                yield from self.check_attributes(
                    dotted((column,), f"{key}.attributes"), (attribute,)
                )
            yield from under(key, source.problems())

    def _state_problems(self) -> Iterator[Problem]:
        priorities: dict[int, str] = {}
        for name, rule in self.states.items():
            key = dotted((name,), "states")
            if not _STATE_NAME.fullmatch(name) or not name.isprintable():
                yield Problem(key, "not a name for a state", "1 to 64 printable characters")
            first = priorities.setdefault(rule.priority, name)
            if first != name:
                yield Problem(
                    f"{key}.priority",
                    f"{rule.priority} is also the priority of {first}",
                    "one of them must be higher, or nobody knows which one counts",
                )
            yield from self.check_attributes(f"{key}.attributes", rule.attributes)
        public = any(rule.public for rule in self.states.values())
        if GUEST in self.states and not public:
            yield Problem(
                f"states.{GUEST}", "no state is public", "set public = true for those without one"
            )

    def _service_problems(self, name: str, table: Mapping[str, Any]) -> Iterator[Problem]:
        key = dotted((name,), "services")
        if not re.fullmatch(SERVICE_NAME, name):
            yield Problem(key, "not a name for a service", "write it like wiki or team-chat")
        if not isinstance(table.get("hook"), str) or not table["hook"]:
            yield no_hook(f"{key}.hook")
        for field in ("username_format", "name_format"):
            yield from self.check_format(f"{key}.{field}", table.get(field))
        formats = table.get("name_formats")
        if isinstance(formats, Mapping):
            yield from self.check_states(f"{key}.name_formats", formats)
            for state, text in formats.items():
                yield from self.check_format(dotted((state,), f"{key}.name_formats"), text)
        access = table.get("access")
        if isinstance(access, Mapping):
            yield from self.check_states(f"{key}.access.states", access.get("states"))
        yield from self.check_attributes(f"{key}.attributes", table.get("attributes"))

    def warnings(self) -> Iterator[Problem]:
        """What is allowed and probably not meant."""
        from svcctl.config.values import mask_url

        if mask_url(self.database) != self.database:
            yield Problem(
                "database",
                "a password in the configuration",
                "leave it out and use ~/.pgpass, $PGPASSFILE or peer authentication",
            )
        for name, source in self.directory.sources.items():
            yield from under(dotted((name,), "directory.sources"), source.warnings())
        rules = self.state_rules()
        for index, (name, rule) in enumerate(rules[:-1]):
            if rule.public:
                lower = ", ".join(other for other, _ in rules[index + 1 :])
                yield Problem(
                    dotted((name, "priority"), "states"),
                    f"public and above {lower}, which nobody can be in",
                    "give a public state the lowest priority",
                )
                break
        if self.notify is not None:
            yield from self.notify.warnings()


def _texts(names: object) -> Iterable[str]:
    return (
        [name for name in names if isinstance(name, str)]
        if isinstance(names, (list, tuple, set, frozenset, Mapping))
        else ()
    )


def no_hook(key: str) -> Problem:
    """A service of which nobody said what it is."""
    return Problem(key, "missing", 'name the kind of service, like "htpasswd"')
