"""What it will take to fill a collection, before it is begun: told from a random sample.

The documents of the sample are really divided, and embedded where that is free: their vectors are
kept, so nothing of it is done twice. A provider is asked for nothing: its tokens are counted here.
Chunks, tokens and time are taken to grow with the length of a text; how far that is off is told
from how far it is off in the sample.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from sluice.catalog import Catalog, embeddings, placements, samples
from sluice.embedding import open_embedder
from sluice.ingest.filling import versions
from sluice.ingest.progress import Progress
from sluice.ingest.writing import batches, divide, embedded
from sluice.model import Account, Backend, Chunk, Document
from sluice.model import Collection as Target
from sluice.ports import Embedder
from sluice.settings import Settings

_SAMPLE = 200  # documents at most
_FEWEST = 20  # documents at least, however long they take
_SECONDS = 10.0  # that the sample may take beyond those
_SURE = 1.96  # standard errors on either side that hold the truth in 95 of 100 cases
_WRITTEN = {"lance": 5_000, "weaviate": 300}  # chunks a second, as seen on two busy cores


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number, and how far from it the true one may be (in 95 of 100 cases)."""

    value: float
    error: float

    def times(self, factor: float) -> Estimate:
        """The same in another unit."""
        return Estimate(value=self.value * factor, error=self.error * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What filling a collection takes."""

    backend: Backend
    embedder: str
    collection_id: int | None  # None: it is not made yet
    documents: int  # that it lacks
    sampled: int  # documents from which the rest is told
    chunks: Estimate
    cached: Estimate  # chunks whose vectors are there already
    tokens: Estimate  # to be embedded
    seconds: Estimate
    dollars: Estimate
    vector_bytes: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """One document of the sample."""

    characters: int
    chunks: int
    cached: int
    tokens: int  # of what no cache held
    seconds: float


def forecast(catalog: Catalog, wanted: Settings, target: Target | None) -> Forecast:
    """What filling ``target``, or a collection as ``wanted`` describes it, will take.

    Raises:
        ConfigurationError: there is no such embedder.
    """
    embedder = open_embedder(wanted.embedder, wanted.endpoints)
    chosen = target.collection_id if target is not None else 0
    with catalog.begin() as connection:
        documents = placements.lacking(connection, chosen)
        characters = samples.characters_lacking(connection, chosen)
        drawn = samples.some_missing(connection, chosen, _SAMPLE)
    seen = _sample(catalog, embedder, drawn)

    def grown(measure: Callable[[_Seen], float]) -> Estimate:
        return extrapolate(
            [(each.characters, measure(each)) for each in seen], documents, characters
        )

    chunks, tokens = grown(lambda each: each.chunks), grown(lambda each: each.tokens)
    written = chunks.times(1 / _WRITTEN[wanted.index])
    embedded = grown(lambda each: each.seconds)
    price = float(embedder.dollars(1_000_000)) / 1e6
    return Forecast(
        backend=wanted.index,
        embedder=wanted.embedder,
        collection_id=target.collection_id if target is not None else None,
        documents=documents,
        sampled=len(seen),
        chunks=chunks,
        cached=grown(lambda each: each.cached),
        tokens=tokens,
        seconds=Estimate(
            value=embedded.value + written.value, error=embedded.error + written.error
        ),
        dollars=tokens.times(price),
        vector_bytes=chunks.times(4 * embedder.dimensions),
    )


def _sample(catalog: Catalog, embedder: Embedder, drawn: Sequence[int]) -> list[_Seen]:
    """Divide and embed the drawn generations, fewer of them where that takes long."""
    seen: list[_Seen] = []
    until = time.monotonic() + _SECONDS
    for some in batches(drawn, _FEWEST):
        if time.monotonic() > until:
            break
        with catalog.begin() as connection:
            documents = [each.document for each in versions(connection, some)]
        began = time.monotonic()
        divided = [divide(each, embedder) for each in documents]
        fresh = _fresh(catalog, embedder, [c for each in divided for c in each])
        spent = (time.monotonic() - began) / max(sum(map(_length, documents)), 1)
        for document, chunks in zip(documents, divided, strict=True):
            paid = {each.content_hash: each.searched for each in chunks}
            seen.append(
                _Seen(
                    characters=_length(document),
                    chunks=len(chunks),
                    cached=sum(1 for each in chunks if each.content_hash not in fresh),
                    tokens=sum(embedder.count_tokens(paid[each]) for each in fresh & paid.keys()),
                    seconds=spent * _length(document),
                )
            )
    return seen


def _fresh(catalog: Catalog, embedder: Embedder, chunks: Sequence[Chunk]) -> Collection[str]:
    """The content hashes of which no cache holds a vector; embedded by now where that is free."""
    if embedder.host is None:
        return embedded(catalog, embedder, chunks, Progress(), account=Account())[1]
    hashes = {each.content_hash for each in chunks}
    with catalog.begin() as connection:
        return hashes - embeddings.known(connection, embedder.model, hashes)


def _length(document: Document) -> int:
    return len(document.title) + len(document.text)


def extrapolate(
    sample: Sequence[tuple[float, float]], documents: int, characters: float
) -> Estimate:
    """The sum of y over all documents, from (x, y) of some, where y grows with x.

    A ratio estimate: Cochran, "Sampling Techniques", 3rd edition, 1977, chapter 6.

    Args:
        sample: x and y of documents drawn by chance.
        documents: how many there are in all.
        characters: the sum of x over all.
    """
    drawn, seen = len(sample), sum(x for x, _ in sample)
    if not seen:
        return Estimate(value=0.0, error=0.0)
    ratio = sum(y for _, y in sample) / seen
    if drawn >= documents:
        return Estimate(value=ratio * seen, error=0.0)
    off = sum((y - ratio * x) ** 2 for x, y in sample) / max(drawn - 1, 1)
    spread = documents * math.sqrt((1 - drawn / documents) * off / drawn)
    return Estimate(value=ratio * characters, error=_SURE * spread)
