"""The vault: what is private in the database is encrypted with keys that lie outside of it."""

import base64
import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkstemp
from typing import TYPE_CHECKING

from svcctl.config.secrets import Secret
from svcctl.config.settings import Settings
from svcctl.disk import sync
from svcctl.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

SETTING = "vault_key"
NAME = "svcctl.key"
"""The file of the keys where the setting names no other place."""

_VERSION = "1"
_DISTRUST = "do not trust it: restore the database from a backup, or delete that row"


def place(settings: Settings) -> Secret:
    """Where the keys are."""
    file = default_file(settings)
    return settings.vault_key or Secret("file", str(file), key=SETTING)


def default_file(settings: Settings) -> Path | None:
    """`svcctl.key` beside the SQLite database, else beside the configuration.

    None where the configuration names a place.
    """
    if settings.vault_key is not None:
        return None
    database = settings.database_url.partition("sqlite:///")[2]
    in_file = database not in ("", ":memory:")
    return (Path(database).parent if in_file else settings.folder) / NAME


class Vault:
    """Encrypts text for one place in the database; nowhere else does it decrypt.

    `in_use` says whether the database has anything encrypted: then no key is made where there is
    none, since it would open nothing. `read_only`: no file is made, in a run that keeps nothing.
    The keys are read when they are first needed. Every method raises ConfigError, which names the
    setting, when they cannot be had, can be read by others, or are none.
    """

    def __init__(
        self, settings: Settings, *, in_use: Callable[[], bool], read_only: bool = False
    ) -> None:
        self._place = place(settings)
        self._file = default_file(settings)
        self._in_use = in_use
        self._read_only = read_only
        self._keys: tuple[_Key, ...] = ()

    def check(self) -> None:
        """Whether the keys can be had, where there is anything that they encrypted."""
        self._known()

    def seal(self, text: str, purpose: str) -> str:
        """The text, encrypted with the first key. `purpose` is what it is for: `partial 3f2a`.

        Where there is no key yet, and the configuration names no place for one, one is made.
        """
        key = self._known(make=True)[0]
        return ".".join((_VERSION, key.id, key.fernet(purpose).encrypt(text.encode()).decode()))

    def unseal(self, sealed: str, purpose: str) -> str:
        """What was sealed for this purpose. Raises StoreError when it was not, or was changed."""
        from cryptography.fernet import InvalidToken

        fernet = self._key_of(sealed, purpose).fernet(purpose)
        try:
            return fernet.decrypt(sealed.rpartition(".")[2]).decode()
        except InvalidToken:
            raise StoreError(
                f"{purpose}: does not decrypt: it was changed, or copied from another row",
                hint=_DISTRUST,
            ) from None

    def outdated(self, sealed: str, purpose: str) -> bool:
        """Whether it was sealed with another key than the first."""
        return self._key_of(sealed, purpose) is not self._known()[0]

    def _key_of(self, sealed: str, purpose: str) -> "_Key":
        version, *rest = sealed.split(".")
        if version != _VERSION or len(rest) != 2:
            raise StoreError(f"{purpose}: not as svcctl encrypts", hint=_DISTRUST)
        for key in self._known():
            if key.id == rest[0]:
                return key
        raise ConfigError(
            f"{SETTING}: {purpose} was encrypted with a key that is not there any more",
            hint="add that key as a further line",
        )

    def _known(self, *, make: bool = False) -> tuple["_Key", ...]:
        if not self._keys:
            self._keys = self._found(make=make)
        return self._keys

    def _found(self, *, make: bool) -> tuple["_Key", ...]:
        file = self._file
        if file is not None and not os.path.lexists(file):
            if make and not self._in_use():
                if self._read_only:
                    return (_Key(secrets.token_bytes(_Key.SIZE)),)
                _make(file)
            # Looked at again: another process may have made it, and used it, in the meantime.
            elif not os.path.lexists(file):
                raise ConfigError(
                    f"{SETTING}: {file}: is missing, and the database has what was encrypted with "
                    "it",
                    hint="restore it from its copy; a backup of the database does not hold it",
                )
        return tuple(_read(self._place))


@dataclass(frozen=True)
class _Key:
    """One key. What encrypts is derived from it and the purpose (RFC 5869), as is its name."""

    SIZE = 32

    value: bytes

    @property
    def id(self) -> str:
        return self._derived("id", 4).hex()

    def fernet(self, purpose: str) -> "Fernet":
        from cryptography.fernet import Fernet

        return Fernet(base64.urlsafe_b64encode(self._derived(f"for {purpose}", 32)))

    def _derived(self, what: str, size: int) -> bytes:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        info = f"svcctl vault {what}".encode()
        return HKDF(algorithm=SHA256(), length=size, salt=None, info=info).derive(self.value)


def _read(place: Secret) -> Iterator[_Key]:
    """The keys, one a line. Raises ConfigError; a key is never repeated."""
    if doubt := place.inspect():
        message, _, hint = doubt.partition("; ")
        raise ConfigError(message, hint=hint)
    for number, text in enumerate(place.reveal().split() or [""], 1):
        # 32 bytes in base64, of either alphabet.
        if not re.fullmatch("[A-Za-z0-9+/_-]{43}=", text):
            (where,) = place.masked.items()
            raise ConfigError(
                f"{SETTING}: {where[0]} {where[1]}: line {number} is no key",
                hint="a key is what `openssl rand -base64 32` prints: 32 random bytes",
            )
        yield _Key(base64.urlsafe_b64decode(text.replace("+", "-").replace("/", "_")))


def _make(path: Path) -> None:
    """A file with a new key for its owner only, on the disk before anything relies on it.

    Whole or not at all; one that somebody else made in the meantime stays.
    """
    text = base64.b64encode(secrets.token_bytes(_Key.SIZE)).decode()
    try:
        descriptor, name = mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
        part = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(f"{text}\n")
            sync(part)
            path.hardlink_to(part)
        except FileExistsError:
            pass
        finally:
            part.unlink()
        sync(path.parent)
    except OSError as error:
        raise ConfigError(
            f"{SETTING}: {path}: cannot be made: {(error.strerror or str(error)).lower()}",
            hint='name another place, like { file = "/var/lib/svcctl/vault.key" }',
        ) from error
