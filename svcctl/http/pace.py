"""When the next request may go out."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from svcctl.errors import RateLimited
from svcctl.http.limit import Learned, Quota, remaining

FIRST_BREAK = 0.5
"""Seconds after a refusal that asks for no particular time; doubled while it goes on."""
LONGEST_BREAK = 60.0
SPARE = 0.98
"""Of a rate that was declared so much is used: on the way, requests come closer together."""
_SOON = 0.02


@dataclass(frozen=True, slots=True)
class Turn:
    """A request that may go out; to be given back by `heard` or `lost`."""

    number: int
    sent: float


class Pace:
    """Turns for many threads: nobody sends before the remote wants it.

    rate: requests a second that are allowed, None: to be found out. clock: seconds that only grow.
    sleep: waits that long.
    """

    def __init__(
        self,
        rate: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._number = 0
        self._flying = 0
        self._until = 0.0
        self._break = FIRST_BREAK
        self._next = 0.0
        self._shut = False
        self._probe: int | None = None
        self._quota = Quota()
        self._learned = Learned(None if rate is None else rate * SPARE)

    def turn(self, *, longest: float) -> Turn:
        """Wait until a request may go out. Raises RateLimited where that takes over `longest` s."""
        waited = 0.0
        while not isinstance(found := self.ask(), Turn):
            waited += found
            if waited > longest:
                raise RateLimited("the remote asked for a break", retry_after=found)
            self._sleep(found)
        return found

    def ask(self) -> Turn | float:
        """A turn, or the seconds after which to ask again."""
        with self._lock:
            now = self._clock()
            if (wait := self._wait(now)) > 0:
                return wait
            self._number += 1
            self._flying += 1
            self._quota.sent()
            if self._shut:
                self._probe = self._number
            if self._learned.rate is not None:
                even = 1 / self._learned.rate
                # A thread that woke up late is made up for, but only by half.
                self._next = max(self._next, now - even / 2) + even
            return Turn(self._number, now)

    def _wait(self, now: float) -> float:
        if now < self._until:
            return self._until - now
        if self._probe is not None:
            return _SOON
        if self._quota.known:
            return self._quota.wait(now, self._flying)
        return self._next - now if self._learned.rate is not None else 0.0

    def heard(self, turn: Turn, headers: Mapping[str, str]) -> None:
        """The request was let through, whatever became of it."""
        with self._lock:
            now = self._clock()
            self._landed(turn)
            self._quota.heard(headers, now=now, number=turn.number, flying=self._flying)
            if turn.sent >= self._until:
                self._shut, self._break = False, FIRST_BREAK
            if self._learned.accepted(turn.sent, now) and self._learned.rate is not None:
                self._next = turn.sent + 1 / self._learned.rate

    def refused(self, turn: Turn, headers: Mapping[str, str], retry_after: float | None) -> float:
        """The request was refused, for it came too early; the seconds until others may go."""
        with self._lock:
            now = self._clock()
            self._landed(turn)
            # One that was under way before tells nothing new, unless it asks for a longer break.
            fresh = turn.sent >= self._until
            said = remaining(headers)
            wait = retry_after or (said[1] if said and not said[0] else None)
            if self._quota.known:
                self._quota.heard(
                    headers, now=now, number=turn.number, flying=self._flying, refused=True
                )
            elif fresh:
                self._learned.refused(now)
            self._shut = True
            if fresh and not wait:
                wait = self._break
                self._break = min(2 * self._break, LONGEST_BREAK)
            self._until = max(self._until, now + (wait or 0.0))
            return self._until - now

    def lost(self, turn: Turn) -> None:
        """There was no answer."""
        with self._lock:
            self._landed(turn)

    def _landed(self, turn: Turn) -> None:
        self._flying -= 1
        if self._probe == turn.number:
            self._probe = None
