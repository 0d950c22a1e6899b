"""Columns compared: new, missing, retyped, and what is said about each."""

from __future__ import annotations

from dataclasses import asdict

from sluice.model import Column
from sluice.validation import compare_columns

ID = Column(name="id", type="BIGINT", required=True)
BODY = Column(name="body", type="TEXT", required=False)


def test_first_sight_is_no_change() -> None:
    """A source that was never seen has not drifted."""
    assert compare_columns(None, [ID, BODY]) == []


def test_same_columns_in_another_order_are_no_change() -> None:
    """Order means nothing."""
    assert compare_columns([asdict(BODY), asdict(ID)], [ID, BODY]) == []


def test_new_missing_and_retyped_are_told_apart() -> None:
    """Each change carries both types and what was done about it."""
    tag = Column(name="tag", type="TEXT", required=False)
    number = Column(name="id", type="INTEGER", required=True)
    changes = compare_columns([asdict(ID), asdict(BODY)], [number, tag])
    assert [(c.column, c.change, c.before, c.after) for c in changes] == [
        ("body", "missing", "TEXT", None),
        ("id", "retyped", "BIGINT", "INTEGER"),
        ("tag", "new", None, "TEXT"),
    ]
    assert all(c.action for c in changes)


def test_missing_column_that_is_needed_says_that_the_run_stopped() -> None:
    """What was done depends on whether the source can do without."""
    [needed] = compare_columns([asdict(ID)], [])
    [other] = compare_columns([asdict(BODY)], [])
    assert "stopped" in needed.action
    assert "empty" in other.action
