"""Backends: the provider of a run, mapped in the configuration or a class of social-core."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from svcctl.config import pipeline as configured
from svcctl.config.problems import dotted, suggest
from svcctl.config.settings import Settings
from svcctl.errors import ConfigError, PipelineError, UsageError
from svcctl.pipeline import allowed
from svcctl.pipeline.functions import imported

_log = logging.getLogger("svcctl.pipeline")


def factory(settings: Settings, name: str) -> Callable[..., Any]:
    """What makes the backend of this name: `factory(strategy, redirect_uri)`.

    Raises UsageError where it is not configured, ConfigError for a class that cannot be used.
    """
    table = settings.backends.get(name)
    if table is None:
        raise UsageError(
            f"no such backend: {name}",
            hint=suggest(name, settings.backends) or "add it as [backends.<name>]",
        )
    if table.class_ is None:
        return lambda strategy, redirect_uri=None: MappedBackend(
            name, table, strategy, redirect_uri=redirect_uri
        )
    key = f"{dotted((name,), 'backends')}.class"
    found = imported(table.class_, key)
    called = getattr(found, "name", None)
    if called != name:
        raise ConfigError(
            f"{key}: {table.class_} calls itself {called!r}",
            hint=f'name the table so: [backends."{called}"]' if called else "it is no backend",
        )
    return found


def build(settings: Settings, name: str, strategy: Any, *, redirect_uri: str | None = None) -> Any:
    """The backend of this name on a strategy. Raises as `factory` does."""
    made = factory(settings, name)
    try:
        return made(strategy, redirect_uri)
    except ImportError as error:
        raise ConfigError(
            f"{dotted((name,), 'backends')}: cannot be made: {error}",
            hint="install what it needs",
        ) from error


class MappedBackend:
    """A provider whose responses the configuration explains; it needs no code and no network.

    Source of its interface: `BaseAuth` of social-core 7.
    """

    ASSOCIATION_ONLY = False
    REQUIRES_EMAIL_VALIDATION = False
    EXTRA_DATA = None
    pipeline_type = "authentication"

    def __init__(
        self,
        name: str,
        table: configured.Backend,
        strategy: Any,
        *,
        redirect_uri: str | None = None,
    ) -> None:
        self.name = name
        self.strategy = strategy
        self.redirect_uri = redirect_uri
        self.data = strategy.request_data()
        self._table = table

    def setting(self, name: str, default: Any = None) -> Any:
        """The strategy's setting, this backend's own first."""
        return self.strategy.setting(name, default=default, backend=self)

    def get_user_details(self, response: Mapping[str, Any]) -> dict[str, Any]:
        """The details that the configuration maps; None for one that the response has not."""
        return {name: _at(response, path) for name, path in self._table.details.items()}

    def get_user_groups(self, response: Mapping[str, Any]) -> list[str] | None:
        """The groups under GROUPS_KEY."""
        return allowed.groups(self, response)

    def auth_allowed(self, response: Any, details: dict[str, Any]) -> bool:
        """Whether the settings let this person in."""
        return allowed.allowed(self, response, details)

    def id_key(self) -> str:
        """ID_KEY, else the table's `uid`."""
        return self.setting("ID_KEY") or self._table.uid or ""

    def get_user_id(self, details: Mapping[str, Any], response: Mapping[str, Any]) -> Any:  # noqa: ARG002
        """What never changes of the person; None where the response does not have it."""
        found = _at(response, self.id_key())
        if isinstance(found, (dict, list, bool)):
            raise PipelineError(
                f"{self.name}: {self.id_key()} in the response is no uid but a "
                f"{type(found).__name__}",
                hint="`uid` of the backend says where it stands",
            )
        return found

    def get_legacy_user_identifiers(
        self,
        details: Mapping[str, Any],  # noqa: ARG002 - social-core's signature
        response: Mapping[str, Any],
    ) -> list[tuple[str, str]]:
        """Key and value of each of LEGACY_ID_KEYS that the response has."""
        keys = self.setting("LEGACY_ID_KEYS", ())
        if not isinstance(keys, (list, tuple)) or not all(isinstance(key, str) for key in keys):
            raise ConfigError(f"LEGACY_ID_KEYS: {keys!r} is no list of keys")
        found = {key: _at(response, key) for key in keys if key != self.id_key()}
        return [(key, str(uid)) for key, uid in found.items() if uid not in (None, "")]

    def get_legacy_user_ids(self, details: Any, response: Any) -> Iterable[str]:
        """The values of those."""
        return [uid for _, uid in self.get_legacy_user_identifiers(details, response)]

    def get_legacy_social_auth(
        self, uid: str, id_key: str, response: Any, user: Any = None
    ) -> None:
        """It knows no other way to find one."""

    def get_stored_user_id_keys(self, id_key: str) -> tuple[str, ...]:
        """The key itself."""
        return (id_key,)

    def allow_unverified_legacy_uid_migration(self, old_id_key: str, id_key: str) -> bool:  # noqa: ARG002
        """Only where the settings say so."""
        return bool(self.setting("ALLOW_UNVERIFIED_LEGACY_UID_MIGRATION", default=False))

    def extra_data(
        self,
        user: Any,  # noqa: ARG002 - social-core's signature
        uid: str,  # noqa: ARG002
        response: Mapping[str, Any],
        details: Mapping[str, Any],
        pipeline_kwargs: Mapping[str, Any],  # noqa: ARG002
    ) -> dict[str, Any]:
        """`auth_time` (seconds since 1970), and what the table and EXTRA_DATA name.

        Raises ConfigError for an entry that is none.
        """
        data: dict[str, Any] = {"auth_time": int(time.time())}
        entries: list[Any] = [*self._table.extra_data, *self.setting("EXTRA_DATA", ())]
        if self.setting("GET_ALL_EXTRA_DATA", default=False):
            entries = list(response)
        for entry in entries:
            name, alias, discard = _entry(entry)
            value = _at(response, name, details.get(name, details.get(alias)))
            if value or not discard:
                data[alias] = value
        return data

    def revoke_token(self, token: str, uid: str) -> None:  # noqa: ARG002
        """Raises PipelineError: nobody said how."""
        raise PipelineError(
            f"{self.name}: the configuration does not say how a token is revoked",
            hint="use a backend's class, or REVOKE_TOKENS_ON_DISCONNECT = false",
        )

    def log_warning(self, message: str, *arguments: Any) -> None:
        """Say something that operators should know."""
        _log.warning("%s: " + message, self.name, *arguments)

    def log_debug(self, message: str, *arguments: Any) -> None:
        """Say something that developers may want to know."""
        _log.debug("%s: " + message, self.name, *arguments)


def _at(response: Any, path: str, default: Any = None) -> Any:
    """`a.b`: the key of that name, else b in a."""
    if not isinstance(response, Mapping):
        return default
    if path in response:
        return response[path]
    first, dot, rest = path.partition(".")
    return _at(response.get(first), rest, default) if dot else default


def _entry(entry: Any) -> tuple[str, str, bool]:
    """Name, alias, and whether an empty value is left out."""
    parts = (
        (entry,)
        if isinstance(entry, str)
        else tuple(entry)
        if isinstance(entry, (list, tuple))
        else ()
    )
    if not 1 <= len(parts) <= 3 or not all(isinstance(part, str) for part in parts[:2]):
        raise ConfigError(
            f"EXTRA_DATA: {entry!r} is no entry",
            hint='write "name", ["name", "alias"] or ["name", "alias", true]',
        )
    return parts[0], parts[1] if len(parts) > 1 else parts[0], bool(parts[2:] and parts[2])
