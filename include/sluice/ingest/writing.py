"""Versions of documents become chunks in one collection: embedded where no cache helps, verified.

Nothing here is visible to a reader. Every step may be killed and repeated: chunk ids are derived
from generation numbers, and vectors are kept as soon as they are paid for. A placement is written
last, so what has none is simply written again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from sluice.catalog import Catalog, embeddings, placements, runs
from sluice.chunking import chunk
from sluice.collections import Opened
from sluice.errors import IndexUnavailable, PlacementRefused
from sluice.index.analysis import analyse
from sluice.ingest.progress import Progress
from sluice.metering import Metered
from sluice.model import Account, Chunk, Document, IndexedChunk
from sluice.ports import Embedder, Index, Vectors

T = TypeVar("T")
Found = dict[str, Vectors]  # by content hash

TEXTS_A_CALL = 512  # bounds one call to the embedder
_AWAIT = 0.2  # seconds until another run's vectors are looked for again
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

    def __init__(self, catalog: Catalog, to: Opened, progress: Progress, run_id: str):
        """``run_id`` is the run that pays for what is embedded."""
        self._catalog = catalog
        self._to = to
        self._progress = progress
        self._run_id = run_id

    def write(self, versions: Sequence[Version]) -> Written:
        """Write every chunk of ``versions``, prove that each is whole, and note that it is there.

        Raises:
            IndexUnavailable: the index holds another number of chunks than was written.
            EmbeddingError, BudgetExhausted: there is no vector for some of them.
        """
        progress = self._progress
        with progress.stage("chunk"):
            chunked = [(each, divide(each.document, self._to.embedder)) for each in versions]
            with self._catalog.begin() as connection:
                embeddings.link(
                    connection,
                    {
                        each.generation: [part.content_hash for part in chunks]
                        for each, chunks in chunked
                    },
                )
        with progress.stage("embed"):
            vectors, fresh = self._embedded(chunked)
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

    def _embedded(
        self, chunked: Sequence[tuple[Version, list[Chunk]]]
    ) -> tuple[dict[str, Vectors], frozenset[str]]:
        """Every chunk's vector; each source pays for its own, and says where its texts may go."""
        vectors, fresh = dict[str, Vectors](), frozenset[str]()
        parts: dict[str, list[Chunk]] = {}
        for version, chunks in chunked:
            parts.setdefault(version.document.source, []).extend(chunks)
        for source, some in parts.items():
            account = Account(source=source, run_id=self._run_id)
            found, new = embedded(
                self._catalog, self._to.embedder, some, self._progress, account=account
            )
            vectors |= found
            fresh |= new
        return vectors, fresh

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
    catalog: Catalog,
    embedder: Embedder,
    chunks: Sequence[Chunk],
    progress: Progress,
    *,
    account: Account,
) -> tuple[dict[str, Vectors], frozenset[str]]:
    """A vector for every content hash of ``chunks``, and those hashes of which no cache held one.

    What is embedded is in the cache before the next is, and paid by ``account``.

    Raises:
        PlacementRefused: the source of ``account`` may not be sent to where ``embedder`` is.
        EmbedderUnavailable, EmbedderRefused: there is no vector for some of them.
        BudgetExhausted: they would cost more than somebody allowed.
    """
    place(catalog, embedder, account.source)
    texts = {each.content_hash: each.searched for each in chunks}
    with catalog.begin() as connection:
        vectors = embeddings.lookup(connection, embedder.model, list(texts))
    missing = [each for each in texts if each not in vectors]
    meter, fresh = Metered(catalog, account), set[str]()

    def embed(hashes: Sequence[str]) -> dict[str, Vectors]:
        rows = embedder.embed([texts[each] for each in hashes], meter)
        found = dict(zip(hashes, rows, strict=True))
        with catalog.begin() as connection:
            embeddings.store(connection, embedder.model, found)
        fresh.update(found)
        progress.reached("embed: stored")
        return found

    work = embed if embedder.host is None else _each_once(catalog, embedder, account, embed)
    for found in _side_by_side(work, batches(missing, TEXTS_A_CALL), embedder.parallel):
        vectors |= found
    return vectors, frozenset(fresh)


def _each_once(
    catalog: Catalog, embedder: Embedder, account: Account, embed: Callable[[list[str]], Found]
) -> Callable[[list[str]], Found]:
    """As ``embed``, which costs money; what another run is embedding at this moment is awaited."""
    model, run_id = embedder.model, account.run_id or ""

    def work(hashes: list[str]) -> Found:
        left, found = set(hashes), Found()
        while left:
            with catalog.begin() as connection:
                mine = embeddings.take(connection, model, left, run_id)
                known = embeddings.lookup(connection, model, list(left))  # stored meanwhile
            found |= known
            try:
                if wanted := sorted(mine - known.keys()):
                    found |= embed(wanted)
            finally:
                with catalog.begin() as connection:
                    embeddings.leave(connection, model, mine, run_id)
            left -= found.keys()
            if left:
                time.sleep(_AWAIT)
        return found

    return work


def place(catalog: Catalog, embedder: Embedder, source: str | None) -> None:
    """Return if the texts of ``source`` may be sent to where ``embedder`` is.

    Raises:
        PlacementRefused: they may not: it is sensitive, or nobody knows whether it is.
    """
    if embedder.host is None:
        return
    with catalog.begin() as connection:
        machines = runs.machines(connection, source) if source else frozenset[str]()
    if machines is not None and embedder.host not in machines:
        named = ", ".join(sorted(machines)) or "no other machine"
        raise PlacementRefused(
            f"it is sensitive: its texts go to {named}, and {embedder.model} is on {embedder.host}",
            subject=source,
            cure="Embed with a model that runs here (local-static), or name that machine in the "
            "policy of its DAG file",
        )


def _side_by_side(
    work: Callable[[list[str]], T], items: Iterable[list[str]], most: int
) -> Iterator[T]:
    """What ``work`` makes of each item, ``most`` at a time; a failure is the end of it."""
    if most == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(most) as pool:
        try:
            for done in as_completed([pool.submit(work, each) for each in items]):
                yield done.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


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
