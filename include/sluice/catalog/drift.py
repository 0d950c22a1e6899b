"""Changes of a source's columns: what was seen, and what was done about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnChange:
    """One column that is not as the last run saw it."""

    column: str
    change: Literal["new", "missing", "retyped"]
    before: str | None  # its type
    after: str | None
    action: str  # what was done about it, in words


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen(ColumnChange):
    """A change on record."""

    source: str
    run_id: str
    seen_at: datetime


def store(
    connection: sa.Connection, source: str, run_id: str, changes: Sequence[ColumnChange]
) -> None:
    """Put ``changes`` on record."""
    if changes:
        connection.execute(
            sa.text(
                """
                INSERT INTO sluice.drift
                    (source, run_id, column_name, change, before, after, action)
                VALUES (:source, :run_id, :column, :change, :before, :after, :action)
                """
            ),
            [{"source": source, "run_id": run_id, **asdict(each)} for each in changes],
        )


def recent(connection: sa.Connection, source: str | None = None, limit: int = 100) -> list[Seen]:
    """Return the newest changes, of one source or of all, newest first."""
    found = connection.execute(
        sa.text(
            """
            SELECT source, run_id, column_name AS "column", change, before, after, action, seen_at
            FROM sluice.drift WHERE CAST(:source AS text) IS NULL OR source = :source
            ORDER BY seen_at DESC, drift_id DESC LIMIT :limit
            """
        ),
        {"source": source, "limit": limit},
    )
    return [Seen(**row) for row in found.mappings()]
