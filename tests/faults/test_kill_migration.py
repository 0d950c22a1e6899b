"""A migration may be killed anywhere: run it again, and readers never notice."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults.killing import report_of


@pytest.mark.timeout(1200)
def test_killed_at_every_boundary_it_completes_and_embeds_nothing_twice(
    tmp_path: Path, catalog_url: str, landing_url: str
) -> None:
    """Each kill is followed by the same command, while another process keeps asking."""
    report = report_of("kill_migration.py", tmp_path / "home", catalog_url, landing_url)
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
