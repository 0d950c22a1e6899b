"""The embedding cache: a text is embedded once per model, whoever asks and however often."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import sqlalchemy as sa

from sluice.ports import Vectors

LEASE = 120.0  # seconds that what a run embeds is its own; then it is thought to be dead
_DIGEST = 32  # bytes of a content hash
_DTYPE = np.dtype("<f4")  # stored little-endian float32: changing it orphans every stored vector


def lookup(
    connection: sa.Connection, model: str, content_hashes: Collection[str]
) -> dict[str, Vectors]:
    """The vectors already known, by content hash (hex); each of shape ``(dimensions,)``.

    They count as used today. One that somebody else is using already is left to them.
    """
    chosen = {"model": model, "hashes": [bytes.fromhex(each) for each in content_hashes]}
    rows = connection.execute(
        sa.text(
            "SELECT content_hash, vector, used_on < current_date AS aged FROM sluice.embedding"
            " WHERE model = :model AND content_hash = ANY(:hashes)"
        ),
        chosen,
    ).all()
    if any(row.aged for row in rows):
        connection.execute(
            sa.text(
                """
                UPDATE sluice.embedding SET used_on = current_date
                WHERE (model, content_hash) IN (
                    SELECT model, content_hash FROM sluice.embedding
                    WHERE model = :model AND content_hash = ANY(:hashes)
                      AND used_on < current_date
                    FOR UPDATE SKIP LOCKED)
                """
            ),
            chosen,
        )
    return {bytes(row.content_hash).hex(): np.frombuffer(row.vector, dtype=_DTYPE) for row in rows}


def known(connection: sa.Connection, model: str, content_hashes: Collection[str]) -> set[str]:
    """Which of these have a vector already."""
    rows = connection.execute(
        sa.text(
            "SELECT content_hash FROM sluice.embedding"
            " WHERE model = :model AND content_hash = ANY(:hashes)"
        ),
        {"model": model, "hashes": [bytes.fromhex(each) for each in content_hashes]},
    )
    return {bytes(each).hex() for each in rows.scalars()}


def store(connection: sa.Connection, model: str, vectors: Mapping[str, Vectors]) -> None:
    """Keep vectors by content hash; one that is there already stays as it is."""
    if vectors:
        connection.execute(
            sa.text(
                """
                INSERT INTO sluice.embedding (model, content_hash, vector)
                VALUES (:model, :hash, :vector) ON CONFLICT DO NOTHING
                """
            ),
            [
                {
                    "model": model,
                    "hash": bytes.fromhex(content_hash),
                    "vector": vector.astype(_DTYPE).tobytes(),
                }
                for content_hash, vector in sorted(vectors.items(), key=lambda each: each[0])
            ],  # in one order, so that two who store the same wait for each other, not both
        )


def take(
    connection: sa.Connection, model: str, content_hashes: Collection[str], run_id: str
) -> set[str]:
    """Which of these nobody else is embedding now; they are the run's own for :data:`LEASE`.

    What an earlier try of the same run had taken is its own at once.
    """
    rows = connection.execute(
        sa.text(
            """
            INSERT INTO sluice.embedding_under_way AS known (model, content_hash, run_id, until)
            SELECT :model, hash, :run_id, clock_timestamp() + make_interval(secs => :lease)
            FROM unnest(CAST(:hashes AS bytea[])) AS hash ORDER BY hash
            ON CONFLICT (tenant_id, model, content_hash) DO UPDATE
                SET run_id = excluded.run_id, until = excluded.until
                WHERE known.run_id = excluded.run_id OR known.until < clock_timestamp()
            RETURNING content_hash
            """
        ),
        {
            "model": model,
            "hashes": [bytes.fromhex(each) for each in content_hashes],
            "run_id": run_id,
            "lease": LEASE,
        },
    )
    return {bytes(each).hex() for each in rows.scalars()}


def leave(
    connection: sa.Connection, model: str, content_hashes: Collection[str], run_id: str
) -> None:
    """Let others embed what a run had taken, if they still have to."""
    connection.execute(
        sa.text(
            """
            DELETE FROM sluice.embedding_under_way WHERE model = :model AND content_hash IN (
                SELECT content_hash FROM sluice.embedding_under_way
                WHERE model = :model AND run_id = :run_id AND content_hash = ANY(:hashes)
                ORDER BY content_hash FOR UPDATE)
            """  # in the order of `take`, or the two could wait for each other
        ),
        {
            "model": model,
            "hashes": [bytes.fromhex(each) for each in content_hashes],
            "run_id": run_id,
        },
    )


def link(connection: sa.Connection, chunks: Mapping[int, Collection[str]]) -> None:
    """Note which content hashes the chunks of each generation have, before they have vectors."""
    connection.execute(
        sa.text(
            """
            UPDATE sluice.generation g SET content_hashes = g.content_hashes || new.hashes
            FROM unnest(CAST(:generations AS bigint[]), CAST(:hashes AS bytea[]))
                AS new (generation, hashes)
            WHERE g.generation = new.generation
            """
        ),
        {
            "generations": list(chunks),
            "hashes": [bytes.fromhex("".join(each)) for each in chunks.values()],
        },
    )


def erase(connection: sa.Connection, document_id: str) -> int | None:
    """Remove every vector of any version of a document; return how many. None: no such document.

    Another document with the same words is embedded again when it is next needed.
    """
    rows = connection.execute(
        sa.text("SELECT content_hashes FROM sluice.generation WHERE document_id = :document_id"),
        {"document_id": document_id},
    ).scalars()
    linked = [bytes(each) for each in rows]
    hashes = {each[at : at + _DIGEST] for each in linked for at in range(0, len(each), _DIGEST)}
    removed = connection.execute(
        sa.text("DELETE FROM sluice.embedding WHERE content_hash = ANY(:hashes)"),
        {"hashes": list(hashes)},
    )
    connection.execute(  # texts that no batch could embed
        sa.text("DELETE FROM sluice.claim WHERE batch_id IS NULL AND content_hash = ANY(:hashes)"),
        {"hashes": list(hashes)},
    )
    return removed.rowcount if linked else None


def bound(connection: sa.Connection, megabytes: int) -> int:
    """Remove what was not used for longest until the rest fits; return how many.

    What was used today or yesterday stays, however much it is: a run may be about to need it.
    """
    removed = connection.execute(
        sa.text(
            """
            DELETE FROM sluice.embedding WHERE (model, content_hash) IN (
                SELECT model, content_hash FROM (
                    SELECT model, content_hash, used_on, sum(octet_length(vector)) OVER (
                        ORDER BY used_on DESC, model, content_hash) AS bytes
                    FROM sluice.embedding) AS kept
                WHERE bytes > :bytes AND used_on < current_date - 1)
            """
        ),
        {"bytes": megabytes * 1_000_000},
    )
    return removed.rowcount


def size(connection: sa.Connection) -> int:
    """Megabytes of vectors that are kept."""
    return int(
        connection.execute(
            sa.text("SELECT coalesce(sum(octet_length(vector)), 0) FROM sluice.embedding")
        ).scalar_one()
        // 1_000_000
    )
