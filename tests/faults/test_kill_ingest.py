"""An ingest run may be killed anywhere: run it again, and readers never notice."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import weaviate_server

PROGRAM = Path(__file__).with_name("kill_ingest.py")


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
    config = {
        "index": backend,
        "home": str(tmp_path / "home"),
        "tenant": f"t-{uuid.uuid4().hex[:12]}",
        "catalog_url": catalog_url,
        "landing_url": landing_url,
    }
    if backend == "weaviate":
        server: weaviate_server.Server = request.getfixturevalue("weaviate")
        config |= {"weaviate_url": server.url, "weaviate_grpc": server.grpc}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), json.dumps(config)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["failures"] == [], done.stderr[-4000:]
    assert report["wrong"] == []
    assert len(report["killed"]) >= 30
    assert report["reads"] > len(report["killed"])
