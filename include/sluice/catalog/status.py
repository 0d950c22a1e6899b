"""How every source is doing, as ``sluice status`` shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun:
    """A source's newest run."""

    run_id: str
    state: str
    started_at: datetime
    finished_at: datetime | None
    summary: Mapping[str, Any]  # counts, and seconds by stage
    message: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """One source, or one directory of people."""

    source: str
    kind: str
    documents: int
    synced_at: datetime | None  # what it showed then is live
    acl_observed_at: datetime | None
    stale: bool  # its permissions are older than its policy allows: it is hidden
    quarantined: int
    held: int  # loads that wait for a decision
    run: LastRun | None


def sources(connection: sa.Connection) -> list[SourceStatus]:
    """Every source, by name."""
    rows = connection.execute(
        sa.text(
            """
            SELECT s.source, s.kind, s.synced_at, s.acl_observed_at,
                   s.max_acl_age IS NOT NULL AND (s.acl_observed_at IS NULL
                       OR s.acl_observed_at < now() - s.max_acl_age) AS stale,
                   (SELECT count(*) FROM sluice.document d WHERE d.source = s.source
                       AND d.live_generation IS NOT NULL) AS documents,
                   (SELECT count(*) FROM sluice.quarantine q WHERE q.source = s.source
                       AND q.resolved_at IS NULL) AS quarantined,
                   (SELECT count(*) FROM sluice.load l WHERE l.source = s.source
                       AND l.state = 'held') AS held,
                   r.run_id, r.state, r.started_at, r.finished_at, r.summary, r.message
            FROM sluice.source s
            LEFT JOIN LATERAL (SELECT * FROM sluice.run r WHERE r.source = s.source
                               ORDER BY r.started_at DESC LIMIT 1) r ON true
            ORDER BY s.source
            """
        )
    )
    return [_status(row) for row in rows]


def _status(row: sa.Row[Any]) -> SourceStatus:
    run = None
    if row.run_id is not None:
        run = LastRun(
            run_id=row.run_id,
            state=row.state,
            started_at=row.started_at,
            finished_at=row.finished_at,
            summary=row.summary or {},
            message=row.message,
        )
    return SourceStatus(
        source=row.source,
        kind=row.kind,
        documents=row.documents,
        synced_at=row.synced_at,
        acl_observed_at=row.acl_observed_at,
        stale=row.stale,
        quarantined=row.quarantined,
        held=row.held,
        run=run,
    )
