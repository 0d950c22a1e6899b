"""How every source is doing, as ``sluice status`` shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from sluice.catalog import runs


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun:
    """A source's newest run, or the newest of its permissions."""

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
    waiting: int  # changes that were noted and that no load has heard of
    sign_in: str | None  # why somebody has to consent again
    trouble: str | None  # what is wrong with the stream that tells of changes
    run: LastRun | None  # of its content
    permissions_run: LastRun | None = None  # where its permissions are read apart


def sources(connection: sa.Connection) -> list[SourceStatus]:
    """Every source, by name."""
    rows = connection.execute(
        sa.text(
            """
            SELECT s.source, s.kind, s.synced_at, s.acl_observed_at, s.sign_in, t.trouble,
                   (SELECT count(*) FROM sluice.change c WHERE c.source = s.source
                       AND c.load_id IS NULL) AS waiting,
                   s.max_acl_age IS NOT NULL AND (s.acl_observed_at IS NULL
                       OR s.acl_observed_at < now() - s.max_acl_age) AS stale,
                   (SELECT count(*) FROM sluice.document d WHERE d.source = s.source
                       AND d.live_generation IS NOT NULL) AS documents,
                   (SELECT count(*) FROM sluice.quarantine q WHERE q.source = s.source
                       AND q.resolved_at IS NULL) AS quarantined,
                   (SELECT count(*) FROM sluice.load l WHERE l.source = s.source
                       AND l.state = 'held') AS held,
                   (SELECT to_jsonb(r) FROM sluice.run r WHERE r.source = s.source
                    ORDER BY r.started_at DESC LIMIT 1) AS run,
                   (SELECT to_jsonb(r) FROM sluice.run r WHERE r.source = s.source || :permissions
                    ORDER BY r.started_at DESC LIMIT 1) AS permissions_run
            FROM sluice.source s LEFT JOIN sluice.stream t USING (source) ORDER BY s.source
            """
        ),
        {"permissions": runs.part_of("", runs.PERMISSIONS)},
    )
    return [_status(row) for row in rows]


def _run(found: Mapping[str, Any] | None) -> LastRun | None:
    if found is None:
        return None
    finished_at = found["finished_at"]
    return LastRun(
        run_id=found["run_id"],
        state=found["state"],
        started_at=datetime.fromisoformat(found["started_at"]),
        finished_at=datetime.fromisoformat(finished_at) if finished_at else None,
        summary=found["summary"] or {},
        message=found["message"],
    )


def _status(row: sa.Row[Any]) -> SourceStatus:
    return SourceStatus(
        source=row.source,
        kind=row.kind,
        documents=row.documents,
        synced_at=row.synced_at,
        acl_observed_at=row.acl_observed_at,
        stale=row.stale,
        quarantined=row.quarantined,
        held=row.held,
        waiting=row.waiting,
        sign_in=row.sign_in,
        trouble=row.trouble,
        run=_run(row.run),
        permissions_run=_run(row.permissions_run),
    )
