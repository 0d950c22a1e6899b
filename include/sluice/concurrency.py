"""How many go at a time: as many as go well.

Additive increase, multiplicative decrease: D. Chiu and R. Jain, "Analysis of the Increase and
Decrease Algorithms for Congestion Avoidance in Computer Networks", 1989. Like TCP, it halves once
for all that were under way when the first of them went badly.
"""

from __future__ import annotations

import threading


class Concurrency:
    """Lets some through at a time. Safe to share between threads."""

    def __init__(self, *, first: float = 1.0, least: float = 1.0, most: int):
        """``first`` at a time to begin with, then ``least`` to ``most``."""
        self._allowed = first
        self._least = least
        self._most = most
        self._going = 0
        self._tickets = 0
        self._halved = 0  # the last ticket that had been given out then
        self._changed = threading.Condition()

    @property
    def allowed(self) -> int:
        """How many may go at a time now."""
        return int(self._allowed)

    def enter(self, patience: float | None = 0.0) -> int | None:
        """Return a ticket, or None if there is no room for ``patience`` seconds; None: for ever."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._going < self.allowed, patience):
                return None
            self._going += 1
            self._tickets += 1
            return self._tickets

    def leave(self, ticket: int, *, well: bool | None) -> None:
        """Give a ticket back, and say how it went; None: that says nothing of how many may go."""
        with self._changed:
            self._going -= 1
            if well:
                self._allowed = min(self._most, self._allowed + 1 / self._allowed)
            elif well is False and ticket > self._halved:
                self._allowed = max(self._least, self._allowed / 2)
                self._halved = self._tickets
            self._changed.notify_all()
