"""What a collection holds or lacks, by chance and in all: for forecasts and comparisons."""

from __future__ import annotations

from collections.abc import Collection as Several

import sqlalchemy as sa

from sluice.catalog.placements import MISSING, whole


def characters_lacking(connection: sa.Connection, collection_id: int) -> int:
    """How long the texts of the live generations are that the collection lacks. Reads them all."""
    statement = (
        "SELECT coalesce(sum(length(title) + length(text)), 0) AS characters"  # noqa: S608  # a constant
        f" FROM {MISSING} JOIN sluice.generation USING (generation)"
    )
    (row,) = whole(connection, statement, {"id": collection_id, "source": None})
    return int(row.characters)


def some_missing(connection: sa.Connection, collection_id: int, limit: int) -> list[int]:
    """Up to ``limit`` live generations that the collection lacks, by chance."""
    rows = connection.execute(
        sa.text(f"SELECT generation FROM {MISSING} ORDER BY random() LIMIT :limit"),  # noqa: S608  # a constant
        {"id": collection_id, "source": None, "limit": limit},
    )
    return [int(row.generation) for row in rows]


def some_held(connection: sa.Connection, collection_id: int, limit: int) -> list[int]:
    """Up to ``limit`` live generations that the collection holds, by chance."""
    rows = whole(
        connection,
        """
        SELECT p.generation FROM sluice.placement p JOIN sluice.generation g USING (generation)
        WHERE p.collection_id = :id AND g.state = 'live' ORDER BY random() LIMIT :limit
        """,
        {"id": collection_id, "limit": limit},
    )
    return [int(row.generation) for row in rows]


def by_acl(connection: sa.Connection, collection_id: int) -> dict[int, int]:
    """How many live chunks the collection holds under each ``acl_id``."""
    rows = whole(
        connection,
        f"SELECT a.acl_id, sum(p.chunk_count) AS chunks {_GUARDED} GROUP BY a.acl_id",
        {"id": collection_id},
    )
    return {int(row.acl_id): int(row.chunks) for row in rows}


def under(connection: sa.Connection, collection_id: int, acl_ids: Several[int]) -> list[int]:
    """The live generations that the collection holds under these ``acl_ids``."""
    rows = whole(
        connection,
        f"SELECT p.generation {_GUARDED} AND a.acl_id = ANY(:acl_ids)",
        {"id": collection_id, "acl_ids": list(acl_ids)},
    )
    return [int(row.generation) for row in rows]


_GUARDED = """
    FROM sluice.placement p JOIN sluice.generation g USING (generation)
    JOIN sluice.acl a ON a.source = g.source AND a.key = g.acl_key
    WHERE p.collection_id = :id AND g.state = 'live' AND p.chunk_count > 0
"""
