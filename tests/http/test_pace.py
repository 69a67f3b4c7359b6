"""How fast requests go, with a clock that only these tests move."""

import heapq
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from svcctl.errors import RateLimited
from svcctl.http.limit import remaining
from svcctl.http.pace import Pace, Turn
from tests.support.limits import FixedWindow, Limit, TokenBucket


class Clock:
    def __init__(self) -> None:
        self.moment = 100.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.moment

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.moment += seconds


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, None),
        ({"X-RateLimit-Remaining": "1", "X-RateLimit-Reset": "30"}, (1, 30)),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": "1.25"}, (0, 1.25)),
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": "7"}, (0, 7)),
        ({"RateLimit": '"default";r=0;t=30'}, (0, 30)),
        ({"RateLimit": '"default";r=5;t=30'}, (5, 30)),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "soon"}, None),
        ({"X-RateLimit-Remaining": "nothing", "X-RateLimit-Reset": "30"}, None),
        (
            {
                "X-RateLimit-Remaining": "3",
                "X-RateLimit-Reset": "1798761660",
                "Date": "Fri, 01 Jan 2027 00:00:00 GMT",
            },
            (3, 60),
        ),
    ],
)
def test_what_headers_say_of_the_rest(
    headers: dict[str, str], said: tuple[float, float] | None
) -> None:
    assert remaining(headers) == said


def test_a_reset_without_the_remotes_clock_goes_by_ours() -> None:
    said = remaining(
        {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 60)}
    )
    assert said is not None
    assert 55 < said[1] <= 60


def test_nobody_sends_before_a_break_is_over() -> None:
    clock = Clock()
    pace = Pace(None, clock.now, clock.sleep)
    first, second = pace.turn(longest=5), pace.turn(longest=5)
    assert clock.slept == []
    assert pace.refused(first, {}, 3.0) == 3
    pace.heard(second, {})
    third = pace.turn(longest=5)
    assert clock.slept == [3.0]
    assert isinstance(pace.ask(), float), "one goes ahead and shows whether it is over"
    pace.heard(third, {})
    pace.heard(pace.turn(longest=5), {})


def test_a_long_break_is_the_callers_to_wait() -> None:
    clock = Clock()
    pace = Pace(None, clock.now, clock.sleep)
    pace.refused(pace.turn(longest=5), {}, 60.0)
    with pytest.raises(RateLimited) as refused:
        pace.turn(longest=5)
    assert refused.value.retry_after == 60
    assert clock.slept == []


def test_breaks_that_nobody_asked_for_grow_and_begin_anew() -> None:
    clock = Clock()
    pace = Pace(None, clock.now, clock.sleep)
    for wait in (0.5, 1, 2):
        assert pace.refused(pace.turn(longest=60), {}, None) == wait
    pace.heard(pace.turn(longest=60), {})
    assert pace.refused(pace.turn(longest=60), {}, None) == 0.5


def test_a_request_without_an_answer_gives_its_turn_back() -> None:
    clock = Clock()
    pace = Pace(None, clock.now, clock.sleep)
    pace.refused(pace.turn(longest=5), {}, 1.0)
    pace.lost(pace.turn(longest=5))
    pace.heard(pace.turn(longest=5), {})


def test_headers_that_end_leave_nobody_waiting() -> None:
    clock = Clock()
    pace = Pace(None, clock.now, clock.sleep)
    pace.heard(pace.turn(longest=5), {"RateLimit-Remaining": "2", "RateLimit-Reset": "9"})
    for _ in range(20):
        pace.heard(pace.turn(longest=10), {})
    assert sum(clock.slept) == 9


# Remotes with limits, in simulated time


@dataclass
class Remote:
    """Threads that ask a remote as fast as they may: how it went in simulated seconds.

    said: the seconds that a refusal asks for. headers: what every answer says.
    """

    limit: Limit
    said: Callable[[float], float | None] = lambda _: None
    headers: Callable[[float], dict[str, str]] = lambda _: {}
    declared: float | None = None
    threads: int = 8
    latency: float = 0.02
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def run(self, seconds: float) -> None:
        clock, chance = Clock(), random.Random(1)
        clock.moment = 0.0
        pace = Pace(self.declared, clock.now, clock.sleep)
        numbers: Iterator[int] = iter(range(10**9))
        todo: list[tuple[float, int, Callable[[], None]]] = []

        def later(after: float, work: Callable[[], None]) -> None:
            heapq.heappush(todo, (clock.moment + after, next(numbers), work))

        def on_the_way() -> float:
            return self.latency / 2 * chance.uniform(1, 1.3)

        def ask() -> None:
            turn = pace.ask()
            if isinstance(turn, Turn):
                later(on_the_way(), lambda: arrive(turn))
            else:
                later(turn + chance.uniform(0, 0.002), ask)

        def arrive(turn: Turn) -> None:
            wait = self.limit.ask(clock.moment)
            (self.refused if wait else self.accepted).append(clock.moment)
            headers = self.headers(clock.moment)
            later(on_the_way(), lambda: answer(turn, wait, headers))

        def answer(turn: Turn, wait: float, headers: dict[str, str]) -> None:
            if wait:
                pace.refused(turn, headers, self.said(wait))
            else:
                pace.heard(turn, headers)
            later(0.001, ask)

        for _ in range(self.threads):
            later(0, ask)
        while todo[0][0] < seconds:
            clock.moment, _, work = heapq.heappop(todo)
            work()

    def rate(self, since: float, until: float) -> float:
        return sum(since <= moment < until for moment in self.accepted) / (until - since)


WINDOW = "20 in half a second"
LIMITS: dict[str, tuple[Callable[[], Limit], float, float]] = {
    WINDOW: (lambda: FixedWindow(20, per=0.5), 40, 60),
    "50 in 5 s": (lambda: FixedWindow(50, per=5), 10, 100),
    "600 a minute": (lambda: FixedWindow(600, per=60), 10, 400),
    "20 at once, 20 a second": (lambda: TokenBucket(20, per=0.05), 20, 230),
    "100 at once, 10 a second": (lambda: TokenBucket(100, per=0.1), 10, 230),
}
"""The limit, requests a second that it allows, and the seconds after which it must be known."""
SAID: dict[str, Callable[[float], float | None]] = {
    "nothing": lambda _: None,
    "whole seconds": lambda wait: float(math.ceil(wait)),
    "exactly": lambda wait: wait,
}


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_is_learned_from_refusals_and_then_kept_to(name: str, said: str) -> None:
    limit, allowed, known = LIMITS[name]
    remote = Remote(limit(), SAID[said])
    remote.run(known + 100)
    assert 0 < len(remote.refused) < 35
    assert not [moment for moment in remote.refused if moment > known]
    assert 0.95 * allowed <= remote.rate(known, known + 100) <= allowed


@pytest.mark.parametrize("name", LIMITS)
def test_a_declared_rate_is_kept_to_from_the_start(name: str) -> None:
    limit, allowed, _ = LIMITS[name]
    remote = Remote(limit(), declared=allowed)
    remote.run(120)
    # One more than fits may fall into a window that is as short as the way there.
    assert len(remote.refused) <= (1 if name == WINDOW else 0)
    assert 0.95 * allowed <= remote.rate(60, 120) <= allowed


def test_a_declared_rate_that_is_too_high_is_found_to_be_so() -> None:
    remote = Remote(FixedWindow(50, per=5), SAID["whole seconds"], declared=30)
    remote.run(300)
    assert not [moment for moment in remote.refused if moment > 100]
    assert 9.5 <= remote.rate(100, 300) <= 10


@pytest.mark.parametrize("threads", [8, 16])
@pytest.mark.parametrize(
    "whole",
    [lambda seconds: seconds, math.ceil, math.floor],
    ids=["exact", "rounded up", "cut off"],
)
def test_what_answers_say_is_used_up_and_not_exceeded(
    whole: Callable[[float], float], threads: int
) -> None:
    window = FixedWindow(50, per=5)

    def headers(moment: float) -> dict[str, str]:
        left, ends = window.left(moment)
        return {"X-RateLimit-Remaining": f"{left}", "X-RateLimit-Reset": f"{whole(ends):.3f}"}

    remote = Remote(window, headers=headers, threads=threads)
    remote.run(120)
    # A reset that was cut off to whole seconds comes too early until that is noticed.
    assert len(remote.refused) <= (2 if whole is math.floor else 0)
    assert not [moment for moment in remote.refused if moment > 20]
    assert 9.5 <= remote.rate(20, 120) <= 10


class Shared(FixedWindow):
    """After 200 seconds others use up half of it."""

    def ask(self, moment: float) -> float:
        if moment > 200:
            self.calls = 50
        return super().ask(moment)


def test_when_others_take_a_share_the_rest_is_found_anew() -> None:
    remote = Remote(Shared(100, per=5), SAID["whole seconds"])
    remote.run(600)
    assert remote.rate(100, 200) >= 19
    assert not [moment for moment in remote.refused if moment > 400]
    assert 9.5 <= remote.rate(400, 600) <= 10
