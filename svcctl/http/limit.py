"""How fast a remote lets us ask: what it says in its answers, and what its refusals tell.

Both are told of every request and its answer by `Pace`, which holds the lock, and know no clock:
moments are seconds that only grow.
"""

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_EPOCH = 1_000_000_000
"""A reset beyond this many seconds is a moment (Unix time), not a span."""
_DRAFT = re.compile(r'(?:"[^"]*"|[\w-]+)\s*;\s*r=(\d+)\s*;\s*t=(\d+)')
"""`RateLimit: "default";r=50;t=30` of draft-ietf-httpapi-ratelimit-headers."""
_SOON = 0.02
_MARGIN = 0.5
_ANOTHER = 1.5
"""A reset that is so many seconds later is that of another window; they come in whole seconds."""


class Quota:
    """What is left until when, where the remote says so in its answers."""

    def __init__(self) -> None:
        self._said = math.inf
        self._left = math.inf
        self._until = -math.inf
        self._since = -1
        self._ahead = True
        self._margin = 0.0

    @property
    def known(self) -> bool:
        return self._since >= 0

    def wait(self, now: float, flying: int) -> float:
        """Seconds until another request may go; flying: how many were sent and not answered."""
        if now >= self._until:
            # One goes ahead and comes back with what is left now.
            self._left, self._until, self._ahead = 1, math.inf, True
        if self._left < 1 and not flying and math.isinf(self._until):
            self._left = math.inf  # it says nothing any more
        if self._left >= 1:
            return 0.0
        return min(self._until - now, _SOON) if flying else self._until - now

    def sent(self) -> None:
        self._left -= 1

    def heard(
        self,
        headers: Mapping[str, str],
        *,
        now: float,
        number: int,
        flying: int,
        refused: bool = False,
    ) -> None:
        """An answer to the request of this number, of which older ones may come later."""
        if self._ahead and refused:
            # A reset that was cut to whole seconds came too early.
            self._margin = min(self._margin + _MARGIN, 2.0)
        said = remaining(headers)
        if said is None or number < self._since:
            return
        left, until = said[0], now + said[1] + self._margin
        if self._ahead or until > self._until + _ANOTHER:
            self._since, self._said, self._left, self._until = number, left, math.inf, until
        self._said, self._until = min(self._said, left), min(self._until, until)
        # Those that are under way are perhaps not counted yet; without them it is exact.
        self._left = min(self._left, self._said - flying) if flying else self._said
        self._ahead = False


def remaining(headers: Mapping[str, str]) -> tuple[float, float] | None:
    """How many requests are left, and the seconds until there are more; None: it does not say.

    From X-RateLimit-* and RateLimit-* (Remaining, and Reset-After or Reset, as a span or as Unix
    time by the remote's clock), and from the draft's `RateLimit`.
    """
    if found := _DRAFT.match(headers.get("RateLimit", "")):
        return float(found[1]), float(found[2])
    left = _number(_first(headers, "Remaining"))
    if left is None:
        return None
    for name in ("Reset-After", "Reset"):
        seconds = _number(_first(headers, name))
        if seconds is not None:
            return left, max(0.0, seconds - _its_time(headers) if seconds > _EPOCH else seconds)
    return None


def _first(headers: Mapping[str, str], name: str) -> str | None:
    return headers.get(f"X-RateLimit-{name}") or headers.get(f"RateLimit-{name}")


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and re.fullmatch(r"\d{1,12}(\.\d{1,6})?", text) else None


def _its_time(headers: Mapping[str, str]) -> float:
    try:
        return parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except (ValueError, OverflowError):
        return time.time()


class Learned:
    """The rate that a remote allows, found out from which requests it refuses.

    A limit may be of any kind: so many in a window, or a bucket that fills again. Two figures close
    in on it. From one refusal to the next the remote has, on the whole, let through what it allows,
    less what was lost by waiting too long: that is surely allowed. And the pace at which it refused
    is surely too fast. Between the two a pace is tried for as long as the shortest such round took,
    until they are close. From then on nothing is tried any more, and nothing refused, unless others
    use up the limit as well; then it is found again, lower.

    Asking at an even pace keeps to a limit of any kind, at the price that a limit of a few requests
    in a short window is not used up.
    """

    CLOSE = 1.03
    STEP = 1.5
    """A pace to try is at most so many times the one that is surely allowed."""
    FEWEST = 20
    """A pace of which so few requests were sent proves nothing."""

    def __init__(self, rate: float | None = None) -> None:
        """rate: requests a second, as was declared; None: as fast as we can."""
        self.rate = rate
        self.refused_at: float | None = None
        """The last refusal, while nothing that was sent after it was let through."""
        self._low = 0.0
        self._high = math.inf if rate is None else rate
        self._round = math.nan
        self._passed = 0
        self._shortest = math.inf
        self._trial = 0.0
        self._tried = 0

    def accepted(self, sent: float, now: float) -> bool:
        """A request of that moment was let through; True: the first one after a refusal."""
        recovered = self.refused_at is not None and sent > self.refused_at
        if recovered:
            self._recover(sent)
        if math.isnan(self._round):
            self._round = sent
        self._passed += 1
        if not recovered and self.refused_at is None and self._low and sent >= self._trial:
            self._tried += 1
            self._judge(now)
        return recovered

    def refused(self, now: float) -> None:
        if self.refused_at is None and self.rate is not None:
            self._high = min(self._high, self.rate)
        if math.isnan(self._round):
            self._round = now
        self.refused_at = now

    def _recover(self, sent: float) -> None:
        took = max(sent - self._round, 0.001)
        self._shortest = min(self._shortest, took)
        self._low = min(max(self._passed, 1) / took, self._high / self.CLOSE)
        self._round, self._passed, self.refused_at = sent, 0, None
        self._try(sent)

    def _judge(self, now: float) -> None:
        took = now - self._trial
        if self._tried < self.FEWEST or took < self._shortest:
            return
        # Who asked for less than was allowed has not tried it.
        if self.rate is not None and self._tried >= 0.9 * self.rate * took:
            self._low = max(self._low, self.rate)
        self._try(now)

    def _try(self, now: float) -> None:
        self._trial, self._tried = now, 0
        self.rate = self._low
        if self._high > self._low * self.CLOSE:
            self.rate = min(math.sqrt(self._low * self._high), self._low * self.STEP)
