"""Drift on record."""

from __future__ import annotations

from sluice.catalog import Catalog, drift
from sluice.catalog.drift import ColumnChange


def test_changes_are_listed_newest_first_by_source(catalog: Catalog) -> None:
    """What was stored is what is listed, with the run that saw it."""
    new = ColumnChange(column="a", change="new", before=None, after="TEXT", action="landed")
    gone = ColumnChange(
        column="b", change="missing", before="INT", after=None, action="read as empty"
    )
    with catalog.begin() as connection:
        drift.store(connection, "desk", "run 1", [new, gone])
        drift.store(connection, "wiki", "run 2", [new])
        drift.store(connection, "wiki", "run 3", [])
        assert [(s.source, s.run_id) for s in drift.recent(connection)] == [
            ("wiki", "run 2"),
            ("desk", "run 1"),
            ("desk", "run 1"),
        ]
        seen = drift.recent(connection, "desk")
        assert [(s.column, s.change, s.before, s.after, s.action) for s in seen] == [
            ("b", "missing", "INT", None, "read as empty"),
            ("a", "new", None, "TEXT", "landed"),
        ]
        assert len(drift.recent(connection, limit=1)) == 1
