"""How often a source has failed in a row, and until when nobody asks it."""

from __future__ import annotations

import sqlalchemy as sa


def paused(connection: sa.Connection, source: str) -> float:
    """Seconds for which the source is still left alone; 0 if it is not."""
    found = connection.execute(
        sa.text(
            "SELECT extract(epoch FROM paused_until - now()) FROM sluice.source"
            " WHERE source = :source AND paused_until > now()"
        ),
        {"source": source},
    ).scalar_one_or_none()
    return float(found or 0.0)


def failed(connection: sa.Connection, source: str) -> int:
    """Count a failure; return how many there have been in a row."""
    found = connection.execute(
        sa.text(
            "UPDATE sluice.source SET failures = failures + 1 WHERE source = :source"
            " RETURNING failures"
        ),
        {"source": source},
    ).scalar_one_or_none()
    return int(found or 0)


def pause(connection: sa.Connection, source: str, seconds: float) -> None:
    """Leave the source alone for a while."""
    connection.execute(
        sa.text(
            "UPDATE sluice.source SET paused_until = now() + :seconds * interval '1 second'"
            " WHERE source = :source"
        ),
        {"source": source, "seconds": seconds},
    )


def worked(connection: sa.Connection, source: str) -> None:
    """Forget the failures."""
    connection.execute(
        sa.text(
            "UPDATE sluice.source SET failures = 0, paused_until = NULL"
            " WHERE source = :source AND (failures > 0 OR paused_until IS NOT NULL)"
        ),
        {"source": source},
    )
