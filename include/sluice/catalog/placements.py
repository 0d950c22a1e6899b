"""Placements: which generation lives in which collection, and as how many chunks.

A placement says that a collection holds a generation whole: it is written after the chunks were
counted. What is live and has no placement in a collection is missing there; that one set is what a
new collection has to be given, what a kept one has to catch up with, and what a lost one lost.
"""

from __future__ import annotations

from collections.abc import Collection as Several
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

# The live generations of which collection `:id` has no placement.
MISSING = """
    (SELECT generation FROM sluice.generation
     WHERE state = 'live' AND (CAST(:source AS text) IS NULL OR source = :source)
     EXCEPT
     SELECT generation FROM sluice.placement WHERE collection_id = :id) AS missing
"""


def whole(
    connection: sa.Connection, statement: str, values: Mapping[str, Any]
) -> Sequence[sa.Row[Any]]:
    """Run a query that joins all of a collection with all that is live.

    The planner takes a collection that is being filled for an empty one until it is analysed, and
    would then compare each row with each: so for this query it may not.
    """
    connection.execute(sa.text("SET LOCAL enable_nestloop = off"))
    rows = connection.execute(sa.text(statement), values).all()
    connection.execute(sa.text("SET LOCAL enable_nestloop TO DEFAULT"))
    return rows


def place(connection: sa.Connection, collection_id: int, chunks: Mapping[int, int]) -> set[int]:
    """Note that the collection holds these generations, as so many chunks; return which.

    One that is no longer wanted is not among them, and none is if the collection was dropped:
    whoever wrote the chunks removes them. The lock, which everybody takes in the order of the
    numbers, makes whoever retires a generation wait, and so collect it after this.
    """
    if not chunks:
        return set()
    rows = connection.execute(
        sa.text(
            """
            WITH held AS (
                SELECT generation FROM sluice.generation
                WHERE generation = ANY(:generations) AND state IN ('building', 'live')
                ORDER BY generation FOR SHARE)
            INSERT INTO sluice.placement (collection_id, generation, chunk_count)
            SELECT :id, h.generation, w.chunks
            FROM held h JOIN unnest(CAST(:generations AS bigint[]), CAST(:counts AS int[]))
                AS w(generation, chunks) USING (generation)
            WHERE EXISTS (SELECT 1 FROM sluice.collection
                          WHERE collection_id = :id AND state <> 'dropped')
            ON CONFLICT (tenant_id, collection_id, generation)
                DO UPDATE SET chunk_count = excluded.chunk_count
            RETURNING generation
            """
        ),
        {"id": collection_id, "generations": list(chunks), "counts": list(chunks.values())},
    )
    return {int(row.generation) for row in rows}


def missing(
    connection: sa.Connection, collection_id: int, *, limit: int, source: str | None = None
) -> list[int]:
    """Up to ``limit`` live generations, oldest first, that the collection lacks."""
    rows = connection.execute(
        sa.text(f"SELECT generation FROM {MISSING} ORDER BY generation LIMIT :limit"),  # noqa: S608  # a constant
        {"id": collection_id, "source": source, "limit": limit},
    )
    return [int(row.generation) for row in rows]


def lacking(connection: sa.Connection, collection_id: int) -> int:
    """How many live generations the collection lacks."""
    counted = connection.execute(
        sa.text(f"SELECT count(*) FROM {MISSING}"),  # noqa: S608  # a constant
        {"id": collection_id, "source": None},
    )
    return int(counted.scalar_one())


def unplaced(connection: sa.Connection, collection_id: int, generations: Several[int]) -> set[int]:
    """Which of ``generations`` the collection does not hold."""
    rows = connection.execute(
        sa.text(
            "SELECT generation FROM sluice.placement"
            " WHERE collection_id = :id AND generation = ANY(:generations)"
        ),
        {"id": collection_id, "generations": list(generations)},
    )
    return set(generations) - {int(row.generation) for row in rows}


def size(connection: sa.Connection, collection_id: int) -> int:
    """How many chunks the collection should hold."""
    return int(
        connection.execute(
            sa.text(
                "SELECT coalesce(sum(chunk_count), 0) FROM sluice.placement"
                " WHERE collection_id = :id"
            ),
            {"id": collection_id},
        ).scalar_one()
    )


def expected(
    connection: sa.Connection, collection_id: int, source: str | None = None
) -> dict[int, int]:
    """Live generations that the collection should hold, with their chunks."""
    rows = whole(
        connection,
        """
        SELECT p.generation, p.chunk_count FROM sluice.placement p
        JOIN sluice.generation g USING (generation)
        WHERE p.collection_id = :id AND g.state = 'live'
          AND (CAST(:source AS text) IS NULL OR g.source = :source)
        """,
        {"id": collection_id, "source": source},
    )
    return {int(row.generation): int(row.chunk_count) for row in rows}


def newest(connection: sa.Connection, collection_id: int, limit: int) -> list[int]:
    """The last ``limit`` generations that are live and of which the collection holds chunks."""
    rows = connection.execute(
        sa.text(
            """
            SELECT p.generation FROM sluice.placement p JOIN sluice.generation g USING (generation)
            WHERE p.collection_id = :id AND g.state = 'live' AND p.chunk_count > 0
            ORDER BY p.generation DESC LIMIT :limit
            """
        ),
        {"id": collection_id, "limit": limit},
    )
    return [int(row.generation) for row in rows]


def wanted(connection: sa.Connection, generations: Several[int]) -> set[int]:
    """Which of ``generations`` are live, or are being built."""
    rows = connection.execute(
        sa.text(
            "SELECT generation FROM sluice.generation"
            " WHERE state IN ('building', 'live') AND generation = ANY(:generations)"
        ),
        {"generations": list(generations)},
    )
    return {int(row.generation) for row in rows}


def probe(
    connection: sa.Connection, collection_id: int, each: int, source: str | None = None
) -> dict[int, int]:
    """The ``each`` newest of what :func:`expected` finds, and as many by chance."""
    rows = whole(
        connection,
        """
        WITH held AS (
            SELECT p.generation, p.chunk_count FROM sluice.placement p
            JOIN sluice.generation g USING (generation)
            WHERE p.collection_id = :id AND g.state = 'live'
              AND (CAST(:source AS text) IS NULL OR g.source = :source))
        (SELECT * FROM held ORDER BY generation DESC LIMIT :each)
        UNION (SELECT * FROM held ORDER BY random() LIMIT :each)
        """,
        {"id": collection_id, "each": each, "source": source},
    )
    return {int(row.generation): int(row.chunk_count) for row in rows}


def still_held(
    connection: sa.Connection, collection_id: int, generations: Several[int]
) -> set[int]:
    """Which of ``generations`` are live, and the collection should hold."""
    if not generations:
        return set()
    rows = whole(
        connection,
        """
        SELECT p.generation FROM sluice.placement p JOIN sluice.generation g USING (generation)
        WHERE p.collection_id = :id AND g.state = 'live' AND p.generation = ANY(:generations)
        """,
        {"id": collection_id, "generations": list(generations)},
    )
    return {int(row.generation) for row in rows}


def forget(connection: sa.Connection, collection_id: int, generations: Several[int]) -> None:
    """Note that the collection does not hold these generations (any more)."""
    connection.execute(
        sa.text(
            "DELETE FROM sluice.placement"
            " WHERE collection_id = :id AND generation = ANY(:generations)"
        ),
        {"id": collection_id, "generations": list(generations)},
    )


def orphans(connection: sa.Connection, generations: Several[int]) -> set[int]:
    """Which of ``generations``, found in a store, no longer belong in any."""
    rows = connection.execute(
        sa.text(
            "SELECT generation FROM sluice.generation"
            " WHERE state <> 'collected' AND generation = ANY(:generations)"
        ),
        {"generations": list(generations)},
    )
    return set(generations) - {int(row.generation) for row in rows}


def page(
    connection: sa.Connection, collection_id: int, *, after: int, limit: int
) -> dict[int, int]:
    """The next ``limit`` of what :func:`expected` finds, beyond generation ``after``, in order."""
    rows = whole(
        connection,
        """
        SELECT p.generation, p.chunk_count FROM sluice.placement p
        JOIN sluice.generation g USING (generation)
        WHERE p.collection_id = :id AND p.generation > :after AND g.state = 'live'
        ORDER BY p.generation LIMIT :limit
        """,
        {"id": collection_id, "after": after, "limit": limit},
    )
    return {int(row.generation): int(row.chunk_count) for row in rows}


def settled(connection: sa.Connection, collection_id: int) -> int:
    """How many chunks of what is live the collection should hold."""
    statement = """
        SELECT coalesce(sum(p.chunk_count), 0) AS chunks FROM sluice.placement p
        JOIN sluice.generation g USING (generation)
        WHERE p.collection_id = :id AND g.state = 'live'
    """
    (row,) = whole(connection, statement, {"id": collection_id})
    return int(row.chunks)


def moving(connection: sa.Connection) -> list[int]:
    """The generations that are on their way in or out: a store may hold any part of them."""
    rows = connection.execute(
        sa.text("SELECT generation FROM sluice.generation WHERE state IN ('building', 'retired')")
    )
    return [int(row.generation) for row in rows]
