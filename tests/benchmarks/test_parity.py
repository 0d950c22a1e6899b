"""Both backends answer alike, as a gate: what changes one ranking must change the other."""

from __future__ import annotations

from pathlib import Path

import parity
import quality
import report
import servers
from weaviate_server import Server


def test_cranfield_is_answered_alike(
    shared_data: Path, tmp_path: Path, catalog_url: str, landing_url: str, weaviate: Server
) -> None:
    """The same permitted chunks for everybody, 95 % of the first ten, and the same nDCG@10."""
    library = parity.Library.of(quality.cranfield(shared_data))
    named = {
        "tenant": "parity",
        "catalog_url": catalog_url,
        "landing_url": landing_url,
        **servers.reach(weaviate),
    }
    with parity.sides(library, tmp_path, named) as both:
        sets = parity.permitted(library, both)
        rows = parity.compare(library, both, claims=8)
    report.table("Permitted", sets)
    report.table("Answers", rows)
    claims = parity.claims_of(sets, rows)
    assert all(claims.values()), claims
