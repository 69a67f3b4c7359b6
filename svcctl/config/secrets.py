"""Secrets: the configuration says where a value is, and it is fetched when it is needed."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from svcctl.errors import ConfigError

COMMAND_SECONDS = 30
MAX_BYTES = 64 * 1024

KINDS = {
    "env": "the name of an environment variable",
    "file": "a file that holds nothing else; a relative path starts at the configuration's folder",
    "command": "a program and its arguments, without a shell; the first line it prints counts",
    "credential": "the name of a systemd credential (LoadCredential=)",
}
_FORMS = '{ env = "…" }, { file = "…" }, { command = ["…"] } or { credential = "…" }'
_PLACE = "_place"
_FETCHED: set[str] = set()


def fetched() -> frozenset[str]:
    """What secrets of this process stand for: what must not be written down anywhere."""
    return frozenset(_FETCHED)


class Secret:
    """A reference to a secret value: `{ env = "X" }`, `{ file = "…" }`, `{ command = ["…"] }` or
    `{ credential = "…" }`, for a hook's configuration.

    Neither the text nor the JSON of it shows the value, and it cannot be pickled. Two secrets are
    equal when they refer to the same place.
    """

    __slots__ = ("_key", "_place", "_value", "kind")

    kind: str
    _place: str | tuple[str, ...]
    _key: str
    _value: str | None

    def __init__(self, kind: str, place: str | tuple[str, ...], *, key: str = "secret") -> None:
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, _PLACE, place)
        object.__setattr__(self, "_key", key)
        object.__setattr__(self, "_value", None)

    @classmethod
    def parse(cls, value: object) -> Self:
        """From the table in the file. Raises ValueError, which never repeats a literal value."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise ValueError(f"a secret has no place in the configuration; write {_FORMS}")  # noqa: TRY004 - pydantic wants it
        kinds = list(value)
        if len(kinds) != 1 or kinds[0] not in KINDS:
            raise ValueError(f"must be exactly one of {_FORMS}")
        kind, place = kinds[0], value[kinds[0]]
        if kind == "command":
            words = isinstance(place, (list, tuple)) and all(
                isinstance(word, str) for word in place
            )
            if not words or not place or not place[0]:
                raise ValueError('command: must be a list of words, like ["pass", "show", "wiki"]')
            return cls(kind, tuple(place))
        if not isinstance(place, str) or not place or "\0" in place:
            raise ValueError(f"{kind}: must be {KINDS[kind]}")
        if kind == "credential" and (place in (".", "..") or "/" in place):
            raise ValueError("credential: must be a name, not a path")
        if kind == "env" and "=" in place:
            raise ValueError("env: must be the name of an environment variable")
        return cls(kind, place)

    def placed(self, folder: Path, key: str) -> "Secret":
        """The same, with its key for messages, and a relative file taken from `folder`."""
        place = self._place
        if self.kind == "file" and isinstance(place, str):
            place = str(folder / os.path.expanduser(place))  # noqa: PTH111 - never raises
        return Secret(self.kind, place, key=key)

    def reveal(self) -> str:
        """The value, fetched once, without the newline at its end. It must not be kept or shown.

        Raises ConfigError, which names the reference, never the value.
        """
        if self._value is None:
            object.__setattr__(self, "_value", self._fetch())
            _FETCHED.add(str(self._value))
        value: str = self._value  # type: ignore[assignment]
        return value

    def inspect(self) -> str | None:
        """Look whether it could be fetched, without running or keeping anything.

        Returns a warning, or None. Raises ConfigError where `reveal` surely would.
        """
        match self.kind:
            case "command":
                import shutil

                if shutil.which(self._place[0]) is None:
                    self._refuse("no such program", "install it, or give its whole path")
            case "env":
                self._from_environment()
            case _:
                descriptor = self._open()
                mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
                os.close(descriptor)
                if self.kind == "file" and mode & 0o044:
                    return f"{self._key}: {self._place} can be read by others; chmod 600 it"
        return None

    @property
    def reference(self) -> dict[str, str | list[str]]:
        """The reference as it stands in the configuration."""
        return {self.kind: self._place if isinstance(self._place, str) else list(self._place)}

    @property
    def masked(self) -> dict[str, str | list[str]]:
        """The reference for people: arguments of a command, which may be private, are left out."""
        if isinstance(self._place, str):
            return {self.kind: self._place}
        return {self.kind: [self._place[0], *["…"][: len(self._place) - 1]]}

    def _fetch(self) -> str:
        match self.kind:
            case "env":
                value = self._from_environment()
            case "command":
                value = self._from_command()
            case _:
                value = self._from_file()
        value = value.removesuffix("\n").removesuffix("\r")
        if not value:
            self._refuse("is empty", "a secret must have a value")
        return value

    def _from_environment(self) -> str:
        name = str(self._place)
        if name not in os.environ:
            self._refuse("is not set", f"export {name}, or use a file or a systemd credential")
        return os.environ[name]

    def _open(self) -> int:
        path = self._path()
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            self._refuse((error.strerror or "cannot be read").lower(), f"put the value in {path}")
        status = os.fstat(descriptor)
        problem = None
        if not stat.S_ISREG(status.st_mode):
            problem = "is not a regular file", "name a file that holds the value"
        elif status.st_mode & 0o022:
            problem = "can be changed by others", f"chmod 600 {path}"
        elif status.st_size > MAX_BYTES:
            problem = f"has more than {MAX_BYTES} bytes", "name a file that holds nothing else"
        if problem:
            os.close(descriptor)
            self._refuse(*problem)
        return descriptor

    def _path(self) -> str:
        if self.kind == "file":
            return str(self._place)
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            self._refuse(
                "$CREDENTIALS_DIRECTORY is not set",
                f"systemd sets it for a unit with LoadCredential={self._place}:/path",
            )
        return os.path.join(folder, str(self._place))  # noqa: PTH118 - checked by parse

    def _from_file(self) -> str:
        with os.fdopen(self._open(), "rb") as file:
            content = file.read(MAX_BYTES + 1)
        return self._decoded(content)

    def _from_command(self) -> str:
        import subprocess

        try:
            done = subprocess.run(
                list(self._place),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            problem = f"gave no answer in {COMMAND_SECONDS} s"
        except (OSError, ValueError) as error:
            problem = f"cannot be run: {getattr(error, 'strerror', None) or 'not a command'}"
        else:
            if done.returncode == 0:
                return self._decoded(done.stdout.partition(b"\n")[0])
            problem = f"failed with exit code {done.returncode}"
            del done
        return self._refuse(problem, "run it by hand, as the same user, to see why")

    def _decoded(self, content: bytes) -> str:
        try:
            return content.decode()
        except UnicodeDecodeError:
            del content
        return self._refuse("is not UTF-8", "secrets are text")

    def _refuse(self, problem: str, hint: str) -> NoReturn:
        raise ConfigError(f"{self._key}: {self._said()}: {problem}", hint=hint) from None

    def _said(self) -> str:
        place = self._place if isinstance(self._place, str) else self._place[0]
        return f"{self.kind} {place}"

    def __repr__(self) -> str:
        return f"Secret({self._said()})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.reference == other.reference

    def __hash__(self) -> int:
        return hash((self.kind, self._place))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{name}: a secret cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{name}: a secret cannot be changed")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret cannot be pickled")

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda secret: secret.masked
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        word = {"type": "string", "minLength": 1}
        return {
            "oneOf": [
                {
                    "type": "object",
                    "properties": {
                        kind: {
                            **(
                                {"type": "array", "items": {"type": "string"}, "minItems": 1}
                                if kind == "command"
                                else word
                            ),
                            "description": description,
                        }
                    },
                    "required": [kind],
                    "additionalProperties": False,
                }
                for kind, description in KINDS.items()
            ]
        }
