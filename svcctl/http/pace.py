"""When the next request may go out: what the remote's limits are, as far as it has shown them."""

import threading
import time
from collections.abc import Mapping

from svcctl.errors import RateLimited


class Pace:
    """Turns for many threads, at a rhythm that the remote's answers taught."""

    def __init__(self) -> None:
        self._until = 0.0
        self._lock = threading.Lock()

    def turn(self, *, longest: float) -> None:
        """Wait until a request may go out. Raises RateLimited where that is over `longest` s."""
        wait = self._until - time.monotonic()
        if wait > longest:
            raise RateLimited("the remote asked for a break", retry_after=wait)
        if wait > 0:
            time.sleep(wait)

    def heard(self, status: int, headers: Mapping[str, str]) -> None:
        """Learn from an answer."""
