"""The index where one machine is outgrown: a Weaviate server or cluster.

What is exact here and what is not:

* Filters are applied before ranking, in both searches.
* A permitted set of fewer than ``weaviate_schema.flat_cutoff`` chunks (in each shard) is compared
  with the question one by one. Compressed vectors find its nearest 256, which are ranked again by
  full ones. Above the cutoff ACORN walks the graph: very good, not exact.
* BM25 finds every permitted match at once. Each shard weighs by statistics of its own, in which the
  mean length of a chunk counts deleted ones until Weaviate merges its files.

Weaviate has no transaction over several objects: a write that dies leaves some of its chunks, and a
replica may lag behind another. What stands in for "one commit" is above the index. A generation is
live only after its chunks were counted, so nobody is shown a part of one; ids are deterministic, so
writing again makes it whole and doubles nothing; and the gate drops whatever the catalog does not
say is live, so what a lagging replica shows too long, or brings back, reaches nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection as Numbers
from collections.abc import Mapping, Sequence

import numpy as np

from sluice.errors import IndexUnavailable
from sluice.index import rows
from sluice.index import weaviate_schema as schema
from sluice.index.weaviate_door import WRITES, Endpoint, door
from sluice.index.weaviate_objects import chunk, objects, portions, row, within
from sluice.index.weaviate_requests import MOST, Requests
from sluice.model import Candidate, Collection, IndexedChunk
from sluice.ports import Vectors
from sluice.settings import Settings

_WRITTEN = 2_000  # chunks of one request, which has a deadline
_FETCHED = 2_000  # chunks of one answer
_COUNTED = 200  # generations of one count
_DELETED = 1_000  # generations of one deletion
_LAG = 0.2  # seconds between two looks for vectors that are indexed later


def open_weaviate(
    settings: Settings,
    collection: Collection,
    *,
    loop: asyncio.AbstractEventLoop | None = None,
) -> WeaviateIndex:
    """Return the collection's index. Nothing is connected to yet.

    Args:
        settings: say where Weaviate is, and how a new collection is made.
        collection: what to open.
        loop: the running event loop of a server: all its threads then share one asynchronous
            client. None: a synchronous client of the caller's own.

    Raises:
        ConfigurationError: the settings do not say where Weaviate is.
    """
    endpoint = Endpoint.of(settings)
    tenant = settings.tenant if settings.weaviate_multi_tenancy else None
    requests = Requests(door(endpoint, loop), endpoint, collection.name, tenant)
    return WeaviateIndex(settings, collection, requests)


class WeaviateIndex:
    """``ports.Index`` over one tenant's chunks of one embedding model.

    Any number of threads and processes may read and write.
    """

    def __init__(self, settings: Settings, collection: Collection, requests: Requests):
        """See :func:`open_weaviate`."""
        self._settings = settings
        self._tenant = settings.tenant
        self._name = collection.name
        self._model, self._dimensions = collection.model, collection.dimensions
        self._columns = rows.schema(self._model, self._dimensions)
        self._requests = requests

    def ensure(self) -> None:
        """Create the collection, and our tenant in a shared one, where missing.

        Raises:
            IndexUnavailable: Weaviate cannot be used, or holds another schema under our name.
        """
        if not self._requests.exists():
            self._create()
        self._check()
        self._requests.join()

    def upsert(self, chunks: Sequence[IndexedChunk]) -> None:
        """Write chunks; writing the same ids again changes nothing.

        Raises:
            BadInput: a chunk is another tenant's, or cannot be stored; nothing was written.
            IndexUnavailable: at least one chunk was not written; others may have been.
        """
        if not chunks:
            return
        fresh = objects(chunks, self._columns, self._tenant)
        self._check()  # or Weaviate would make a collection of its own choice
        for first in range(0, len(fresh), _WRITTEN):
            self._requests.write(fresh[first : first + _WRITTEN])
        if self._settings.weaviate_async_indexing:
            self._wait_for_vectors(Counter(each.properties["generation"] for each in fresh))

    def search_terms(self, terms: str, scope: Numbers[int], limit: int) -> list[Candidate]:
        """The best ``limit`` (10,000 at most) permitted chunks by BM25, best first.

        A term that is asked twice counts twice.

        Raises:
            IndexUnavailable: the store cannot be read.
        """
        asked = terms.split()[: rows.QUERY_TERMS]
        if not asked or not scope or limit < 1:
            return []
        permitted = within("acl_id", scope)
        found = self._requests.terms(" ".join(asked), permitted, min(limit + rows.TIES, MOST))
        return rows.best(((-each.metadata.score, row(each)) for each in found), limit)

    def search_vector(self, vector: Vectors, scope: Numbers[int], limit: int) -> list[Candidate]:
        """The nearest ``limit`` (10,000 at most) permitted chunks by cosine, nearest first.

        Raises:
            IndexUnavailable: the store cannot be read, or holds vectors of another length.
        """
        if not scope or limit < 1:
            return []
        asked = np.asarray(vector, np.float32).tolist()
        if len(asked) != self._dimensions:  # Weaviate would compare what there is of them
            raise self._requests.failure(
                f"a question of {len(asked)} dimensions, where chunks have {self._dimensions}"
            )
        permitted = within("acl_id", scope)
        found = self._requests.nearest(asked, permitted, min(limit + rows.TIES, MOST))
        return rows.best(((each.metadata.distance, row(each)) for each in found), limit)

    def count(self, generations: Numbers[int]) -> Mapping[int, int]:
        """Chunks held of each generation; one that is absent counts 0."""
        held: Counter[int] = Counter()
        for batch in rows.batches(generations, _COUNTED):
            held.update(self._requests.count(within("generation", batch), len(batch)))
        return {generation: held[generation] for generation in generations}

    def delete(self, generations: Numbers[int]) -> None:
        """Remove every chunk of these generations, however many there are.

        Raises:
            IndexUnavailable: some may be left; deleting again goes on.
        """
        for batch in rows.batches(generations, _DELETED):
            while self._requests.delete(within("generation", batch)):
                pass

    def generations(self) -> frozenset[int]:
        """Every generation of which the store holds at least one chunk."""
        found: set[int] = set()
        last = None
        while page := self._requests.page(last, _FETCHED):
            found.update(int(each.properties["generation"]) for each in page)
            last = page[-1].uuid
        return frozenset(found)

    def size(self) -> int:
        """Chunks held in all."""
        return self._requests.size()

    def fetch(self, generations: Numbers[int]) -> list[IndexedChunk]:
        """Every chunk of these generations, whole, by document and ordinal."""
        found = [
            chunk(each, self._tenant)
            for which, _ in portions(self.count(generations), _FETCHED)
            for each in self._requests.whole(which)
        ]
        return sorted(found, key=lambda each: (each.document_id, each.generation, each.ordinal))

    def optimize(self) -> None:
        """Nothing: Weaviate indexes what it is given at once, and merges its files by itself."""

    def wants_optimizing(self) -> bool:
        """Never: see :meth:`optimize`."""
        return False

    def ping(self) -> None:
        """Return if both endpoints answer, and the schema is still ours.

        Raises:
            IndexUnavailable: they do not, or it is not.
        """
        self._check()
        self._requests.size()

    def impediment(self) -> str | None:
        """Name the shards that take no writes: their disk is nearly full, or somebody said so."""
        closed = sorted(each.name for each in self._requests.shards() if each.status == "READONLY")
        return f"shard {', '.join(closed)} of {self._name} is read-only" if closed else None

    def announce(self) -> None:
        """Point the alias ``Sluice_<installation>_<tenant>`` here, for people who look."""
        ours = self._name.split("_")[:2]
        self._requests.point("_".join([*ours, self._tenant.replace("-", "_")]))

    def drop(self) -> None:
        """Remove the collection, or our tenant from a shared one.

        A shared collection stays, also when it is empty: another tenant may be about to join it.
        """
        if self._requests.exists():
            self._requests.drop()

    def close(self) -> None:
        """Give connections back."""
        self._requests.close()

    def _create(self) -> None:
        try:
            self._requests.create(schema.creation(self._settings, self._model, self._dimensions))
        except IndexUnavailable:  # perhaps because another process was first
            if not self._requests.exists():
                raise

    def _check(self) -> None:
        """Refuse a schema by which chunks would be found or hidden otherwise than we say."""
        shared = self._settings.weaviate_multi_tenancy
        wrong = schema.difference(self._requests.config(), self._model, self._dimensions, shared)
        if wrong:
            raise self._requests.failure(f"{self._name} is not as Sluice made it: {wrong}")

    def _wait_for_vectors(self, written: Mapping[int, int]) -> None:
        """Return when the vector index holds all that was written: it lags behind the rest.

        A set below the cutoff is compared one by one, as far as it is indexed: when as many are
        found as were written, all are.
        """
        deadline = time.monotonic() + WRITES * self._settings.weaviate_timeout
        asked = [1.0] + [0.0] * (self._dimensions - 1)
        size = max(1, min(_FETCHED, schema.flat_cutoff(self._settings, self._dimensions) - 1))
        for which, chunks in portions(written, size):
            while len(self._requests.nearest(asked, which, chunks)) < chunks:
                if time.monotonic() > deadline:
                    raise self._requests.failure("written vectors cannot be found yet")
                time.sleep(_LAG)
