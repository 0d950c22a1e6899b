"""Versions of documents become chunks in one collection: embedded where no cache helps, verified.

Nothing here is visible to a reader. Every step may be killed and repeated: chunk ids are derived
from generation numbers, and vectors are kept as soon as they are paid for. A placement is written
last, so what has none is simply written again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from sluice.ports import Embedder, Index, Vectors

T = TypeVar("T")

TEXTS_A_CALL = 512  # bounds one call to the embedder
PAUSES = (0.2, 1.0, 3.0)  # seconds between counts: the replica that counts may be a moment late


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

    def __add__(self, other: Written) -> Written:
        return Written(chunks=self.chunks + other.chunks, embedded=self.embedded + other.embedded)


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
            parts = [part for _, chunks in chunked for part in chunks]
            vectors, fresh = embedded(self._catalog, self._to.embedder, parts, progress)
        with progress.stage("index"):
            rows = [
                indexed(self._catalog.tenant, version, part, vectors[part.content_hash])
                for version, chunks in chunked
                for part in chunks
            ]
            self._to.index.upsert(rows)
            progress.reached("index: written")
            self._verify({each.generation: len(chunks) for each, chunks in chunked})
        return Written(chunks=len(rows), embedded=len(fresh))

    def _verify(self, written: Mapping[int, int]) -> None:
        """Count what was written; remove again what was collected meanwhile."""
        wrong = self._wrong(written)
        for pause in PAUSES:
            if not wrong:
                break
            time.sleep(pause)
            wrong = self._wrong({each: written[each] for each in wrong})
        for generation, found in wrong.items():
            raise IndexUnavailable(
                f"{found} of {written[generation]} chunks are there after writing",
                subject=f"{self._to.collection.name}, generation {generation}",
                cure="Nothing of it is visible; run this again",
            )
        with self._catalog.begin() as connection:
            placed = placements.place(connection, self._to.collection.collection_id, written)
        self._progress.reached("index: placed")
        self._to.index.delete(written.keys() - placed)

    def _wrong(self, written: Mapping[int, int]) -> dict[int, int]:
        """The generations of which another number of chunks is there, with that number.

        One that was replaced meanwhile, and perhaps collected, is nobody's concern any more.
        """
        wrong = miscounted(self._to.index, written)
        if not wrong:
            return wrong
        with self._catalog.begin() as connection:
            wanted = placements.wanted(connection, wrong)
        return {each: wrong[each] for each in wanted}


def miscounted(index: Index, expected: Mapping[int, int]) -> dict[int, int]:
    """The generations of which ``index`` holds another number of chunks, with that number."""
    found = index.count(expected)
    return {each: found[each] for each, chunks in expected.items() if found[each] != chunks}


def divide(document: Document, embedder: Embedder) -> list[Chunk]:
    """The chunks of a document, sized for ``embedder``."""
    return chunk(document.title, document.text, embedder)


def embedded(
    catalog: Catalog, embedder: Embedder, chunks: Sequence[Chunk], progress: Progress
) -> tuple[dict[str, Vectors], frozenset[str]]:
    """A vector for every content hash of ``chunks``, and those hashes of which no cache held one.

    What is embedded is in the cache before the next is.
    """
    texts = {each.content_hash: each.searched for each in chunks}
    with catalog.begin() as connection:
        vectors = embeddings.lookup(connection, embedder.model, list(texts))
    missing = [each for each in texts if each not in vectors]
    for hashes in batches(missing, TEXTS_A_CALL):
        rows = embedder.embed([texts[each] for each in hashes])
        fresh = dict(zip(hashes, rows, strict=True))
        with catalog.begin() as connection:
            embeddings.store(connection, embedder.model, fresh)
        vectors |= fresh
        progress.reached("embed: stored")
    return vectors, frozenset(missing)


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


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """``items`` in lists of at most ``size``."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
