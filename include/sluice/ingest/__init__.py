"""One source's way from landing to live: extract, validate, publish.

Each stage is a plain call that may be killed anywhere and run again: what is left to do is read
from the landing zone and the catalog, never handed over. One stage of a source runs at a time; a
lock in the catalog sees to it, whoever calls.

What a reader sees changes in one place only, the flip in ``publish``: new content, deletions and
wider permissions become live in one catalog transaction. Narrower permissions do not wait for it.

Permissions may be read apart, and more often: ``sync_permissions`` of a source that can tell them
without its content, ``sync_directory`` of people. Neither waits for content, nor content for them.
"""

from __future__ import annotations

from sluice.ingest.directory import sync_directory
from sluice.ingest.permitting import sync_permissions
from sluice.ingest.pipeline import Pipeline, open_pipeline
from sluice.ingest.progress import Progress
from sluice.ingest.publishing import STAGES, look_ahead, publish
from sluice.ingest.stages import extract, run
from sluice.ingest.validating import Validated, validate

__all__ = [
    "STAGES",
    "Pipeline",
    "Progress",
    "Validated",
    "extract",
    "look_ahead",
    "open_pipeline",
    "publish",
    "run",
    "sync_directory",
    "sync_permissions",
    "validate",
]
