"""Messages to operators by Apprise: chats, phones, and whatever else a URL of it names.

<https://github.com/caronc/apprise/wiki>. It says only whether a service took the message; why not
is in its log.
"""

import logging
import re
from typing import TYPE_CHECKING

from svcctl.config.secrets import Secret
from svcctl.config.values import redacted
from svcctl.errors import SvcctlError
from svcctl.notify.channel import Later, Letter, Outage, line

if TYPE_CHECKING:
    import apprise

_TYPES = {"info": "success", "warning": "warning", "error": "failure"}
_SHORTEST_SECRET = 4


class PushChannel:
    """One URL of Apprise. `name` is its own in the configuration; the URL is never shown."""

    def __init__(self, name: str, url: Secret) -> None:
        self._key = f"notify.apprise.{name}"
        self._url = url
        self._apprise: apprise.Apprise | None = None

    def send(self, letter: Letter) -> str | None:
        """A service that does not take it, for whatever reason, is asked again: Later."""
        service = self._apprise = self._apprise or self._opened()
        from apprise import LogCapture, NotifyType

        with LogCapture(level=logging.WARNING, fmt="%(message)s") as log:  # type: ignore[no-untyped-call]
            kind = NotifyType(_TYPES[letter.level])
            try:
                taken = service.notify(title=letter.subject, body=letter.body, notify_type=kind)
            except Exception as error:  # noqa: BLE001 - one of 100 plug-ins
                raise Later(f"{self._key}: {type(error).__name__}") from None
            said = log.getvalue() if log else ""
        if taken:
            return None
        last = said.strip().rpartition("\n")[2] or "the service did not take it"
        raise Later(f"{self._key}: {line(redacted(last, self._private()))}")

    def check(self) -> None:
        self._apprise = self._opened()

    def close(self) -> None:
        self._apprise = None

    def _opened(self) -> "apprise.Apprise":
        try:
            from apprise import Apprise, AppriseAsset
        except ImportError:
            raise Outage("apprise is not installed", hint="pip install 'svcctl[apprise]'") from None
        try:
            url = self._url.reveal()
        except SvcctlError as error:
            raise Outage(error.message, hint=error.hint) from None
        asset = AppriseAsset(app_id="svcctl", app_desc="svcctl", plugin_paths=[])
        service = Apprise(asset=asset)
        if not service.add(url):
            raise Outage(
                f"{self._key}: not a URL that Apprise knows",
                hint="look its form up in Apprise's wiki, and try it: apprise -vv -b test URL",
            )
        return service

    def _private(self) -> list[str]:
        url = self._url.reveal()
        pieces = re.split(r"[/:@?&=,]+", url)
        return [url, *(piece for piece in pieces[1:] if len(piece) >= _SHORTEST_SECRET)]
