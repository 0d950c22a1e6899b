"""How many requests go to an endpoint at a time: as many as it takes without complaint.

Additive increase, multiplicative decrease: D. Chiu and R. Jain, "Analysis of the Increase and
Decrease Algorithms for Congestion Avoidance in Computer Networks", 1989.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sluice.errors import EmbedderUnavailable

MOST = 8


class Pace:
    """Lets requests of one process through. Safe to share between threads."""

    def __init__(self, most: int = MOST):
        """``most`` at a time, however well it goes."""
        self._most = most
        self._allowed = 1.0
        self._going = 0
        self._changed = threading.Condition()

    @property
    def allowed(self) -> int:
        """How many may go at a time now."""
        return int(self._allowed)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Wait for a turn; let more go at a time if the body succeeds, half as many if not."""
        with self._changed:
            self._changed.wait_for(lambda: self._going < self.allowed)
            self._going += 1
        grown = self._allowed
        try:
            yield
            grown = min(self._most, self._allowed + 1 / self._allowed)
        except EmbedderUnavailable:
            grown = max(1.0, self._allowed / 2)
            raise
        finally:
            with self._changed:
                self._going -= 1
                self._allowed = grown
                self._changed.notify_all()
