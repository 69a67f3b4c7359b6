"""The settings of steps and backends: which there are, and where a value comes from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from svcctl.config.pipeline import Backend, Pipeline
from svcctl.config.problems import Problem, dotted, suggest
from svcctl.config.values import revealed
from svcctl.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting that svcctl knows. `default` is as a person writes it."""

    name: str
    default: str
    about: str


KNOWN: Mapping[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting("ID_KEY", "the backend's", "where in the response the uid stands"),
        Setting("LEGACY_ID_KEYS", "[]", "where the uid stood earlier, for associations from then"),
        Setting(
            "ALLOW_UNVERIFIED_LEGACY_UID_MIGRATION",
            "false",
            "believe an association under an earlier identifier that nothing proves",
        ),
        Setting("FIRSTLAST_FROM_FULL", "true", "first and last name from the full name"),
        Setting("FULL_FROM_FIRSTLAST", "true", "the full name from first and last name"),
        Setting("WHITELISTED_EMAILS", "[]", "only these addresses are let in"),
        Setting("WHITELISTED_DOMAINS", "[]", "only addresses of these domains are let in"),
        Setting("ALLOW_GROUPS", "[]", "only members of one of these groups are let in"),
        Setting("GROUPS_KEY", "none", "where in the response the groups stand"),
        Setting("GROUPS_MISSING_AS_EMPTY", "false", "no groups in the response: a member of none"),
        Setting("USER_FIELDS", '["username", "email"]', "what a new user gets"),
        Setting("USERNAME_IS_FULL_EMAIL", "false", "the whole address as username"),
        Setting("UUID_LENGTH", "16", "random digits behind a username that is taken"),
        Setting("CLEAN_USERNAMES", "true", "leave out what no username has"),
        Setting("CLEAN_USERNAME_FUNCTION", "none", "a function that cleans, as a dotted name"),
        Setting("SLUGIFY_USERNAMES", "false", "lower case, and - for blanks"),
        Setting("SLUGIFY_FUNCTION", "none", "a function that does that, as a dotted name"),
        Setting("FORCE_EMAIL_LOWERCASE", "false", "keep the address of a new user in lower case"),
        Setting("EXTRA_DATA", "[]", "further keys of the response that the association keeps"),
        Setting("GET_ALL_EXTRA_DATA", "false", "the association keeps the whole response"),
        Setting("USER_FIELD_MAPPING", "{}", "detail -> field of the user"),
        Setting("PROTECTED_USER_FIELDS", "[]", "fields of the user that a login never changes"),
        Setting(
            "NO_DEFAULT_PROTECTED_USER_FIELDS",
            "false",
            "username, email and the like are not protected",
        ),
        Setting("IMMUTABLE_USER_FIELDS", "[]", "fields that only an empty value is changed of"),
        Setting("FORCE_EMAIL_VALIDATION", "false", "new users must prove their address"),
        Setting("PASSWORDLESS", "false", "users prove their address at each login"),
        Setting(
            "EMAIL_VALIDATION_FUNCTION",
            "a mail by [notify]",
            "what sends the code: function(strategy, backend, code[, partial_token])",
        ),
        Setting("EMAIL_VALIDATION_URL", "none", "the page that tells that a mail was sent"),
        Setting(
            "EMAIL_VALIDATION_EXPIRED_THRESHOLD", "604800", "seconds that a mailed code is good for"
        ),
        Setting("REVOKE_TOKENS_ON_DISCONNECT", "false", "ask the provider to forget the tokens"),
        Setting("ALLOW_LAST_DISCONNECT", "false", "the last way in may be removed, too"),
        Setting(
            "ALLOWED_TO_DISCONNECT_FUNCTION",
            "not the last one",
            "who may disconnect: function(user, backend_name, association_id) -> bool",
        ),
        Setting("ALLOW_INACTIVE_USERS_LOGIN", "false", "a run may end with a user not active"),
        Setting("PARTIAL_PIPELINE_TOKEN_NAME", "partial_token", "the token's name in links"),
        Setting("LINK_SERVICES", "{}", "backend -> service whose account the uid is"),
        Setting("JOIN_GROUPS", "[]", "the groups that assign_state puts the user into"),
        Setting("REQUIRED_STATES", "[]", "the states that assign_state lets pass; none: all"),
        Setting(
            "ACTIVATE_SERVICES", "all with access", "the services that activate_services opens"
        ),
        Setting("DELETE_SERVICES", "all", "the services that delete_services removes"),
        Setting("CONFIRM_QUESTION", "Go on?", "what confirm asks"),
        Setting("WAIT_FOR_FILE", "none", "wait_for: until this file is there"),
        Setting("WAIT_FOR_DATE", "none", "wait_for: until this moment, in ISO 8601"),
        Setting("WAIT_FOR_APPROVAL", "false", "wait_for: until somebody resumes with approved=yes"),
        Setting("COMMAND", "none", "run_command: the program and its arguments, as a list"),
        Setting("COMMAND_TIMEOUT", "60", "run_command: seconds that it may take"),
        Setting("NOTIFY_TITLE", "none", "notify: the subject"),
        Setting("NOTIFY_MESSAGE", "none", "notify: the text, with {username} and the like"),
        Setting("NOTIFY_OPERATORS", "false", "notify: the operators instead of the user"),
    )
}
"""What the steps that ship consult, by name."""

BACKEND_CLASS = frozenset(
    {
        "KEY",
        "SECRET",
        "SCOPE",
        "IGNORE_DEFAULT_SCOPE",
        "AUTH_EXTRA_ARGUMENTS",
        "AUTH_EXTRA_ARGUMENTS_OVERRIDE_ALLOWLIST",
        "PROXIES",
        "VERIFY_SSL",
        "REQUESTS_TIMEOUT",
        "URLOPEN_TIMEOUT",
        "USER_AGENT",
        "REDIRECT_IS_HTTPS",
        "REDIRECT_STATE",
        "STATE_PARAMETER",
        "PROFILE_EXTRA_PARAMS",
        "USE_UNIQUE_USER_ID",
        "API_URL",
        "GROUPS_MAP",
    }
)
"""What social-core's backends consult; what only one of them knows stands in its `custom` table."""


class Found(NamedTuple):
    """A value and the key of the configuration that it stands under."""

    value: Any
    place: str


def prefix(backend: str) -> str:
    """How the settings of one backend begin: `GOOGLE_OAUTH2_`."""
    return f"{backend.upper().replace('-', '_')}_"


class Lookup:
    """The settings of one pipeline, as steps and backends ask for them."""

    def __init__(self, name: str, pipeline: Pipeline, backends: Mapping[str, Backend]) -> None:
        self.name = name
        self._pipeline = pipeline
        self._backends = backends
        self._revealed: dict[tuple[str, str | None], Found | None] = {}

    def find(self, name: str, backend: str | None = None) -> Found | None:
        """The value of a setting, the backend's own first; None where nobody set it.

        Source: `BaseStrategy.setting` of social-core: `<BACKEND>_<NAME>`, then `<NAME>`.
        Raises ConfigError for a secret that cannot be fetched.
        """
        key = name, backend
        if key not in self._revealed:
            self._revealed[key] = next(self._candidates(name, backend), None)
        return self._revealed[key]

    def chosen(self) -> dict[str, list[Any]]:
        """Every setting that is set, with its values: for all backends, and for single ones."""
        found: dict[str, list[Any]] = {}
        starts = [prefix(backend) for backend in self._backends]
        for key, value in (self._pipeline.settings | self._pipeline.custom).items():
            start = next((start for start in starts if key.startswith(start)), "")
            found.setdefault(key.removeprefix(start), []).append(value)
        for backend in self._backends.values():
            for key, value in (backend.settings | backend.custom).items():
                found.setdefault(key, []).append(value)
        return found

    def _candidates(self, name: str, backend: str | None) -> Iterator[Found]:
        pipeline = dotted((self.name,), "pipelines")
        tables: list[tuple[str, Mapping[str, Any], str]] = []
        for part in ("settings", "custom"):
            own: Mapping[str, Any] = getattr(self._pipeline, part)
            if backend is not None:
                tables.append((f"{pipeline}.{part}", own, prefix(backend) + name))
                if backend in self._backends:
                    place = dotted((backend,), "backends")
                    tables.append((f"{place}.{part}", getattr(self._backends[backend], part), name))
            tables.append((f"{pipeline}.{part}", own, name))
        for place, table, key in tables:
            if key in table:
                yield Found(revealed(table[key]), f"{place}.{key}")


def unknown(name: str, pipeline: Pipeline, backends: Mapping[str, Backend]) -> Iterator[Problem]:
    """Settings outside of the `custom` tables that nobody would ever ask for."""
    prefixes = {prefix(backend): backend for backend in backends}
    known = KNOWN.keys() | BACKEND_CLASS
    for key in pipeline.settings:
        bare = next((key.removeprefix(start) for start in prefixes if key.startswith(start)), key)
        if bare not in known:
            place = f"{dotted((name,), 'pipelines')}.settings.{key}"
            yield Problem(place, "no such setting", _remedy(bare, known))
    for backend, table in backends.items():
        for key in table.settings:
            if key not in known:
                place = f"{dotted((backend,), 'backends')}.settings.{key}"
                yield Problem(place, "no such setting", _remedy(key, known))


def _remedy(name: str, known: frozenset[str] | set[str]) -> str:
    close = suggest(name, known)
    asked = f"{close} " if close.startswith("did") else ""
    return f"{asked}what only other people's steps know belongs into the custom table"


def names(setting: str, value: object) -> list[str]:
    """The value of a setting that is a list of names. Raises ConfigError for anything else."""
    if not isinstance(value, list | tuple | set | frozenset) or not all(
        isinstance(name, str) and name for name in value
    ):
        raise ConfigError(f"{setting}: {value!r} is no list of names")
    return list(value)
