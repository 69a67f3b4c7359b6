"""Telling people: by mail, or into a file. What is told, and to whom, is decided elsewhere."""

from svcctl.config.notify import Notify
from svcctl.notify.channel import Channel


def open_channel(settings: Notify) -> Channel:
    """The way that messages go. Nothing is connected or opened before the first is sent."""
    if settings.deliver == "mail":
        from svcctl.notify.mail import MailChannel

        assert settings.mail is not None
        return MailChannel(settings.mail)
    from svcctl.notify.file import FileChannel

    assert settings.file is not None
    return FileChannel(settings.file)
