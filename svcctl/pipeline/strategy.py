"""The strategy: what a step may ask of its surroundings. After social-core 7's `BaseStrategy`."""

import contextlib
import inspect
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from svcctl.config.settings import Settings
from svcctl.errors import ConfigError, PipelineError
from svcctl.pipeline import backend as backends
from svcctl.pipeline.functions import imported
from svcctl.pipeline.partial import Partial
from svcctl.pipeline.settings import Lookup
from svcctl.pipeline.storage import Storage
from svcctl.pipeline.unit import Code, Message, UnitOfWork

_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Redirect:
    """The response that would send a browser somewhere."""

    url: str


@dataclass(frozen=True, slots=True)
class Page:
    """The response that would show a page."""

    content: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A function of somebody else that sends the code, called once the run is kept."""

    name: str
    email: str
    send: Callable[[], Any] = field(repr=False)


class Strategy:
    """Settings, session, request data and storage of one run.

    In the shell the request data are what `--set` says, and the session is a dict that is saved
    with a paused run. `calls` are what is to be called once the run is kept.
    """

    def __init__(
        self,
        unit: UnitOfWork,
        lookup: Lookup,
        *,
        request: Mapping[str, Any],
        session: dict[str, Any] | None = None,
        resumed: str | None = None,
        ask: Callable[[str], bool | None] = lambda _: None,
    ) -> None:
        """resumed: the public id of the partial that this run goes on from.

        ask: a question to whoever sits at the terminal; None where nobody does.
        """
        self.ask = ask
        self.unit = unit
        self.session = session if session is not None else {}
        self.calls: list[Call] = []
        self.consulted: list[tuple[str, str]] = []
        self._lookup = lookup
        self._request = dict(request)
        self._resumed = resumed
        self.storage = Storage(unit, self.setting)

    @property
    def settings(self) -> Settings:
        """What `svcctl.toml` says."""
        return self.unit.settings

    # Settings

    def setting(self, name: str, default: Any = None, backend: Any = None) -> Any:
        """`<BACKEND>_<NAME>`, else `<NAME>`, else the default."""
        found = self._lookup.find(name, None if backend is None else backend.name)
        if found is None:
            self.consulted.append((name, "default"))
            return default
        self.consulted.append((name, found.place))
        return found.value

    def get_setting(self, name: str) -> Any:
        """The value of a setting. Raises KeyError where nobody set it."""
        found = self.setting(name.removeprefix("SOCIAL_AUTH_"), _MISSING)
        if found is _MISSING:
            raise KeyError(name)
        return found

    # Backends

    def has_backend(self, name: str) -> bool:
        """Whether a provider is configured."""
        return name in self.settings.backends

    def get_backends(self) -> list[str]:
        """The names of the configured providers."""
        return list(self.settings.backends)

    def get_backend_class(self, name: str) -> Any:
        """What makes a provider's backend. Raises UsageError where it is not configured."""
        return backends.factory(self.settings, name)

    def get_backend(self, name: str, redirect_uri: str | None = None, **_: Any) -> Any:
        """A provider's backend on this strategy. Raises UsageError where it is not configured."""
        return backends.build(self.settings, name, self, redirect_uri=redirect_uri)

    # Users

    def get_storage(self, *, stage: str = "pipeline") -> Storage:  # noqa: ARG002 - social-core's
        """The storage."""
        return self.storage

    def create_user(self, *args: Any, **fields: Any) -> Any:
        """A new user with these fields."""
        return self.storage.user.create_user(*args, **fields)

    def get_user(self, pk: Any) -> Any:
        """The user with this id."""
        return self.storage.user.get_user(pk)

    def sync_user_groups(
        self,
        user: Any,  # noqa: ARG002 - social-core's signature
        groups: Any,  # noqa: ARG002
        *,
        backend: Any,
        response: Any,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """A provider's groups as the user's. Raises ConfigError where GROUPS_MAP wants that."""
        if self.setting("GROUPS_MAP", backend=backend):
            raise ConfigError(
                f"{backend.name}: GROUPS_MAP is not supported",
                hint="a state rule over an attribute, or a directory source, gives groups",
            )

    # Request and session

    def request_data(self, merge: bool = True) -> dict[str, Any]:  # noqa: ARG002, FBT001, FBT002
        """What was given with `--set`."""
        return self._request

    get_request_data = request_data

    def request_get(self) -> dict[str, Any]:
        """The same."""
        return self._request

    request_post = request_get

    @contextlib.contextmanager
    def pipeline_request_data(self, data: Mapping[str, Any] | None) -> Iterator[None]:
        """Other request data for a while."""
        before = self._request
        self._request = before if data is None else dict(data)
        try:
            yield
        finally:
            self._request = before

    def request_host(self) -> str:
        """There is no web server."""
        return "localhost"

    def request_is_secure(self) -> bool:
        """Nothing crosses a network."""
        return True

    def request_path(self) -> str:
        """There is none."""
        return "/"

    def request_port(self) -> int:
        """There is none."""
        return 443

    def build_absolute_uri(self, path: str | None = None) -> str:
        """An address that leads nowhere: steps that send links say where these go themselves."""
        if path and "://" in path:
            return path
        return f"https://{self.request_host()}{path or ''}"

    def absolute_uri(self, path: str | None = None) -> str:
        """The same."""
        return self.build_absolute_uri(path)

    def redirect(self, url: Any) -> Redirect:
        """The response that would send a browser there."""
        return Redirect("" if url is None else str(url))

    def html(self, content: str) -> Page:
        """The response that would show a page."""
        return Page(content)

    def html_with_headers(self, content: str, headers: Mapping[str, str]) -> Page:  # noqa: ARG002
        """The same."""
        return Page(content)

    def session_get(self, name: str, default: Any = None) -> Any:
        """A value that is kept with the run."""
        return self.session.get(name, default)

    def session_set(self, name: str, value: Any) -> None:
        """Keep a value with the run."""
        self.session[name] = value

    def session_pop(self, name: str) -> Any:
        """Take it out again."""
        return self.session.pop(name, None)

    def session_setdefault(self, name: str, value: Any) -> Any:
        """As social-core does it: it always sets the value."""
        self.session[name] = value
        return value

    def to_session_value(self, value: Any) -> Any:
        """The engine saves every type that it can bring back."""
        return value

    def from_session_value(self, value: Any) -> Any:
        """See above."""
        return value

    def random_string(self, length: int = 12, chars: str = _ALPHABET) -> str:
        """Letters and digits by chance."""
        return "".join(secrets.choice(chars) for _ in range(length))

    def get_language(self) -> str:
        """Nobody said which."""
        return ""

    # Partials

    def partial_load(self, token: str) -> Partial | None:
        """The partial that this run goes on from, if the token is its."""
        return self.storage.partial.load(token)

    def clean_partial_pipeline(self, token: str) -> None:
        """The engine uses a partial up when its run is kept."""
        self.storage.partial.destroy(token)

    # Addresses

    def send_email_validation(
        self, backend: Any, email: str, partial_token: str | None = None
    ) -> Code:
        """Have a code sent to an address once the run is kept.

        By EMAIL_VALIDATION_FUNCTION(strategy, backend, code[, partial_token]), else by a mail of
        `[notify]`. Raises ConfigError where there is neither.
        """
        name = self.setting("EMAIL_VALIDATION_FUNCTION", backend=backend)
        if name:
            function = imported(name, "EMAIL_VALIDATION_FUNCTION")
            code = self.storage.code.make_code(email)
            given = (self, backend, code, partial_token)
            count = 4 if _takes(function, 4) else 3
            self.calls.append(Call(str(name), email, lambda: function(*given[:count])))
            return code
        if self.settings.notify is None:
            raise ConfigError(
                f"no way to send a code to {email}",
                hint="configure [notify], or set EMAIL_VALIDATION_FUNCTION",
            )
        code = self.storage.code.make_code(email)
        text = "A code was sent to prove this address."
        told = (
            f"The code for {email}:\n\n    {code.code}\n\n"
            "It was asked for by a sign-up or a change of your address. If that was not you, do "
            "nothing: without the code it goes no further."
        )
        self.unit.messages.append(
            Message("your code to prove your address", text, address=email, secret=told)
        )
        return code

    def validate_email(self, email: str, code: str) -> bool:
        """Whether this code was sent to exactly this address, for this run; it counts once."""
        found = self.storage.code.get_code(str(code))
        if found is None or found.email != email or found.verified:
            return False
        if found.partial_id is not None and found.partial_id != self._resumed:
            return False
        seconds = self.setting("EMAIL_VALIDATION_EXPIRED_THRESHOLD", 7 * 24 * 60 * 60)
        if seconds and found.is_expired(seconds):
            return False
        found.verify()
        return True

    # What social-core's own engine would ask

    def get_pipeline(self, backend: Any = None) -> Any:  # noqa: ARG002
        """Not offered: svcctl's engine runs the pipeline of the configuration."""
        raise PipelineError("a pipeline does not start another one", hint="put its steps into this")

    get_disconnect_pipeline = get_pipeline

    def clean_authenticate_args(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """As they are."""
        return args, kwargs


def _takes(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    return True
