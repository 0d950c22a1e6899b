"""People, groups and accounts: read whole, replaced whole, in one transaction."""

from __future__ import annotations

from datetime import UTC, datetime

from sluice.catalog import permissions, runs
from sluice.ingest.pipeline import Pipeline, exclusive
from sluice.ingest.progress import Progress
from sluice.ports import Directory


def sync_directory(
    pipeline: Pipeline, directory: Directory, run_id: str, *, progress: Progress | None = None
) -> dict[str, int]:
    """Make memberships and identities what the directory says now; it counts on the next query.

    Returns:
        How many memberships and identities there are, and whether anything changed.

    Raises:
        SourceUnavailable: the directory does not answer; what was known stays, and ages.
    """
    progress = progress or Progress()
    with exclusive(pipeline, directory.name, "directory", directory.policy, run_id):
        observed_at = datetime.now(UTC)
        with progress.stage("read"):
            memberships, identities = directory.read()
        with progress.stage("apply"), pipeline.catalog.begin() as connection:
            changed = permissions.replace_directory(
                connection, directory.name, memberships, identities, observed_at
            )
            runs.synced(connection, directory.name)
        counts = {
            "memberships": len(memberships),
            "identities": len(identities),
            "changed": int(changed),
        }
        with pipeline.catalog.begin() as connection:
            runs.note(connection, run_id, {**counts, "stages": progress.seconds})
            runs.finish(connection, run_id, "succeeded")
    return counts
