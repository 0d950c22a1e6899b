"""What changed in a source's columns since the last run: a pure comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sluice.catalog.drift import ColumnChange
from sluice.model import Column


def compare_columns(
    before: Sequence[Mapping[str, Any]] | None, now: Sequence[Column]
) -> list[ColumnChange]:
    """Return what differs, by column name; nothing where the source is seen for the first time.

    Args:
        before: the columns of the last run, as mappings with ``name``, ``type`` and ``required``.
        now: the columns as they are.
    """
    if before is None:
        return []
    old = {each["name"]: each for each in before}
    new = {each.name: each for each in now}
    changes = []
    for name in sorted(old.keys() | new.keys()):
        was, column = old.get(name), new.get(name)
        if was is None and column is not None:
            changes.append(_change(name, "new", None, column.type, "landed with every new row"))
        elif was is not None and column is None:
            action = _MISSING[bool(was["required"])]
            changes.append(_change(name, "missing", was["type"], None, action))
        elif was is not None and column is not None and was["type"] != column.type:
            action = _RETYPED[column.required]
            changes.append(_change(name, "retyped", was["type"], column.type, action))
    return changes


_MISSING = {
    True: "the run stopped: the source cannot be read without it",
    False: "read as empty; what was published stays until its row changes",
}
_RETYPED = {
    True: "values are taken as they are; a cursor of another type reads the table from the start",
    False: "values are taken as they are, as JSON",
}


def _change(
    name: str, change: Any, before: str | None, after: str | None, how: str
) -> ColumnChange:
    return ColumnChange(column=name, change=change, before=before, after=after, action=how)
