"""Versions of documents become chunks in one collection: embedded where no cache helps, verified.

Nothing here is visible to a reader. Every step may be killed and repeated: chunk ids are derived
from generation numbers, and vectors are kept as soon as they are paid for. A placement is written
last, so what has none is simply written again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from sluice.catalog import Catalog, embeddings, placements
from sluice.chunking import chunk
from sluice.collections import Opened
from sluice.errors import IndexUnavailable
from sluice.index.analysis import analyse
from sluice.ingest.progress import Progress
from sluice.model import Chunk, Document, IndexedChunk
from sluice.ports import Embedder, Vectors

T = TypeVar("T")

TEXTS_A_CALL = 512  # bounds one call to the embedder


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A generation of a document, to be written."""

    generation: int
    document: Document
    acl_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """How many chunks were written, and for how many of them no cache held a vector."""

    chunks: int = 0
    embedded: int = 0


class Writer:
    """Writes versions into one collection."""

    def __init__(self, catalog: Catalog, to: Opened, progress: Progress):
        self._catalog = catalog
        self._to = to
        self._progress = progress

    def write(self, versions: Sequence[Version]) -> Written:
        """Write every chunk of ``versions``, prove that each is whole, and note that it is there.

        Raises:
            IndexUnavailable: the index holds another number of chunks than was written.
        """
        progress = self._progress
        with progress.stage("chunk"):
            chunked = [(each, divide(each.document, self._to.embedder)) for each in versions]
        with progress.stage("embed"):
            vectors, embedded = self._embed([c for _, chunks in chunked for c in chunks])
        with progress.stage("index"):
            rows = [
                indexed(self._catalog.tenant, version, part, vectors[part.content_hash])
                for version, chunks in chunked
                for part in chunks
            ]
            self._to.index.upsert(rows)
            progress.reached("index: written")
            self._verify({each.generation: len(chunks) for each, chunks in chunked})
        return Written(chunks=len(rows), embedded=embedded)

    def _embed(self, chunks: Sequence[Chunk]) -> tuple[dict[str, Vectors], int]:
        """A vector for every content hash, and how many of them no cache held."""
        embedder = self._to.embedder
        texts = {each.content_hash: each.searched for each in chunks}
        with self._catalog.begin() as connection:
            vectors = embeddings.lookup(connection, embedder.model, list(texts))
        missing = [each for each in texts if each not in vectors]
        for hashes in batches(missing, TEXTS_A_CALL):
            rows = embedder.embed([texts[each] for each in hashes])
            fresh = dict(zip(hashes, rows, strict=True))
            with self._catalog.begin() as connection:
                embeddings.store(connection, embedder.model, fresh)
            vectors |= fresh
            self._progress.reached("embed: stored")
        return vectors, len(missing)

    def _verify(self, written: Mapping[int, int]) -> None:
        """Count what was written; remove again what was collected meanwhile."""
        found = self._to.index.count(list(written))
        for generation, chunks in written.items():
            if found.get(generation, 0) != chunks:
                raise IndexUnavailable(
                    f"{found.get(generation, 0)} of {chunks} chunks are there after writing",
                    subject=f"{self._to.collection.name}, generation {generation}",
                    cure="Nothing of it is visible; run this again",
                )
        with self._catalog.begin() as connection:
            placed = placements.place(connection, self._to.collection.collection_id, written)
        self._progress.reached("index: placed")
        self._to.index.delete(written.keys() - placed)


def divide(document: Document, embedder: Embedder) -> list[Chunk]:
    """The chunks of a document, sized for ``embedder``."""
    return chunk(document.title, document.text, embedder)


def indexed(tenant: str, version: Version, part: Chunk, vector: Vectors) -> IndexedChunk:
    """A chunk as the index is to hold it."""
    return IndexedChunk(
        tenant=tenant,
        document_id=version.document.id,
        generation=version.generation,
        acl_id=version.acl_id,
        ordinal=part.ordinal,
        path=part.path,
        text=part.text,
        terms=analyse(part.searched),
        vector=vector,
    )


def batches(items: Sequence[T], size: int) -> Iterator[list[T]]:
    """``items`` in lists of at most ``size``."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
