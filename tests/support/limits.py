"""Rate limits as services have them, and the ways in which they say so."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Protocol


class Limit(Protocol):
    """Whether one more request may pass."""

    calls: int
    """How many may pass at once."""

    def ask(self, moment: float) -> float:
        """0 if it may pass at this moment, else in how many seconds."""


@dataclass
class FixedWindow:
    """At most `calls` in each window of `per` seconds; the first request opens a window."""

    calls: int
    per: float
    _opened: float = -math.inf
    _used: int = 0

    def ask(self, moment: float) -> float:
        if moment >= self._opened + self.per:
            self._opened, self._used = moment, 0
        if self._used >= self.calls:
            return self._opened + self.per - moment
        self._used += 1
        return 0

    def left(self, moment: float) -> tuple[int, float]:
        """How many more may pass in this window, and in how many seconds it ends."""
        return self.calls - self._used, max(0.0, self._opened + self.per - moment)


@dataclass
class TokenBucket:
    """`calls` at once, and one more every `per` seconds."""

    calls: int
    per: float
    _tokens: float = math.inf
    _seen: float = 0

    def ask(self, moment: float) -> float:
        gained = (moment - self._seen) / self.per
        self._tokens, self._seen = min(self.calls, self._tokens + gained), moment
        if self._tokens < 1:
            return (1 - self._tokens) * self.per
        self._tokens -= 1
        return 0


Said = Callable[[Limit, float], dict[str, str]]
"""The headers of a refusal, for a wait of so many seconds."""


def seconds(limit: Limit, wait: float) -> dict[str, str]:
    return {"Retry-After": str(math.ceil(wait))}


def date(limit: Limit, wait: float) -> dict[str, str]:
    """An HTTP date has whole seconds: the next one after the wait."""
    moment = datetime.now(UTC) + timedelta(seconds=wait)
    if moment.microsecond:
        moment = moment.replace(microsecond=0) + timedelta(seconds=1)
    return {"Retry-After": format_datetime(moment, usegmt=True)}


def x_ratelimit(limit: Limit, wait: float) -> dict[str, str]:
    return {
        "X-RateLimit-Limit": str(limit.calls),
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(math.ceil(time.time() + wait)),
        "X-RateLimit-Reset-After": f"{wait:.3f}",
    }


def nothing(limit: Limit, wait: float) -> dict[str, str]:
    return {}


@dataclass
class RateLimited:
    """A limit, and how its refusals are worded."""

    limit: Limit
    said: Said = seconds
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def refusal(self) -> bytes | None:
        """The whole answer to a request that came too early; None if it may pass."""
        with self._lock:
            wait = self.limit.ask(time.monotonic())
        if wait <= 0:
            return None
        lines = [f"{name}: {value}" for name, value in self.said(self.limit, wait).items()]
        head = "\r\n".join(["HTTP/1.1 429 Too Many Requests", "Content-Length: 0", *lines])
        return head.encode() + b"\r\n\r\n"
