"""One writer at a time, over all processes of a machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from sluice.errors import IndexUnavailable

_PAUSE = 0.02  # seconds between two tries


@contextlib.contextmanager
def exclusive(path: Path, patience: float) -> Iterator[None]:
    """Hold the lock file ``path`` while the body runs; wait ``patience`` seconds for it.

    The kernel gives the lock back when its holder dies, however it dies.

    Raises:
        IndexUnavailable: someone else held it all the time.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + patience
        while not _taken(lock):
            if time.monotonic() >= deadline:
                raise IndexUnavailable(
                    f"another process has been writing for {patience:.0f} s",
                    subject=str(path.parent),
                    cure="Wait for it to end, or stop it, and run this again",
                )
            time.sleep(_PAUSE)
        yield
    finally:
        os.close(lock)


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
