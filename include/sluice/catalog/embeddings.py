"""The embedding cache: a text is embedded once per model, whoever asks and however often."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import sqlalchemy as sa

from sluice.ports import Vectors

_DTYPE = np.dtype("<f4")  # stored little-endian float32: changing it orphans every stored vector


def lookup(
    connection: sa.Connection, model: str, content_hashes: Collection[str]
) -> dict[str, Vectors]:
    """The vectors already known, by content hash (hex); each of shape ``(dimensions,)``."""
    rows = connection.execute(
        sa.text(
            "SELECT content_hash, vector FROM sluice.embedding"
            " WHERE model = :model AND content_hash = ANY(:hashes)"
        ),
        {"model": model, "hashes": [bytes.fromhex(each) for each in content_hashes]},
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
                for content_hash, vector in vectors.items()
            ],
        )
