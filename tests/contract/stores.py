"""The stores that the contract is tested over, and what tests put into them.

Another store plugs in here: one function that opens it, and its name in :data:`OPEN`. Everything
in this file can be handed to another process.
"""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Collection as Rows
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from sluice.model import Candidate, Collection, IndexedChunk
from sluice.ports import Index, Vectors
from sluice.settings import Settings

MODEL, DIMENSIONS = "model-of-tests", 8
K1, B = 1.2, 0.75  # every store's BM25 has these
SPAWN = multiprocessing.get_context("spawn")  # a client of a store does not survive a fork


@dataclass(frozen=True, slots=True)
class Store:
    """Where one index lives; :meth:`open` is what another process does to reach it."""

    name: str
    path: Path
    url: str | None = None  # of a server that holds it
    grpc: str | None = None

    def open(self, tenant: str = "main") -> Index:
        """Return a client of its own, with nothing shared."""
        return OPEN[self.name](self, tenant)

    def made(self, tenant: str = "main") -> Index:
        """Return a client of a store that exists."""
        index = self.open(tenant)
        index.ensure()
        return index

    @property
    def commits(self) -> bool:
        """Whether a write is seen whole or not at all; elsewhere counting stands in for it."""
        return self.name == "lance"

    @property
    def folds(self) -> bool:
        """Whether a fold makes BM25's weights exact; elsewhere the store sees to it in time."""
        return self.name == "lance"

    def beside(self, name: str) -> Store:
        """Another place of the same kind."""
        return replace(self, path=self.path / name)


def _lance(store: Store, tenant: str) -> Index:
    from sluice.index.lance import LanceIndex  # seconds of imports, in every process

    return LanceIndex(store.path, name="chunks", model=MODEL, dimensions=DIMENSIONS, tenant=tenant)


def _weaviate(store: Store, tenant: str) -> Index:
    from sluice.index.weaviate import open_weaviate

    settings = Settings(tenant=tenant, weaviate_url=store.url, weaviate_grpc=store.grpc)
    place = hashlib.sha256(f"{store.path}/{tenant}".encode()).hexdigest()[:16]
    return open_weaviate(settings, collection(f"Sluice_{place}"))


OPEN: dict[str, Callable[[Store, str], Index]] = {"lance": _lance, "weaviate": _weaviate}


def collection(name: str, dimensions: int = DIMENSIONS, model: str = MODEL) -> Collection:
    """A collection of Weaviate, as the catalog knows it."""
    return Collection(
        collection_id=1,
        backend="weaviate",
        name=name,
        embedder="of tests",
        model=model,
        dimensions=dimensions,
        recipe="",
        state="serving",
    )


def row(
    document: str = "d",
    generation: int = 1,
    ordinal: int = 0,
    acl: int = 1,
    terms: str = "alpha",
    vector: Sequence[float] | Vectors | None = None,
    text: str = "Text.",
    tenant: str = "main",
) -> IndexedChunk:
    """A chunk as the index holds it."""
    return IndexedChunk(
        tenant=tenant,
        document_id=document,
        generation=generation,
        acl_id=acl,
        ordinal=ordinal,
        path=("Title", "Heading"),
        text=text,
        terms=terms,
        vector=np.asarray(
            _somewhere(document, generation, ordinal) if vector is None else vector, np.float32
        ),
    )


def _somewhere(*what: object) -> Vectors:
    """A vector for each chunk: thousands in one spot would make a slow graph for no good reason."""
    return unit(1, zlib.crc32(repr(what).encode()))[0]


def generation_of(number: int, size: int, document: str = "d", acl: int = 1) -> list[IndexedChunk]:
    """All ``size`` chunks of one generation."""
    return [row(document, number, ordinal, acl) for ordinal in range(size)]


def unit(count: int, seed: int, dimensions: int = DIMENSIONS) -> Vectors:
    """Random unit vectors, shape ``(count, dimensions)``."""
    vectors = np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


Key = tuple[str, int, int]  # document, generation, ordinal


def keys(found: Iterable[Candidate | IndexedChunk]) -> list[Key]:
    """What names each chunk, in order."""
    return [(each.document_id, each.generation, each.ordinal) for each in found]


def bm25(rows: Rows[IndexedChunk], question: str) -> dict[Key, float]:
    """The BM25 score of every chunk that has a term of ``question``, by brute force."""
    words = {key: each.terms.split() for key, each in zip(keys(rows), rows, strict=True)}
    average = sum(map(len, words.values())) / max(1, len(words))
    scores: dict[Key, float] = {}
    for term in question.split():
        holding = sum(term in has for has in words.values())
        rarity = math.log(1 + (len(words) - holding + 0.5) / (holding + 0.5))
        for key, has in words.items():
            if times := Counter(has)[term]:
                length = 1 - B + B * len(has) / average
                weight = times * (K1 + 1) / (times + K1 * length)
                scores[key] = scores.get(key, 0.0) + rarity * weight
    return scores


def similarity(rows: Rows[IndexedChunk], vector: Vectors) -> dict[Key, float]:
    """The cosine of every chunk with ``vector``, by brute force."""
    return {key: float(each.vector @ vector) for key, each in zip(keys(rows), rows, strict=True)}


def assert_best(
    found: Sequence[Candidate], scores: dict[Key, float], limit: int, tolerance: float = 1e-5
) -> None:
    """Assert that ``found`` are the ``limit`` best of ``scores``, in order, ties apart."""
    ranked = keys(found)
    assert len(ranked) == len(set(ranked)) == min(limit, len(scores))
    assert set(ranked) <= scores.keys()
    values = [scores[key] for key in ranked]
    best = sorted(scores.values(), reverse=True)[: len(values)]
    assert values == pytest.approx(best, rel=tolerance, abs=1e-5)


# What other processes do. Each takes only what can be pickled.


def write(store: Store, generations: Sequence[int], size: int, document: str = "d") -> None:
    """Write these generations, one call each."""
    index = store.open()
    for number in generations:
        index.upsert(generation_of(number, size, document))


def delete(store: Store, generations: Sequence[int]) -> None:
    """Delete these generations."""
    store.open().delete(generations)


def write_on(store: Store, first: int, size: int) -> None:
    """Write generation after generation, with a fold after each, until killed."""
    index = store.open()
    while True:
        index.upsert(generation_of(first, size))
        first += 1
        index.optimize()
