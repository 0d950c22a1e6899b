"""A chunk as an object of Weaviate, the way back, and the filters by which chunks are chosen."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from weaviate.classes.data import DataObject
from weaviate.classes.query import Filter

from sluice.errors import BadInput
from sluice.index import rows
from sluice.index.weaviate_schema import VECTOR
from sluice.model import IndexedChunk

EXACT = 2**53  # numbers travel and are kept as 64-bit floats: beyond it two of them look alike


def objects(
    chunks: Sequence[IndexedChunk], columns: pa.Schema, tenant: str
) -> list[DataObject[Any, Any]]:
    """One object per chunk id; of two chunks with one id the last counts.

    Raises:
        BadInput: a number is beyond :data:`EXACT`, or what :func:`rows.table` refuses.
    """
    table = rows.table(chunks, columns, tenant)
    for name in ("generation", "acl_id"):
        if any(abs(number) > EXACT for number in table[name].to_pylist()):
            raise BadInput(f"a {name} beyond 2^53", subject="a chunk to index")
    vectors = table["vector"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
    properties = table.drop_columns(["id", "vector"]).to_pylist()
    return [
        DataObject(uuid=uuid, properties=each, vector={VECTOR: vector})
        for uuid, each, vector in zip(
            table["id"].to_pylist(), properties, vectors.tolist(), strict=True
        )
    ]


def row(found: Any) -> dict[str, Any]:
    """The properties of an object as a row; Weaviate keeps no empty list."""
    return {**found.properties, "path": found.properties.get("path") or ()}


def chunk(found: Any, tenant: str) -> IndexedChunk:
    """The chunk that an object holds, which was fetched whole."""
    return rows.chunk(row(found) | {"vector": found.vector[VECTOR]}, tenant)


def within(name: str, numbers: Collection[int]) -> Any:
    """The filter that ``name`` is one of ``numbers``. ``int`` lets nothing but integers through."""
    return Filter.by_property(name).contains_any(sorted({int(number) for number in numbers}))


def portions(counts: Mapping[int, int], size: int) -> Iterator[tuple[Any, int]]:
    """Filters that part the chunks of generations, and how many chunks each one lets through.

    Small generations go together; one of more than ``size`` chunks is parted by its ordinals, which
    have no gap.
    """
    together: list[int] = []
    held = 0
    for generation, chunks in counts.items():
        if together and held + chunks > size:
            yield within("generation", together), held
            together, held = [], 0
        if chunks > size:
            yield from _parts(generation, chunks, size)
        elif chunks:
            together.append(generation)
            held += chunks
    if together:
        yield within("generation", together), held


def _parts(generation: int, chunks: int, size: int) -> Iterator[tuple[Any, int]]:
    ordinal = Filter.by_property("ordinal")
    for first in range(0, chunks, size):
        part = ordinal.greater_or_equal(first) & ordinal.less_than(first + size)
        yield within("generation", [generation]) & part, min(size, chunks - first)
