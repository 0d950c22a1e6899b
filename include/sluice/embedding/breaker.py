"""What fails again and again is left alone for a while, and then tried by few.

A circuit breaker: M. Nygard, "Release It!", 2nd edition, 2018, chapter 5.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sluice.errors import EmbedderUnavailable

FAILURES = 5  # in a row
REST = 10.0  # seconds
PROBES = 1  # at a time, after the rest


class Breaker:
    """Guards one endpoint in one process. Safe to share between threads."""

    def __init__(
        self,
        subject: str,
        *,
        failures: int = FAILURES,
        rest: float = REST,
        probes: int = PROBES,
        clock: Callable[[], float] = time.monotonic,
    ):
        """``failures`` in a row open it; ``rest`` seconds later ``probes`` at a time may try."""
        self._subject = subject
        self._most = failures
        self._rest = rest
        self._probes = probes
        self._clock = clock
        self._lock = threading.Lock()
        self._failed = 0
        self._until: float | None = None  # None: closed
        self._probing = 0

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Let the body try, and learn from how it ends.

        Told to wait is no failure: who says so is there.

        Raises:
            EmbedderUnavailable: nobody may try now.
        """
        probing = self._enter()
        try:
            yield
        except EmbedderUnavailable as error:
            self._leave(probing, good=error.after is not None)
            raise
        except BaseException:
            self._leave(probing, good=None)
            raise
        self._leave(probing, good=True)

    def _enter(self) -> bool:
        """Whether this attempt is a probe."""
        with self._lock:
            if self._until is None:
                return False
            left = self._until - self._clock()
            if left > 0 or self._probing >= self._probes:
                raise EmbedderUnavailable(
                    f"failed {self._failed} times in a row and is left alone",
                    subject=self._subject,
                    cure=f"It is tried again in {max(left, 0):.0f} s",
                )
            self._probing += 1
            return True

    def _leave(self, probing: bool, *, good: bool | None) -> None:
        """``good`` is None where the attempt says nothing about the endpoint."""
        with self._lock:
            self._probing -= probing
            if good:
                self._failed, self._until = 0, None
            elif good is False:
                self._failed += 1
                if probing or self._failed >= self._most:
                    self._until = self._clock() + self._rest
