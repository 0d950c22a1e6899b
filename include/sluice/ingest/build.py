"""Documents become generations in the index: chunked, embedded where no cache helps, verified.

Nothing here is visible to a reader: generations stay ``building`` until the flip. Every step may be
killed and repeated: numbers are registered before the index hears of them, chunk ids are derived
from them, and vectors are kept as soon as they are paid for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

from sluice.catalog import Catalog, documents, embeddings
from sluice.chunking import CHUNKER, chunk
from sluice.errors import IndexUnavailable
from sluice.index.analysis import analyse
from sluice.ingest.plan import Build
from sluice.ingest.progress import Progress
from sluice.model import Chunk, Document, IndexedChunk
from sluice.ports import Embedder, Index, Vectors

T = TypeVar("T")

TEXTS_A_CALL = 512  # bounds one call to the embedder


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What building did: the new generations and what they cost."""

    generations: tuple[int, ...] = ()
    chunks: int = 0
    embedded: int = 0

    def __add__(self, other: Built) -> Built:
        return Built(
            generations=self.generations + other.generations,
            chunks=self.chunks + other.chunks,
            embedded=self.embedded + other.embedded,
        )


def recipe(embedder: Embedder) -> str:
    """Name what turns a document into chunks and vectors; another recipe means building anew."""
    return f"{CHUNKER}/{embedder.model}"


class Builder:
    """Writes generations for one run."""

    def __init__(
        self,
        catalog: Catalog,
        index: Index,
        embedder: Embedder,
        *,
        run_id: str,
        batch: int,
        progress: Progress,
    ):
        self._catalog = catalog
        self._index = index
        self._embedder = embedder
        self._run_id = run_id
        self._size = batch
        self._progress = progress

    def build(self, builds: Sequence[Build], acl_ids: dict[str, int]) -> Built:
        """Write a generation for each of ``builds``, in batches, and prove that each is whole.

        Raises:
            IndexUnavailable: the index holds another number of chunks than was written.
        """
        built = Built()
        for batch in _batches(builds, self._size):
            built += self._batch(batch, acl_ids)
        return built

    def _batch(self, batch: Sequence[Build], acl_ids: dict[str, int]) -> Built:
        progress = self._progress
        with progress.stage("chunk"):
            chunked = [(each, self._chunks(each)) for each in self._documents(batch)]
        with progress.stage("embed"):
            vectors, embedded = self._embed([c for _, chunks in chunked for c in chunks])
        with progress.stage("index"):
            with self._catalog.begin() as connection:
                numbers = documents.allocate(connection, len(chunked))
                building = [
                    documents.Building(
                        generation=number, document=document, chunk_count=len(chunks)
                    )
                    for number, (document, chunks) in zip(numbers, chunked, strict=True)
                ]
                documents.register(connection, self._run_id, recipe(self._embedder), building)
            progress.reached("index: registered")
            rows = [
                self._indexed(each, part, acl_ids[each.document.acl_key], vectors)
                for each, (_, chunks) in zip(building, chunked, strict=True)
                for part in chunks
            ]
            self._index.upsert(rows)
            progress.reached("index: written")
            self._verify(building)
        return Built(generations=tuple(numbers), chunks=len(rows), embedded=embedded)

    def _documents(self, batch: Sequence[Build]) -> list[Document]:
        """The documents to build; those that were not read again come from the catalog."""
        absent = [each.document_id for each in batch if each.document is None]
        with self._catalog.begin() as connection:
            stored = documents.stored(connection, absent)
        return [
            each.document
            if each.document is not None
            else replace(stored[each.document_id], acl_key=each.acl_key)
            for each in batch
        ]

    def _chunks(self, document: Document) -> list[Chunk]:
        return chunk(document.title, document.text, self._embedder)

    def _embed(self, chunks: Sequence[Chunk]) -> tuple[dict[str, Vectors], int]:
        """A vector for every content hash, and how many of them no cache held."""
        texts = {each.content_hash: each.searched for each in chunks}
        with self._catalog.begin() as connection:
            vectors = embeddings.lookup(connection, self._embedder.model, list(texts))
        missing = [each for each in texts if each not in vectors]
        for hashes in _batches(missing, TEXTS_A_CALL):
            rows = self._embedder.embed([texts[each] for each in hashes])
            fresh = dict(zip(hashes, rows, strict=True))
            with self._catalog.begin() as connection:
                embeddings.store(connection, self._embedder.model, fresh)
            vectors |= fresh
            self._progress.reached("embed: stored")
        return vectors, len(missing)

    def _indexed(
        self,
        building: documents.Building,
        part: Chunk,
        acl_id: int,
        vectors: dict[str, Vectors],
    ) -> IndexedChunk:
        return IndexedChunk(
            tenant=self._catalog.tenant,
            document_id=building.document.id,
            generation=building.generation,
            acl_id=acl_id,
            ordinal=part.ordinal,
            path=part.path,
            text=part.text,
            terms=analyse(part.searched),
            vector=vectors[part.content_hash],
        )

    def _verify(self, building: Sequence[documents.Building]) -> None:
        counts = self._index.count([each.generation for each in building])
        for each in building:
            found = counts.get(each.generation, 0)
            if found != each.chunk_count:
                raise IndexUnavailable(
                    f"{found} of {each.chunk_count} chunks are there after writing",
                    subject=each.document.id,
                    cure="Nothing of it is visible; run the source again",
                )


def _batches(items: Sequence[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
