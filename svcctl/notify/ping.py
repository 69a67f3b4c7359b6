"""Pings: a monitor is told that a run begins and how it ended, and complains when neither comes.

The protocol is that of Healthchecks, <https://healthchecks.io/docs/http_api/>: a POST to the URL
with `/start` when a run begins, and at its end to the URL itself, or with the exit code after it.
"""

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from svcctl.config.secrets import Secret
from svcctl.errors import ConfigError, ExitCode, SvcctlError
from svcctl.tripwire import allowed

if TYPE_CHECKING:
    from requests import Session

SECONDS = 5.0
"""How long an answer is waited for."""
ATTEMPTS = 3
PAUSE = 0.5
"""Seconds between two of them."""
GOOD = (ExitCode.OK, ExitCode.TRY_LATER)
"""After these nobody has to look: where another run was at work, the next one goes on."""


class Ping:
    """The pings of one run. What goes wrong with them is in `problem`, and never raised."""

    def __init__(self, url: Secret, command: str) -> None:
        self._url = url
        self._command = command
        self._begun: threading.Thread | None = None
        self.problem: SvcctlError | None = None

    def begin(self) -> None:
        """Say that a run begins, beside it: it waits for nobody."""
        self._begun = threading.Thread(target=self._say, args=("/start", "begins"), daemon=True)
        self._begun.start()

    def end(self, code: int) -> None:
        """Say how it ended, after what was said at its beginning."""
        if self._begun is not None:
            self._begun.join(ATTEMPTS * (SECONDS + PAUSE))
        self._say("" if code in GOOD else f"/{code}", f"exit code {code}")

    def _say(self, what: str, words: str) -> None:
        # Planning forbids every connection, but for the engine's own ones.
        with allowed():
            try:
                self._send(what, words)
            except SvcctlError as error:
                self.problem = error

    def _send(self, what: str, words: str) -> None:
        """Raises SvcctlError without the URL in it: whoever knows it can say that all is well."""
        import requests

        url = _split(self._url.reveal())
        place = url._replace(path=url.path.rstrip("/") + what).geturl()
        problem = ""
        with requests.Session() as session:
            for attempt in range(ATTEMPTS):
                if attempt:
                    time.sleep(PAUSE)
                problem = self._attempt(session, place, words)
                if not problem:
                    return
        raise SvcctlError(f"{url.hostname}: {problem}", hint="check monitor.ping, and the monitor")

    def _attempt(self, session: "Session", url: str, words: str) -> str:
        import requests

        body = f"svcctl {self._command}: {words}\n".encode()
        try:
            answer = session.post(
                url, data=body, timeout=SECONDS, allow_redirects=False, stream=True
            )
        except requests.exceptions.SSLError:
            return "its certificate is not trusted"
        except requests.exceptions.Timeout:
            return f"no answer within {SECONDS:.0f}s"
        except (requests.exceptions.RequestException, ValueError):
            return "cannot be reached"
        answer.close()
        return "" if answer.ok and not answer.is_redirect else f"answered {answer.status_code}"


def _split(text: str) -> SplitResult:
    """Raises ConfigError, from nothing: what is wrong with it would be repeated."""
    with suppress(ValueError):
        url = urlsplit(text)
        if url.scheme in ("http", "https") and url.hostname:
            return url
    raise ConfigError("not a URL", hint="it begins with https:// and names a host")
