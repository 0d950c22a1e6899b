"""A migration may be killed anywhere: run it again, and readers never notice."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("kill_migration.py")


@pytest.mark.timeout(1200)
def test_killed_at_every_boundary_it_completes_and_embeds_nothing_twice(
    tmp_path: Path, catalog_url: str, landing_url: str
) -> None:
    """Each kill is followed by the same command, while another process keeps asking."""
    config = {
        "home": str(tmp_path / "home"),
        "tenant": f"t-{uuid.uuid4().hex[:12]}",
        "catalog_url": catalog_url,
        "landing_url": landing_url,
    }
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
    for boundary in (
        "build: registered",
        "build: made",
        "embed: stored",
        "index: written",
        "index: placed",
        "build: filled",
        "build: folded",
        "serve: filled",
        "serve: serves",
        "serve: announced",
    ):
        assert boundary in report["killed"]
    assert report["reads"] > len(report["killed"])
