"""How many requests may be sent, and when: before the service has to say no."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What a service allows: ``requests`` in each ``per`` seconds.

    Where it asks to wait longer than ``longest_wait`` seconds, the run ends and comes again later,
    so that it holds no worker meanwhile.
    """

    requests: int
    per: float = 60.0
    longest_wait: float = 300.0


class Budget:
    """Spends a rate evenly, a burst of a tenth of it at a time. For any number of threads.

    (GCRA: a request's turn comes ``per / requests`` seconds after that of the one before, and may
    be taken that much earlier as the burst allows.)
    """

    def __init__(self, rate: Rate | None, clock: Callable[[], float] = time.monotonic):
        self._lock = threading.Lock()
        self._clock = clock
        self._every = rate.per / rate.requests if rate else 0.0
        self._burst = self._every * max(1, rate.requests // 10) if rate else 0.0
        self._turn = 0.0
        self._closed_until = 0.0

    def take(self) -> float:
        """Take a turn; return how many seconds to wait for it."""
        with self._lock:
            now = self._clock()
            self._turn = max(self._turn, now) + self._every
            return max(0.0, self._turn - self._burst - now, self._closed_until - now)

    def close(self, seconds: float) -> None:
        """Nobody sends for a while: the service said so."""
        with self._lock:
            self._closed_until = max(self._closed_until, self._clock() + seconds)

    def left(self, requests: int, seconds: float) -> None:
        """Spread what the service says is left over the time until there is more.

        Only a tenth of the limit or less is spread: others may use the same one, and who comes
        last must find something.
        """
        if seconds <= 0 or requests > 50:
            return
        with self._lock:
            now = self._clock()
            self._turn = max(self._turn, now + min(seconds / max(1, requests), 30.0) + self._burst)
