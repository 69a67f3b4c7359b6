"""Telling people: by mail, file or push. What is told, and to whom, is decided elsewhere."""

from svcctl.config.notify import Notify
from svcctl.notify.channel import Channel, Refused

PUSH = "apprise:"
"""What an address begins with that is a name in `notify.apprise`."""


def open_channel(settings: Notify, address: str | None = None) -> Channel:
    """The way to this address. Nothing is connected or opened before the first message is sent.

    Raises Refused for one by push that is not configured any more.
    """
    if address is not None and address.startswith(PUSH):
        from svcctl.notify.push import PushChannel

        name = address.removeprefix(PUSH)
        if name not in settings.apprise:
            raise Refused(f"notify.apprise.{name} is not configured any more")
        return PushChannel(name, settings.apprise[name])
    if settings.deliver == "mail":
        from svcctl.notify.mail import MailChannel

        assert settings.mail is not None
        return MailChannel(settings.mail)
    from svcctl.notify.file import FileChannel

    assert settings.file is not None
    return FileChannel(settings.file)
