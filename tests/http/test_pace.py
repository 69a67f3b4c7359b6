"""Breaks that a remote asks for, with a clock that only these tests move."""

import time

import pytest

from svcctl.errors import RateLimited
from svcctl.http.pace import Pace, exhausted


class Clock:
    def __init__(self) -> None:
        self.moment = 100.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.moment

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.moment += seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"X-RateLimit-Remaining": "1", "X-RateLimit-Reset": "30"}, None),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "30"}, 30),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": "1.25"}, 1.25),
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": "7"}, 7),
        ({"RateLimit": '"default";r=0;t=30'}, 30),
        ({"RateLimit": '"default";r=5;t=30'}, None),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "soon"}, None),
        ({"X-RateLimit-Remaining": "nothing", "X-RateLimit-Reset": "30"}, None),
    ],
)
def test_what_headers_say_of_the_rest(headers: dict[str, str], seconds: float | None) -> None:
    assert exhausted(headers) == seconds


def test_a_reset_may_be_a_moment() -> None:
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 60)}
    seconds = exhausted(headers)
    assert seconds is not None
    assert 55 < seconds <= 60


def test_nobody_sends_before_the_break_is_over() -> None:
    clock = Clock()
    pace = Pace(clock.now, clock.sleep)
    pace.turn(longest=5)
    assert clock.slept == []
    pace.heard({}, 3.0)
    pace.heard({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": "1"}, None)
    pace.turn(longest=5)
    assert clock.slept == [3.0]
    pace.turn(longest=5)
    assert clock.slept == [3.0]


def test_a_long_break_is_the_callers_to_wait() -> None:
    clock = Clock()
    pace = Pace(clock.now, clock.sleep)
    pace.heard({}, 60.0)
    with pytest.raises(RateLimited) as refused:
        pace.turn(longest=5)
    assert refused.value.retry_after == 60
    assert clock.slept == []
