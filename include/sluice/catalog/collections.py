"""Collections and placements: where chunks live, and which generation lives where.

A placement says that a collection holds a generation whole: it is written after the chunks were
counted. What is live and has no placement in a collection is missing there; that one set is what a
new collection has to be given, what a kept one has to catch up with, and what a lost one lost.
"""

from __future__ import annotations

from collections.abc import Collection as Several
from collections.abc import Mapping
from typing import get_args

import sqlalchemy as sa

from sluice.model import Backend, Collection, CollectionState


def installation(connection: sa.Connection) -> str:
    """Eight hexadecimal digits that tell this catalog from others."""
    return str(connection.execute(sa.text("SELECT sluice.installation()")).scalar_one())


def standing(connection: sa.Connection) -> list[Collection]:
    """Every collection that is not dropped: the serving one first, then the newest first."""
    rows = connection.execute(
        sa.text(
            """
            SELECT collection_id, backend, name, embedder, model, dimensions, recipe, state
            FROM sluice.collection WHERE state <> 'dropped'
            ORDER BY state = 'serving' DESC, collection_id DESC
            """
        )
    )
    return [Collection(**row._mapping) for row in rows]


def serving(connection: sa.Connection) -> Collection | None:
    """The collection that questions are answered from; None before the first ingest."""
    return next((each for each in standing(connection) if each.state == "serving"), None)


def number(connection: sa.Connection) -> int:
    """Which collection of this tenant the next one will be, from 1."""
    return int(
        connection.execute(sa.text("SELECT count(*) + 1 FROM sluice.collection")).scalar_one()
    )


def register(
    connection: sa.Connection,
    *,
    backend: Backend,
    name: str,
    embedder: str,
    model: str,
    dimensions: int,
    recipe: str,
    state: CollectionState,
) -> Collection | None:
    """Make a collection known, before anything of it exists; None if someone else was faster."""
    assert backend in get_args(Backend)
    row = connection.execute(
        sa.text(
            """
            INSERT INTO sluice.collection
                (backend, name, embedder, model, dimensions, recipe, state, served_at)
            VALUES (:backend, :name, :embedder, :model, :dimensions, :recipe, :state,
                    CASE WHEN :state = 'serving' THEN now() END)
            ON CONFLICT DO NOTHING
            RETURNING collection_id, backend, name, embedder, model, dimensions, recipe, state
            """
        ),
        {
            "backend": backend,
            "name": name,
            "embedder": embedder,
            "model": model,
            "dimensions": dimensions,
            "recipe": recipe,
            "state": state,
        },
    ).one_or_none()
    return Collection(**row._mapping) if row else None


def hold(connection: sa.Connection) -> int:
    """Keep the collection that serves from changing until the transaction ends; return its id."""
    return int(
        connection.execute(
            sa.text("SELECT collection_id FROM sluice.collection WHERE state = 'serving' FOR SHARE")
        ).scalar_one()
    )


def serve(connection: sa.Connection, collection_id: int) -> int | None:
    """Let another collection serve, and keep the one that did, in the caller's transaction.

    Waits for publishes that are flipping. None and nothing is changed while a live generation is
    missing in the collection, else the id of the one that served.
    """
    before = int(
        connection.execute(
            sa.text(
                "SELECT collection_id FROM sluice.collection WHERE state = 'serving' FOR UPDATE"
            )
        ).scalar_one()
    )
    if missing(connection, collection_id, limit=1):
        return None
    for state, which in (("kept", before), ("serving", collection_id)):
        connection.execute(
            sa.text(
                "UPDATE sluice.collection SET state = :state, served_at = now()"
                " WHERE collection_id = :id AND state <> 'dropped'"
            ),
            {"state": state, "id": which},
        )
    return before


def drop(connection: sa.Connection, collection_id: int) -> None:
    """Forget what lives in a collection that does not serve; its name is never used again."""
    chosen = {"id": collection_id}
    connection.execute(
        sa.text(
            "UPDATE sluice.collection SET state = 'dropped'"
            " WHERE collection_id = :id AND state <> 'serving'"
        ),
        chosen,
    )
    connection.execute(sa.text("DELETE FROM sluice.placement WHERE collection_id = :id"), chosen)


def place(connection: sa.Connection, collection_id: int, chunks: Mapping[int, int]) -> set[int]:
    """Note that the collection holds these generations, as so many chunks; return which.

    One that is no longer wanted is not among them: whoever wrote its chunks removes them. The lock
    makes whoever retires it wait, and so collect it after this.
    """
    if not chunks:
        return set()
    rows = connection.execute(
        sa.text(
            """
            WITH held AS (
                SELECT generation FROM sluice.generation
                WHERE generation = ANY(:generations) AND state IN ('building', 'live')
                FOR SHARE)
            INSERT INTO sluice.placement (collection_id, generation, chunk_count)
            SELECT :id, h.generation, w.chunks
            FROM held h JOIN unnest(CAST(:generations AS bigint[]), CAST(:counts AS int[]))
                AS w(generation, chunks) USING (generation)
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
    """Up to ``limit`` live generations, oldest first, that the collection does not hold."""
    rows = connection.execute(
        sa.text(
            """
            SELECT generation FROM sluice.generation g
            WHERE state = 'live' AND (CAST(:source AS text) IS NULL OR source = :source)
              AND NOT EXISTS (SELECT 1 FROM sluice.placement p
                              WHERE p.collection_id = :id AND p.generation = g.generation)
            ORDER BY generation LIMIT :limit
            """
        ),
        {"id": collection_id, "source": source, "limit": limit},
    )
    return [int(row.generation) for row in rows]


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
    rows = connection.execute(
        sa.text(
            """
            SELECT p.generation, p.chunk_count FROM sluice.placement p
            JOIN sluice.generation g USING (generation)
            WHERE p.collection_id = :id AND g.state = 'live'
              AND (CAST(:source AS text) IS NULL OR g.source = :source)
            """
        ),
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
