"""When the next request may go out, as far as the remote's answers say."""

import re
import threading
import time
from collections.abc import Callable, Mapping

from svcctl.errors import RateLimited

_EPOCH = 1_000_000_000
"""A reset beyond this many seconds is a moment (Unix time), not a span."""
_DRAFT = re.compile(r'(?:"[^"]*"|[\w-]+)\s*;\s*r=(\d+)\s*;\s*t=(\d+)')
"""`RateLimit: "default";r=50;t=30` of draft-ietf-httpapi-ratelimit-headers."""


class Pace:
    """Turns for many threads: nobody sends while the remote has nothing left for us.

    clock: seconds that only grow. sleep: waits that long.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._until = 0.0
        self._lock = threading.Lock()

    def turn(self, *, longest: float) -> None:
        """Wait until a request may go out. Raises RateLimited where that is over `longest` s."""
        while (wait := self._until - self._clock()) > 0:
            if wait > longest:
                raise RateLimited("the remote asked for a break", retry_after=wait)
            self._sleep(wait)

    def heard(self, headers: Mapping[str, str], retry_after: float | None) -> None:
        """Learn from an answer; retry_after: the seconds that a refusal asked for."""
        seconds = retry_after if retry_after is not None else exhausted(headers)
        if seconds is not None:
            with self._lock:
                self._until = max(self._until, self._clock() + seconds)


def exhausted(headers: Mapping[str, str]) -> float | None:
    """Seconds until the remote takes requests again, None: there are some left, or it is silent.

    From X-RateLimit-* and RateLimit-* (Remaining, and Reset-After or Reset, as a span or as Unix
    time), and from the draft's `RateLimit`.
    """
    if found := _DRAFT.match(headers.get("RateLimit", "")):
        return float(found[2]) if int(found[1]) == 0 else None
    for prefix in ("X-RateLimit", "RateLimit"):
        if _number(headers.get(f"{prefix}-Remaining")) != 0:
            continue
        for name in ("Reset-After", "Reset"):
            seconds = _number(headers.get(f"{prefix}-{name}"))
            if seconds is not None:
                return max(0.0, seconds - time.time() if seconds > _EPOCH else seconds)
    return None


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and re.fullmatch(r"\d{1,12}(\.\d{1,6})?", text) else None
