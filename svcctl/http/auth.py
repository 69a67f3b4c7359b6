"""Who we are to a remote: nobody, a bearer token, a password, or a token that is fetched first."""

import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping

MARGIN = 30.0
"""Seconds before its end that a token is no longer used."""


class Auth:
    """Nobody. Subclasses say in which headers they prove who they are."""

    def headers(self) -> Mapping[str, str]:
        return {}

    def renew(self) -> bool:
        """After a 401: whether there is a fresh proof to try again with."""
        return False

    def secrets(self) -> tuple[str, ...]:
        """What must never be seen in a message."""
        return ()

    def redacted(self, text: str) -> str:
        """Remote text without our secrets, which a remote may repeat."""
        for secret in self.secrets():
            if secret:
                text = text.replace(secret, "***")
        return text


class Bearer(Auth):
    """A bearer token (RFC 6750)."""

    def __init__(self, token: str) -> None:
        self._token = token

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    def secrets(self) -> tuple[str, ...]:
        return (self._token,)


class Basic(Auth):
    """A name and a password (RFC 7617, in UTF-8)."""

    def __init__(self, username: str, password: str) -> None:
        self._password = password
        self._proof = b64encode(f"{username}:{password}".encode()).decode()

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Basic {self._proof}"}

    def secrets(self) -> tuple[str, ...]:
        return (self._password, self._proof)


class ClientCredentials(Auth):
    """A bearer token from the client credentials grant (RFC 6749, 4.4), fetched again near its end.

    fetch: asks the token endpoint; returns the token and the seconds that it lasts, None: unknown.
    """

    def __init__(self, fetch: Callable[[], tuple[str, float | None]]) -> None:
        self._fetch = fetch
        self._token = ""
        self._until = 0.0
        self._lock = threading.Lock()

    def headers(self) -> Mapping[str, str]:
        with self._lock:
            if not self._token or time.monotonic() >= self._until:
                self._obtain()
            return {"Authorization": f"Bearer {self._token}"}

    def renew(self) -> bool:
        with self._lock:
            if not self._token:
                return False
            self._token = ""
        return True

    def secrets(self) -> tuple[str, ...]:
        return (self._token,)

    def _obtain(self) -> None:
        token, seconds = self._fetch()
        self._token = token
        # A token that is refused at once (401) is fetched anew once, however long it was to last.
        self._until = time.monotonic() + (
            float("inf") if seconds is None else max(seconds - MARGIN, seconds / 2)
        )
