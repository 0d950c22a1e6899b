"""How long each stage of a run took, and a word at each boundary for whoever watches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Watcher = Callable[[str], None]


def silent(_boundary: str) -> None:
    """Watch nothing."""


class Progress:
    """Seconds by stage, and the boundaries between them.

    ``reached`` is called at every point where a run can be killed with something new done: the
    fault tests kill it at each, so a new side effect needs a new boundary.
    """

    def __init__(self, watcher: Watcher = silent):
        self.seconds: dict[str, float] = {}
        self._watcher = watcher

    def reached(self, boundary: str) -> None:
        """Tell the watcher that everything up to ``boundary`` is done."""
        self._watcher(boundary)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to ``name``; announce its beginning and its end."""
        self.reached(f"{name}: begin")
        started = time.monotonic()
        try:
            yield
        finally:
            spent = time.monotonic() - started
            self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 3)
        self.reached(f"{name}: end")
