"""Batches that a provider works on, and which chunk each of them is to embed.

A chunk that is in a batch is claimed by it: the primary key of ``claim`` sees to it that no other
batch of the same model holds it. What will be done next is written down before it is done, so that
whoever comes after a kill knows what may have happened:

=========  ========================================================================
planned    its chunks are claimed; nothing was sent
uploading  its file may be there
uploaded   its file is there
creating   the provider may work on it
submitted  the provider works on it
read       every vector that it gave is in the cache; its files may still be there
done       nothing of it is left at the provider
=========  ========================================================================
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa

from sluice.catalog import runs

State = Literal["planned", "uploading", "uploaded", "creating", "submitted", "read", "done"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One file of requests."""

    batch_id: uuid.UUID
    embedder: str  # as settings name it
    model: str
    source: str | None
    run_id: str | None
    state: State
    inputs: int
    tokens: int
    hold_id: uuid.UUID | None
    input_file: str | None
    remote_id: str | None
    files: tuple[str, ...]  # at the provider, to be deleted
    reads: int  # of its results, in which lines were missing
    message: str | None
    planned_at: datetime
    waits: bool  # it is not to be submitted yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A chunk in a batch."""

    content_hash: str
    line: int  # of the file, from 0
    position: int  # in that request, from 0
    tokens: int
    text: str


def lock(connection: sa.Connection, model: str) -> bool:
    """Be the only one who plans, submits and reads this model's batches until the transaction ends.

    False where another is. The lock goes with the connection, as a source's does.
    """
    return runs.lock_source(connection, f"batches/{model}")


def claimed(
    connection: sa.Connection, model: str, content_hashes: Collection[str]
) -> dict[str, int]:
    """How often each of those failed that were ever claimed and have no vector; -1: it is in a
    batch now.
    """
    rows = connection.execute(
        sa.text(
            "SELECT content_hash, CASE WHEN batch_id IS NULL THEN failures ELSE -1 END AS failures"
            " FROM sluice.claim WHERE model = :model AND content_hash = ANY(:hashes)"
        ),
        {"model": model, "hashes": [bytes.fromhex(each) for each in content_hashes]},
    )
    return {bytes(row.content_hash).hex(): row.failures for row in rows}


def plan(
    connection: sa.Connection,
    *,
    embedder: str,
    model: str,
    source: str | None,
    run_id: str | None,
    claims: Sequence[Claim],
) -> uuid.UUID:
    """Write down a batch and claim its chunks."""
    batch_id = uuid.uuid4()
    connection.execute(
        sa.text(
            """
            INSERT INTO sluice.batch
                (batch_id, embedder, model, source, run_id, state, inputs, tokens)
            VALUES (:batch_id, :embedder, :model, :source, :run_id, 'planned', :inputs, :tokens)
            """
        ),
        {
            "batch_id": batch_id,
            "embedder": embedder,
            "model": model,
            "source": source,
            "run_id": run_id,
            "inputs": len(claims),
            "tokens": sum(each.tokens for each in claims),
        },
    )
    connection.execute(
        sa.text(
            """
            INSERT INTO sluice.claim
                (model, content_hash, batch_id, line, position, tokens, text)
            VALUES (:model, :hash, :batch_id, :line, :position, :tokens, :text)
            ON CONFLICT (tenant_id, model, content_hash) DO UPDATE
                SET batch_id = :batch_id, line = :line, position = :position
            """
        ),
        [
            {
                "model": model,
                "hash": bytes.fromhex(each.content_hash),
                "batch_id": batch_id,
                "line": each.line,
                "position": each.position,
                "tokens": each.tokens,
                "text": each.text,
            }
            for each in claims
        ],
    )
    return batch_id


def live(connection: sa.Connection, model: str) -> list[Batch]:
    """Every batch that is not done, the oldest first."""
    rows = connection.execute(
        sa.text(
            """
            SELECT batch_id, embedder, model, source, run_id, state, inputs, tokens, hold_id,
                input_file, remote_id, files, reads, message, planned_at,
                coalesce(not_before > clock_timestamp(), false) AS waits
            FROM sluice.batch WHERE state <> 'done' AND model = :model ORDER BY planned_at, batch_id
            """
        ),
        {"model": model},
    )
    return [Batch(**{**row, "files": tuple(row["files"])}) for row in rows.mappings()]


def claims(connection: sa.Connection, batch_id: uuid.UUID) -> Iterator[Claim]:
    """The chunks of a batch that have no vector yet, in the order of its file."""
    rows = connection.execute(
        sa.text(
            "SELECT content_hash, line, position, tokens, text FROM sluice.claim"
            " WHERE batch_id = :batch_id ORDER BY line, position"
        ),
        {"batch_id": batch_id},
    )
    for row in rows:
        yield Claim(
            content_hash=bytes(row.content_hash).hex(),
            line=row.line,
            position=row.position,
            tokens=row.tokens,
            text=row.text,
        )


def reach(connection: sa.Connection, batch: Batch, wait: float | None) -> None:
    """Write down how far a batch is; it is not to be submitted for ``wait`` seconds."""
    connection.execute(
        sa.text(
            """
            UPDATE sluice.batch SET state = :state, hold_id = :hold_id, input_file = :input_file,
                remote_id = :remote_id, files = :files, reads = :reads, message = :message,
                not_before = clock_timestamp() + make_interval(secs => :wait),
                submitted_at = CASE WHEN :state = 'submitted' THEN now() ELSE submitted_at END,
                done_at = CASE WHEN :state = 'done' THEN now() END
            WHERE batch_id = :batch_id
            """
        ).bindparams(sa.bindparam("files", type_=sa.ARRAY(sa.Text))),
        {**asdict(batch), "files": list(batch.files), "wait": wait},
    )


def holding(
    connection: sa.Connection, model: str, content_hashes: Collection[str]
) -> set[uuid.UUID]:
    """The batches that some of these chunks are in."""
    rows = connection.execute(
        sa.text(
            "SELECT DISTINCT batch_id FROM sluice.claim WHERE model = :model"
            " AND content_hash = ANY(:hashes) AND batch_id IS NOT NULL"
        ),
        {"model": model, "hashes": [bytes.fromhex(each) for each in content_hashes]},
    )
    return set(rows.scalars())


def embedded(connection: sa.Connection, batch: Batch, content_hashes: Collection[str]) -> None:
    """Remove the claims of chunks that have a vector now, and count them."""
    connection.execute(
        sa.text("DELETE FROM sluice.claim WHERE model = :model AND content_hash = ANY(:hashes)"),
        {"model": batch.model, "hashes": [bytes.fromhex(each) for each in content_hashes]},
    )
    connection.execute(
        sa.text("UPDATE sluice.batch SET embedded = embedded + :new WHERE batch_id = :batch_id"),
        {"new": len(content_hashes), "batch_id": batch.batch_id},
    )


def embedded_by_run(connection: sa.Connection, run_id: str) -> int:
    """How many chunks got their vectors in batches that a run planned."""
    return int(
        connection.execute(
            sa.text("SELECT coalesce(sum(embedded), 0) FROM sluice.batch WHERE run_id = :run_id"),
            {"run_id": run_id},
        ).scalar_one()
    )


def failed(
    connection: sa.Connection, batch_id: uuid.UUID, message: str, line: int | None = None
) -> None:
    """Give up the claims of one line, or of all, and remember that they failed, and why."""
    connection.execute(
        sa.text(
            "UPDATE sluice.claim SET batch_id = NULL, failures = failures + 1, message = :message"
            " WHERE batch_id = :batch_id AND line = coalesce(:line, line)"
        ),
        {"batch_id": batch_id, "line": line, "message": message},
    )


def give_up(connection: sa.Connection, batch_id: uuid.UUID) -> None:
    """Let go of what a batch did not embed; chunks that failed by themselves are remembered."""
    chosen = {"batch_id": batch_id}
    connection.execute(
        sa.text("DELETE FROM sluice.claim WHERE batch_id = :batch_id AND failures = 0"), chosen
    )
    connection.execute(
        sa.text("UPDATE sluice.claim SET batch_id = NULL WHERE batch_id = :batch_id"), chosen
    )
