"""Where messages, metrics and what is encrypted go: whether it can get there."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

from svcctl.config.settings import Settings
from svcctl.errors import ExitCode
from svcctl.notify import PUSH, open_channel
from svcctl.notify.channel import Channel, Outage
from svcctl.runs.doctor.line import Line, fail, failed, ok, warn


def places(settings: Settings) -> Iterator[Line]:
    """What can be said without asking anybody."""
    if settings.notify is None:
        remedy = "write a [notify] table, so that operators hear of failures"
        yield warn("messages", "", "nobody is told anything", remedy)
    elif settings.notify.deliver == "file":
        place = str(settings.notify.file)
        yield from _open(place, open_channel(settings.notify), "can be written")
    metrics = settings.monitor.metrics_file if settings.monitor else None
    if metrics is not None:
        if find_spec("prometheus_client") is None:
            yield fail(
                "metrics",
                str(metrics),
                "prometheus-client is not installed",
                "pip install 'svcctl[metrics]'",
                code=ExitCode.CONFIG,
            )
        else:
            yield _replaceable(metrics)


def reach(settings: Settings) -> Iterator[tuple[str, Callable[[], list[Line]]]]:
    """Those to ask: the mail server, and what Apprise makes of its URLs."""
    notify = settings.notify
    if notify is None:
        return
    if notify.deliver == "mail" and notify.mail is not None:
        place = f"{notify.mail.host}:{notify.mail.effective_port}"
        yield place, lambda: _open(place, open_channel(notify), "takes the login, and mail")
    for name in notify.apprise:
        channel = open_channel(notify, f"{PUSH}{name}")
        yield (
            name,
            lambda name=name, channel=channel: _open(  # type: ignore[misc]
                name,
                channel,
                "a URL that Apprise knows; whether it takes messages shows with the first",
            ),
        )


def _open(place: str, channel: Channel, said: str) -> list[Line]:
    with closing(channel):
        try:
            channel.check()
        except Outage as error:
            return [failed("messages", place, error)]
    return [ok("messages", place, said)]


def _replaceable(file: Path) -> Line:
    if os.access(file.parent, os.W_OK):
        return ok("metrics", str(file), "can be replaced")
    return fail(
        "metrics",
        str(file),
        "cannot be replaced by whom you are",
        "make its folder, and let the user who runs svcctl write there",
    )
