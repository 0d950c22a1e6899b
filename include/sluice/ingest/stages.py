"""A run of one source: its three stages in their order, and the first of them."""

from __future__ import annotations

from dataclasses import asdict

from sluice import landing, validation
from sluice.catalog import drift, runs
from sluice.ingest.breaking import unless_paused
from sluice.ingest.pipeline import Pipeline, exclusive
from sluice.ingest.progress import Progress
from sluice.ingest.publishing import publish
from sluice.ingest.validating import validate
from sluice.model import RunSummary, Window
from sluice.ports import Source


def run(
    pipeline: Pipeline,
    source: Source,
    run_id: str,
    *,
    window: Window | None = None,
    accept_loss: bool = False,
    quiet: bool = False,
    progress: Progress | None = None,
) -> RunSummary:
    """Extract, validate and publish, as the DAG does in three tasks."""
    extract(pipeline, source, run_id, window=window, progress=progress)
    validate(pipeline, source, run_id, accept_loss=accept_loss, quiet=quiet, progress=progress)
    return publish(pipeline, source, run_id, progress=progress)


def extract(
    pipeline: Pipeline,
    source: Source,
    run_id: str,
    *,
    window: Window | None = None,
    whole: bool = False,
    progress: Progress | None = None,
) -> str:
    """Bring what changed at the source into its landing schema; return the load's id.

    Args:
        pipeline: what to work with.
        source: what to read.
        run_id: names the run in every record of it.
        window: read rows that changed inside it again, instead of those after the cursor.
        whole: compare every id, also if the source knows what changed.
        progress: told of every boundary.

    Raises:
        SourceUnavailable: the source does not answer.
        SourceBusy: it is left alone for a while, after failures or because it said so.
        SchemaDrift: a column that the source cannot do without is gone.
    """
    progress = progress or Progress()
    with exclusive(pipeline, source.name, source.kind, source.policy, run_id):
        with progress.stage("extract"), unless_paused(pipeline.catalog, source.name):
            _record_drift(pipeline, source, run_id)
            kit = pipeline.kit(source.name)
            load = landing.land(source, pipeline.zone, window, kit=kit, whole=whole)
            kit.landed(load.load_id)
        with pipeline.catalog.begin() as connection:
            runs.note(connection, run_id, {"stages": progress.seconds})
    return load.load_id


def _record_drift(pipeline: Pipeline, source: Source, run_id: str) -> None:
    now = source.columns()
    if now is None:
        return
    with pipeline.catalog.begin() as connection:
        before = runs.columns(connection, source.name)
        drift.store(connection, source.name, run_id, validation.compare_columns(before, now))
        runs.store_columns(connection, source.name, [asdict(each) for each in now])
