"""How fast requests to a service may go: what an operator allows, and what the service says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sluice.errors import ConfigurationError
from sluice.sources.web.verdicts import Allowance

_SCARCE = 0.1  # of a limit: below it, what is left is spread over the time until there is more
_FEW = 10  # requests, where the service does not say of how many


@dataclass(frozen=True, slots=True)
class Rate:
    """``requests`` every ``per`` seconds; whoever had to wait longer than ``longest_wait`` ends."""

    requests: int
    per: float
    longest_wait: float = 300.0

    def __post_init__(self) -> None:
        if self.requests < 1 or self.per <= 0 or self.longest_wait < 0:
            raise ConfigurationError(
                "a rate is at least one request in a positive number of seconds",
                subject=f"Rate({self.requests}, {self.per}, {self.longest_wait})",
            )


class Budget:
    """A bucket of turns. Safe to share between threads: each turn is given once."""

    def __init__(self, rate: Rate | None, clock: Callable[[], float] = time.monotonic):
        """Fill it; with no rate, only what the service says slows anyone down."""
        self._rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._turns = float(rate.requests) if rate else 0.0  # negative: owed by those who wait
        self._filled = clock()
        self._space = 0.0  # seconds between two turns while few are left
        self._spaced_until = 0.0
        self._next = 0.0  # no turn before

    def take(self, longest: float) -> float:
        """Take a turn and return the seconds until it. More than ``longest``: none was taken."""
        with self._lock:
            now = self._clock()
            turns = self._turns_at(now)
            begin = max(self._next - now, 0.0)
            if self._rate and turns < 1:
                begin = max(begin, (1 - turns) * self._rate.per / self._rate.requests)
            if begin > longest:
                return begin
            if self._rate:
                self._turns, self._filled = turns - 1, now
            if now < self._spaced_until:
                self._next = now + begin + self._space
            return begin

    def heard(self, left: Allowance) -> None:
        """Go by what the service says is left."""
        with self._lock:
            now = self._clock()
            if left.remaining <= 0:
                self._next = max(self._next, now + left.seconds)
            elif left.remaining <= (_FEW if left.limit is None else left.limit * _SCARCE):
                self._space = left.seconds / left.remaining
                self._spaced_until = now + left.seconds
            else:
                self._spaced_until = 0.0

    def pause(self, seconds: float) -> None:
        """Give no turn for so long: one of us was told to wait, and that goes for all."""
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)

    def _turns_at(self, now: float) -> float:
        if self._rate is None:
            return 0.0
        gained = (now - self._filled) * self._rate.requests / self._rate.per
        return min(self._turns + gained, float(self._rate.requests))
