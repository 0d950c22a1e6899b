"""Documents and their generations: what is live, what is being built, what waits for collection.

A generation is born ``building``, becomes ``live`` in the flip, is ``retired`` by the next flip
and ``collected`` once the index no longer holds it. Its row outlives its text: every audit event
names generations, and each must lead back to a run and a version for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from sluice.errors import AlreadyRunning
from sluice.model import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the catalog holds of one document that is not deleted."""

    document_id: str
    native_id: str
    generation: int
    content_hash: str
    meta_hash: str
    acl_key: str | None  # the object that guards it now; None hides it from everybody
    indexed_acl_key: str  # the object whose acl_id its chunks carry


@dataclass(frozen=True, slots=True, kw_only=True)
class Building:
    """A generation about to be written to the index."""

    generation: int
    document: Document


def known(
    connection: sa.Connection, source: str, native_ids: Collection[str] | None = None
) -> dict[str, Known]:
    """The live documents of ``source``, or those of them that are named, by document id."""
    chosen = None if native_ids is None else [f"{source}:{each}" for each in native_ids]
    rows = connection.execute(
        sa.text(
            """
            SELECT d.document_id, d.native_id, g.generation, d.content_hash, d.meta_hash,
                   a.key AS acl_key, g.acl_key AS indexed_acl_key
            FROM sluice.document d
            JOIN sluice.generation g ON g.generation = d.live_generation
            LEFT JOIN sluice.acl a ON a.acl_id = d.acl_id
            WHERE d.source = :source AND d.deleted_at IS NULL
              AND (CAST(:chosen AS text[]) IS NULL OR d.document_id = ANY(:chosen))
            """
        ),
        {"source": source, "chosen": chosen},
    )
    return {row.document_id: Known(**row._mapping) for row in rows}


def count(connection: sa.Connection, source: str) -> int:
    """How many documents of ``source`` are live."""
    found = connection.execute(
        sa.text(
            "SELECT count(*) FROM sluice.document WHERE source = :source AND deleted_at IS NULL"
            " AND live_generation IS NOT NULL"
        ),
        {"source": source},
    ).scalar_one()
    return int(found)


def stored(connection: sa.Connection, document_ids: Collection[str]) -> dict[str, Document]:
    """The live version of each document, as it was published."""
    rows = connection.execute(
        sa.text(
            """
            SELECT d.source, d.native_id, g.title, g.text, d.uri, g.acl_key,
                   d.created_at, d.updated_at
            FROM sluice.document d JOIN sluice.generation g ON g.generation = d.live_generation
            WHERE d.document_id = ANY(:ids)
            """
        ),
        {"ids": list(document_ids)},
    )
    documents = (Document(**row._mapping) for row in rows)
    return {document.id: document for document in documents}


def by_source(connection: sa.Connection, generations: Collection[int]) -> dict[str, list[int]]:
    """These generations by the source of their documents; both in order."""
    rows = connection.execute(
        sa.text(
            "SELECT source, array_agg(generation ORDER BY generation) AS generations"
            " FROM sluice.generation WHERE generation = ANY(:generations)"
            " GROUP BY source ORDER BY source"
        ),
        {"generations": list(generations)},
    )
    return {row.source: row.generations for row in rows}


def versions(connection: sa.Connection, generations: Collection[int]) -> dict[int, Document]:
    """What each generation says, as it was built; one whose text is gone is left out."""
    rows = connection.execute(
        sa.text(
            """
            SELECT generation, source, native_id, title, text, uri, acl_key, created_at, updated_at
            FROM sluice.generation WHERE state <> 'collected' AND generation = ANY(:generations)
            """
        ),
        {"generations": list(generations)},
    )
    found = (dict(row._mapping) for row in rows)
    return {int(row.pop("generation")): Document(**row) for row in found}


def allocate(connection: sa.Connection, count: int) -> list[int]:
    """Take ``count`` generation numbers; a number taken is never given again."""
    rows = connection.execute(
        sa.text(
            "SELECT nextval(pg_get_serial_sequence('sluice.generation', 'generation'))"
            " FROM generate_series(1, :count)"
        ),
        {"count": count},
    )
    return [int(row[0]) for row in rows]


def register(
    connection: sa.Connection, run_id: str, recipe: str, batch: Sequence[Building]
) -> None:
    """Record generations as ``building``: before the index hears of them, so none is an orphan."""
    if not batch:
        return
    connection.execute(
        sa.text(
            """
            INSERT INTO sluice.generation
                (generation, document_id, source, run_id, state, recipe, title, text, uri, acl_key,
                 content_hash, meta_hash, created_at, updated_at, native_id)
            VALUES (:generation, :document_id, :source, :run_id, 'building', :recipe, :title, :text,
                    :uri, :acl_key, :content_hash, :meta_hash, :created_at, :updated_at,
                    :native_id)
            """
        ),
        [_generation_row(run_id, recipe, building) for building in batch],
    )


def _generation_row(run_id: str, recipe: str, building: Building) -> dict[str, object]:
    document = building.document
    return {
        "generation": building.generation,
        "document_id": document.id,
        "native_id": document.native_id,
        "source": document.source,
        "run_id": run_id,
        "recipe": recipe,
        "title": document.title,
        "text": document.text,
        "uri": document.uri,
        "acl_key": document.acl_key,
        "content_hash": document.content_hash,
        "meta_hash": document.meta_hash,
        "created_at": document.created_at,
        "updated_at": document.updated_at,
    }


def unfinished(connection: sa.Connection, source: str) -> dict[int, str]:
    """Generations of ``source`` that a killed run left behind: number to state."""
    rows = connection.execute(
        sa.text(
            "SELECT generation, state FROM sluice.generation"
            " WHERE source = :source AND state IN ('building', 'retired')"
        ),
        {"source": source},
    )
    return {int(row.generation): row.state for row in rows}


def flip(connection: sa.Connection, generations: Collection[int]) -> None:
    """Make ``generations`` live and retire what they replace. Readers see all of it or nothing.

    Raises:
        AlreadyRunning: some are no longer being built. A run whose connection died has lost its
            lock; another took what it had built for left behind, and collected it.
    """
    chosen = {"generations": list(generations)}
    replaced = """
        state = 'live' AND document_id IN
            (SELECT document_id FROM sluice.generation WHERE generation = ANY(:generations))
    """
    _lock(connection, f"generation = ANY(:generations) OR ({replaced})", chosen)
    _retire(connection, replaced, chosen)
    connection.execute(
        sa.text(
            """
            INSERT INTO sluice.document
                (document_id, source, native_id, title, uri, acl_id, content_hash, meta_hash,
                 created_at, updated_at, live_generation, run_id)
            SELECT g.document_id, g.source, g.native_id, g.title, g.uri, a.acl_id, g.content_hash,
                   g.meta_hash, g.created_at, g.updated_at, g.generation, g.run_id
            FROM sluice.generation g
            LEFT JOIN sluice.acl a ON a.source = g.source AND a.key = g.acl_key
            WHERE g.generation = ANY(:generations)
            ON CONFLICT (tenant_id, document_id) DO UPDATE SET
                title = excluded.title, uri = excluded.uri, acl_id = excluded.acl_id,
                content_hash = excluded.content_hash, meta_hash = excluded.meta_hash,
                created_at = excluded.created_at, updated_at = excluded.updated_at,
                live_generation = excluded.live_generation, run_id = excluded.run_id,
                deleted_at = NULL
            """
        ),
        chosen,
    )
    flipped = connection.execute(
        sa.text(
            "UPDATE sluice.generation SET state = 'live'"
            " WHERE state = 'building' AND generation = ANY(:generations)"
        ),
        chosen,
    ).rowcount
    if flipped != len(generations):
        raise AlreadyRunning(
            "another run took over and collected what this one had built",
            cure="Nothing of it became visible; run the source again",
        )


def delete(connection: sa.Connection, document_ids: Collection[str]) -> None:
    """Turn documents into tombstones: at once unreadable, their chunks left for collection."""
    chosen = {"ids": list(document_ids)}
    live = "state = 'live' AND document_id = ANY(:ids)"
    _lock(connection, live, chosen)
    _retire(connection, live, chosen)
    connection.execute(
        sa.text(
            "UPDATE sluice.document SET live_generation = NULL, acl_id = NULL, deleted_at = now()"
            " WHERE document_id = ANY(:ids)"
        ),
        chosen,
    )


def _lock(connection: sa.Connection, which: str, values: Mapping[str, object]) -> None:
    """Lock generations in the order of their numbers, as whoever places them does: no deadlock."""
    connection.execute(
        sa.text(
            "SELECT 1 FROM sluice.generation"  # noqa: S608  # constants
            f" WHERE {which} ORDER BY generation FOR NO KEY UPDATE"
        ),
        values,
    )


def _retire(connection: sa.Connection, which: str, values: Mapping[str, object]) -> None:
    connection.execute(
        sa.text(f"UPDATE sluice.generation SET state = 'retired' WHERE {which}"),  # noqa: S608  # constants
        values,
    )


def guard(connection: sa.Connection, source: str, acl_keys: Mapping[str, str | None]) -> None:
    """Put documents under other permission objects, or under none, which hides them."""
    if not acl_keys:
        return
    connection.execute(
        sa.text(
            """
            UPDATE sluice.document SET acl_id =
                (SELECT acl_id FROM sluice.acl WHERE source = :source AND key = :key)
            WHERE document_id = :id
            """
        ),
        [{"source": source, "id": each, "key": key} for each, key in acl_keys.items()],
    )


def describe(connection: sa.Connection, documents: Iterable[Document]) -> None:
    """Write uri and times where only those changed."""
    rows = [
        {
            "id": document.id,
            "uri": document.uri,
            "meta_hash": document.meta_hash,
            "created_at": document.created_at,
            "updated_at": document.updated_at,
        }
        for document in documents
    ]
    if rows:
        connection.execute(
            sa.text(
                """
                UPDATE sluice.document SET uri = :uri, meta_hash = :meta_hash,
                    created_at = :created_at, updated_at = :updated_at
                WHERE document_id = :id
                """
            ),
            rows,
        )


def collected(connection: sa.Connection, generations: Collection[int]) -> None:
    """Mark generations that no index holds any longer, and let their text go."""
    chosen = {"generations": list(generations)}
    connection.execute(
        sa.text(
            "UPDATE sluice.generation SET state = 'collected', text = ''"
            " WHERE state IN ('building', 'retired') AND generation = ANY(:generations)"
        ),
        chosen,
    )
    connection.execute(
        sa.text("DELETE FROM sluice.placement WHERE generation = ANY(:generations)"), chosen
    )


def under(connection: sa.Connection, acl_ids: Collection[int]) -> set[str]:
    """The live documents that these permission objects guard."""
    rows = connection.execute(
        sa.text(
            "SELECT document_id FROM sluice.document"
            " WHERE acl_id = ANY(:ids) AND deleted_at IS NULL"
        ),
        {"ids": list(acl_ids)},
    )
    return {row.document_id for row in rows}
