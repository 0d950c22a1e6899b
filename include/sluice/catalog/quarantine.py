"""Rows that validation set aside: each with its reasons, and its way back.

A row has at most one open entry. A newer bad version replaces it; a good one resolves it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from sluice.model import LandedRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row that waits in quarantine."""

    id: int
    source: str
    row_key: str
    load_id: str
    reasons: tuple[str, ...]
    record: Mapping[str, Any]
    quarantined_at: datetime
    replay_at: datetime | None  # when someone last asked for it to be judged again


def put(
    connection: sa.Connection,
    source: str,
    rows: Iterable[LandedRow],
    reasons: Mapping[str, Collection[str]],
) -> None:
    """Set ``rows`` aside for the reasons given by row key.

    The same version for the same reasons stays as it is; anything else replaces the open entry.
    """
    values = [
        {
            "source": source,
            "row_key": row.key,
            "load_id": row.load_id,
            "reasons": list(reasons[row.key]),
            "record": json.dumps(row.record),
        }
        for row in rows
    ]
    if values:
        connection.execute(sa.text(_PUT), values)


def resolve(connection: sa.Connection, source: str, row_keys: Collection[str]) -> None:
    """Close the open entries of rows that are good now, or gone from the source."""
    if row_keys:
        connection.execute(
            sa.text(
                "UPDATE sluice.quarantine SET resolved_at = now()"
                " WHERE source = :source AND row_key = ANY(:keys) AND resolved_at IS NULL"
            ),
            {"source": source, "keys": list(row_keys)},
        )


def keys(connection: sa.Connection, source: str) -> set[str]:
    """The row keys of ``source`` that are in quarantine."""
    return set(
        connection.execute(
            sa.text(
                "SELECT row_key FROM sluice.quarantine"
                " WHERE source = :source AND resolved_at IS NULL"
            ),
            {"source": source},
        ).scalars()
    )


def entries(connection: sa.Connection, source: str | None = None) -> list[Entry]:
    """Return what is in quarantine, of one source or of all, newest first."""
    found = connection.execute(
        sa.text(
            """
            SELECT quarantine_id AS id, source, row_key, load_id, reasons, record,
                   quarantined_at, replay_at
            FROM sluice.quarantine
            WHERE resolved_at IS NULL AND (CAST(:source AS text) IS NULL OR source = :source)
            ORDER BY quarantined_at DESC, quarantine_id DESC
            """
        ),
        {"source": source},
    )
    return [Entry(**{**row, "reasons": tuple(row["reasons"])}) for row in found.mappings()]


def request_replay(
    connection: sa.Connection, *, ids: Collection[int] = (), source: str | None = None
) -> dict[str, int]:
    """Ask for entries to be judged again by the next run: those with ``ids``, or a whole source's.

    Returns:
        How many entries were marked, by source: the DAGs that must run.
    """
    found = connection.execute(
        sa.text(
            """
            UPDATE sluice.quarantine SET replay_at = now()
            WHERE resolved_at IS NULL AND (quarantine_id = ANY(:ids) OR source = :source)
            RETURNING source
            """
        ),
        {"ids": list(ids), "source": source},
    )
    counts: dict[str, int] = {}
    for name in found.scalars():
        counts[name] = counts.get(name, 0) + 1
    return counts


_PUT = """
INSERT INTO sluice.quarantine AS q (source, row_key, load_id, reasons, record)
VALUES (:source, :row_key, :load_id, :reasons, CAST(:record AS jsonb))
ON CONFLICT (tenant_id, source, row_key) WHERE resolved_at IS NULL
DO UPDATE SET load_id = excluded.load_id, reasons = excluded.reasons, record = excluded.record,
              replay_at = NULL,
              quarantined_at = CASE
                  WHEN (q.load_id, q.reasons) = (excluded.load_id, excluded.reasons)
                  THEN q.quarantined_at ELSE now() END
"""
