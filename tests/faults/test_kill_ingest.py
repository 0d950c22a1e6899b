"""An ingest run may be killed anywhere: run it again, and readers never notice."""

from __future__ import annotations

from pathlib import Path

import pytest
import weaviate_server
from faults.killing import report_of


@pytest.mark.timeout(900)
@pytest.mark.parametrize("backend", ["lance", "weaviate"])
def test_killed_at_every_boundary_nothing_is_lost_doubled_halved_or_absent(
    backend: str,
    tmp_path: Path,
    catalog_url: str,
    landing_url: str,
    request: pytest.FixtureRequest,
) -> None:
    """At least 30 kills, each followed by a run, while another process keeps asking."""
    where: dict[str, str] = {}
    if backend == "weaviate":
        server: weaviate_server.Server = request.getfixturevalue("weaviate")
        where = {"weaviate_url": server.url, "weaviate_grpc": server.grpc}
    report = report_of(
        "kill_ingest.py", tmp_path / "home", catalog_url, landing_url, index=backend, **where
    )
    assert len(report["killed"]) >= 30
