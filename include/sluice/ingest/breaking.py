"""A breaker for each source: one that fails again and again is left alone for a while.

Whoever asks meanwhile is told at once, so that it holds no worker that another source could have.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sluice.catalog import Catalog, health
from sluice.errors import SourceBusy, SourceUnavailable

_BORNE = 3  # failures in a row
_LONGEST = 30 * 60.0  # seconds


@contextmanager
def unless_paused(catalog: Catalog, source: str) -> Iterator[None]:
    """Let the body read ``source``, and count how that went.

    Raises:
        SourceBusy: it is left alone for a while; the body did not run.
    """
    with catalog.begin() as connection:
        left = health.paused(connection, source)
    if left > 0:
        raise SourceBusy(
            f"is left alone for {left:.0f} s more, since it failed again and again or said so",
            subject=source,
            cure="Nothing is lost; the first run after that reads what is left",
            after=left,
        )
    try:
        yield
    except SourceUnavailable as error:
        with catalog.begin() as connection:
            seconds = pause_after(health.failed(connection, source))
            if isinstance(error, SourceBusy):
                seconds = max(seconds, error.after)
            if seconds:
                health.pause(connection, source, seconds)
        raise
    with catalog.begin() as connection:
        health.worked(connection, source)


def pause_after(failures: int) -> float:
    """Seconds to leave a source alone that has failed so often: none, then 1, 2, 4 … 30 minutes."""
    if failures < _BORNE:
        return 0.0
    return min(60.0 * 2.0 ** min(failures - _BORNE, 10), _LONGEST)
