"""How the streams are doing that sources tell of their changes by."""

from __future__ import annotations

import sqlalchemy as sa


def note(
    connection: sa.Connection,
    source: str,
    *,
    position: str | None = None,
    behind: int | None = None,
    trouble: str | None = None,
) -> None:
    """Note where a stream is, how many bytes behind, and what somebody has to see to."""
    connection.execute(
        sa.text(
            """
            INSERT INTO sluice.stream AS s (source, position, behind, trouble)
            VALUES (:source, coalesce(CAST(:position AS text), ''), :behind, :trouble)
            ON CONFLICT (tenant_id, source) DO UPDATE SET
                position = coalesce(nullif(excluded.position, ''), s.position),
                behind = coalesce(excluded.behind, s.behind), trouble = excluded.trouble,
                seen_at = now()
            """
        ),
        {"source": source, "position": position, "behind": behind, "trouble": trouble},
    )


def begin_anew(connection: sa.Connection, source: str) -> None:
    """Forget the stream: until it is noted again, what came before it may be unknown."""
    connection.execute(
        sa.text("DELETE FROM sluice.stream WHERE source = :source"), {"source": source}
    )


def known(connection: sa.Connection, source: str) -> bool:
    """Whether the stream is followed from a point up to which everything was compared."""
    return bool(
        connection.execute(
            sa.text(
                "SELECT EXISTS (SELECT FROM sluice.stream WHERE source = :source"
                " AND position <> '')"
            ),
            {"source": source},
        ).scalar_one()
    )
