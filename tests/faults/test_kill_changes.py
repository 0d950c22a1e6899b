"""A table that is followed: whoever is killed, what is live is the table, in the end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from faults.killing import outcome_of

CHANGES = os.environ.get("KILLED_CHANGES", "2000")  # 10000 is what is claimed; that takes minutes


@pytest.mark.timeout(900)
def test_killed_follower_task_or_server_loses_doubles_and_resurrects_nothing(
    tmp_path: Path, catalog_url: str, landing_url: str
) -> None:
    """Random inserts, updates, deletes and moves; one of the three is killed again and again."""
    report = outcome_of(
        "kill_changes.py", tmp_path / "home", catalog_url, landing_url, changes=CHANGES
    )
    assert sum(report["killed"].values()) >= 5
    assert report["rows"] > 50
