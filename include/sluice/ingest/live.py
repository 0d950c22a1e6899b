"""All three stages in one go, again and again while changes come: what a live source's task does.

An event takes a second or two to become a task. So a task that is there stays for a while, and what
is noted meanwhile is live a moment later. It ends after some time in any case: others want a turn.
"""

from __future__ import annotations

import time

from sluice.catalog import changes
from sluice.ingest.pipeline import Pipeline
from sluice.ingest.stages import run
from sluice.model import RunSummary, Window
from sluice.ports import Source

_IDLE = 15.0  # seconds without a change, after which it ends
_LONGEST = 120.0  # seconds that it stays, whatever comes
_LOOK = 0.05  # seconds between two looks; one costs a fraction of a millisecond


def keep_live(
    pipeline: Pipeline,
    source: Source,
    run_id: str,
    *,
    window: Window | None = None,
    accept_loss: bool = False,
    idle: float = _IDLE,
    longest: float = _LONGEST,
) -> RunSummary:
    """Make what changed live, and what changes meanwhile; return what the last round did.

    Raises:
        What the three stages raise. Nothing is lost: the next run takes up what is left.
    """
    ends, again = time.monotonic() + longest, False
    while True:
        summary = run(pipeline, source, run_id, window=window, accept_loss=accept_loss, quiet=again)
        window, again, until = None, True, time.monotonic() + idle
        while not _more(pipeline, source):
            if time.monotonic() >= min(until, ends):
                return summary
            time.sleep(_LOOK)
        if time.monotonic() >= ends:
            return summary


def _more(pipeline: Pipeline, source: Source) -> bool:
    with pipeline.catalog.begin() as connection:
        return changes.any_waiting(connection, source.name)
