"""Services and sources are asked, all at once, each for a limited time."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from functools import partial
from queue import Empty, Queue
from time import monotonic

from svcctl.clock import now
from svcctl.config.settings import Settings
from svcctl.directory.sources import open_source
from svcctl.errors import ExitCode, HookError, ManagerError, SourceError, SvcctlError
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.registry import Hooks, build_manager
from svcctl.runs.doctor.line import Line, fail, failed, ok, warn
from svcctl.runs.doctor.messages import reach

SKEW = 60.0
"""Seconds by which a clock may be wrong; tokens with a time in them bear about as much."""

Answer = list[Line]


def ask(hook: ServiceHook) -> SvcctlError | None:
    """What is wrong with a service; a manager without `check` is only built."""
    try:
        manager = build_manager(hook)
        try:
            if hook.can("check"):
                manager.check()
        finally:
            manager.close()
    except SvcctlError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a manager is foreign code; one never stops the rest
        # Its text is not shown: it may hold a secret that the manager was given.
        return HookError(
            f"services.{hook.name}: {hook.manager_class.__name__} failed: {type(error).__name__}",
            hint="this is a defect in the manager: errors of a service are ManagerErrors",
        )
    return None


def ask_all(settings: Settings, hooks: Hooks, seconds: float) -> Iterator[Line]:
    """Every service, every source, and where messages go, in the order of the configuration."""
    calls: dict[tuple[str, str], Callable[[], Answer]] = {}
    for name, hook in hooks.loaded.items():
        calls["service", name] = partial(_service, hook)
    for name in settings.directory.sources:
        calls["source", name] = partial(_source, settings, name)
    for place, channel in reach(settings):
        calls["messages", place] = channel
    yield from _at_once(calls, seconds)


def _service(hook: ServiceHook) -> Answer:
    if error := ask(hook):
        return [failed("service", hook.name, error, code=ExitCode.INCOMPLETE)]
    if not hook.can("check"):
        message = f"cannot be asked: {hook.manager_class.__name__} has no check"
        return [warn("service", hook.name, message, "svcctl plan shows whether it answers")]
    return [ok("service", hook.name, "answers, and takes the credentials"), *_clock(hook)]


def _clock(hook: ServiceHook) -> Answer:
    """The clock of a web server against ours (RFC 9110, 6.6.1); nothing where it does not tell."""
    url = getattr(hook.config, "base_url", None) or hook.config.url
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        return []
    from svcctl.http.client import HttpClient

    client = HttpClient(url, http=getattr(hook.config, "http", None))
    try:
        answer = client.request("HEAD", "", judge=lambda _: None)
        off = (parsedate_to_datetime(answer.headers["Date"]) - now()).total_seconds()
    except (ManagerError, LookupError, ValueError, TypeError, OverflowError):
        return []
    finally:
        client.close()
    if abs(off) <= SKEW:
        return []
    ahead = "ahead of" if off > 0 else "behind"
    return [
        warn(
            "clock",
            hook.name,
            f"its clock is {abs(off):.0f} s {ahead} ours",
            "synchronise this machine's clock (timedatectl), or that one's",
        )
    ]


def _source(settings: Settings, name: str) -> Answer:
    try:
        source = settings.directory.sources[name]
        with open_source(name, source, settings.attributes) as people:
            count = 0
            for _ in people:
                count += 1
    except SourceError as error:
        return [failed("source", name, error)]
    if not count:
        remedy = "a pull would not take that over; is it the right place?"
        return [warn("source", name, "readable, and has nobody", remedy)]
    return [ok("source", name, f"readable to its end: {count:,} users")]


def _at_once(
    calls: Mapping[tuple[str, str], Callable[[], Answer]], seconds: float
) -> Iterator[Line]:
    """What the calls say, in their order. Threads that hang are left behind."""
    answers: Queue[tuple[tuple[str, str], Answer]] = Queue()
    waiting = deque(calls.items())

    def work() -> None:
        with suppress(IndexError):
            while True:
                key, call = waiting.popleft()
                answers.put((key, _guarded(key, call)))

    for number in range(len(calls)):
        threading.Thread(target=work, name=f"doctor-{number}", daemon=True).start()
    deadline = monotonic() + seconds
    found: dict[tuple[str, str], Answer] = {}
    for key in calls:
        while key not in found:
            try:
                one, said = answers.get(timeout=max(0.0, deadline - monotonic()))
            except Empty:
                message = f"no answer within {seconds:g} s"
                remedy = "check that it runs and can be reached, or give --timeout more"
                found[key] = [fail(*key, message, remedy, code=ExitCode.INCOMPLETE)]
            else:
                found[one] = said
        yield from found[key]


def _guarded(key: tuple[str, str], call: Callable[[], Answer]) -> Answer:
    try:
        return call()
    except SvcctlError as error:
        return [failed(*key, error)]
    except Exception as error:  # noqa: BLE001 - one that breaks keeps no other back
        message = f"failed: {type(error).__name__}"
        return [fail(*key, message, "this is a defect; run again with -vv and report it")]
