"""Retrieval quality as a gate: a change to chunks, terms, vectors or ranking may not lower it."""

from __future__ import annotations

from pathlib import Path

import quality
import report
from sluice.settings import Settings


def test_cranfield_quality_holds(shared_data: Path, settings: Settings) -> None:
    """Keyword search reaches 0.42 nDCG@10 on Cranfield, and vectors add to it."""
    figures = quality.measure(quality.cranfield(shared_data), settings)
    report.table("Cranfield", [{"mode": mode, **values} for mode, values in figures.items()])
    keyword, hybrid = figures["keyword"]["nDCG@10"], figures["hybrid"]["nDCG@10"]
    assert keyword >= 0.42
    assert hybrid > keyword
