"""One run of Sluice, as the rivals' runs are made: all in this process, timed from outside."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import dlt  # noqa: F401  # Sluice imports these when first needed; here they count as imports,
import great_expectations  # noqa: F401  # as the rivals' do
import lancedb  # noqa: F401
from counted import Counted
from sluice import ingest
from sluice.settings import load
from sluice.sources import Files


def run(tree: Path) -> dict[str, Any]:
    """Ingest ``tree`` into the home and the catalog that the environment names."""
    pipeline = ingest.open_pipeline(load())
    counted = Counted()
    receiving = [replace(each, embedder=counted) for each in pipeline.collections.receiving()]
    pipeline.collections.receiving = lambda: receiving
    source = Files(name="sections", url=str(tree))
    summary = ingest.run(pipeline, source, run_id=f"run-{time.time_ns()}")
    pipeline.close()
    if summary.embedded != counted.texts:
        raise AssertionError(f"{summary.embedded} reported, {counted.texts} embedded")
    return {"embedded": counted.texts, "written": summary.chunks, "stages": dict(summary.stages)}


def fold() -> dict[str, Any]:
    """What maintenance does later: fold new rows into the keyword index, merge small files."""
    pipeline = ingest.open_pipeline(load())
    pipeline.collections.serving().index.optimize()
    pipeline.close()
    return {"embedded": 0, "written": 0}
