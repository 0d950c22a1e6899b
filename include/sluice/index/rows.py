"""A chunk as a row: the columns, and the way there and back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sluice.errors import BadInput, IndexUnavailable
from sluice.model import Candidate, IndexedChunk

VERSION = 1  # of the columns
SHOWN = ["document_id", "generation", "acl_id", "ordinal", "path", "text"]
FOREIGN = "Move the folder away and ingest again"
ABSENT = "Ingest a source first: that makes the index"
QUERY_TERMS = 512  # the most terms of one question; the rest of a longer one is left out
TIES = 16  # fetched beyond the limit, so that ties at the cut are broken by us


def schema(model: str, dimensions: int) -> pa.Schema:
    """The columns of a table of chunks whose vectors are of ``model``."""
    key = {"lance-schema:unenforced-primary-key": "true"}  # or concurrent merges write doubles
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False, metadata=key),
            pa.field("document_id", pa.string(), nullable=False),
            pa.field("generation", pa.int64(), nullable=False),
            pa.field("acl_id", pa.int64(), nullable=False),
            pa.field("ordinal", pa.int32(), nullable=False),
            pa.field("path", pa.list_(pa.string()), nullable=False),
            pa.field("text", pa.string(), nullable=False),
            pa.field("terms", pa.string(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), dimensions), nullable=False),
        ],
        metadata={"sluice:model": model},
    )


def require(ours: pa.Schema, theirs: pa.Schema, path: Path) -> None:
    """Refuse a table that another program, release or model made.

    Raises:
        IndexUnavailable: the columns or the model are not ours.
    """
    if not theirs.equals(ours) or (theirs.metadata or {}) != ours.metadata:
        raise IndexUnavailable(
            "the table was not made by this release for this model", subject=str(path), cure=FOREIGN
        )


def table(chunks: Sequence[IndexedChunk], columns: pa.Schema, tenant: str) -> pa.Table:
    """One row per chunk id; of two chunks with one id the last counts.

    Raises:
        BadInput: a chunk is not of ``tenant``, a text is not Unicode, a number too large, or a
            vector of another length.
    """
    if any(chunk.tenant != tenant for chunk in chunks):
        raise BadInput("a chunk belongs to another tenant", subject=tenant)
    unique = {chunk.id: chunk for chunk in chunks}.values()
    content = {name: [getattr(chunk, name) for chunk in unique] for name in columns.names}
    content["vector"] = [np.asarray(vector, np.float32) for vector in content["vector"]]
    try:
        return pa.table(content, schema=columns)
    except (pa.ArrowException, UnicodeError, OverflowError) as error:
        raise BadInput(str(error).splitlines()[0], subject="a chunk to index") from None


def candidate(row: Mapping[str, Any]) -> Candidate:
    """What a search shows of a row."""
    shown = {name: row[name] for name in SHOWN}
    return Candidate(**{**shown, "path": tuple(row["path"])})


def best(found: Iterable[tuple[float, Mapping[str, Any]]], limit: int) -> list[Candidate]:
    """The ``limit`` rows of the lowest rank; equal ones by document and ordinal, in every store."""
    ranked = sorted(found, key=lambda each: (each[0], each[1]["document_id"], each[1]["ordinal"]))
    return [candidate(row) for _, row in ranked[:limit]]


def batches(numbers: Collection[int], size: int) -> Iterator[list[int]]:
    """``numbers`` in order, each once, ``size`` at a time."""
    ordered = sorted({int(number) for number in numbers})
    return (ordered[i : i + size] for i in range(0, len(ordered), size))


def chunk(row: Mapping[str, Any], tenant: str) -> IndexedChunk:
    """The chunk that ``row`` holds."""
    shown = {name: row[name] for name in (*SHOWN, "terms")}
    vector = np.asarray(row["vector"], np.float32)
    return IndexedChunk(**{**shown, "path": tuple(row["path"])}, tenant=tenant, vector=vector)
