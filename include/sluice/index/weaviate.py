"""The index where one machine is outgrown: a Weaviate server or cluster.

What is exact here and what is not:

* Filters are applied before ranking, in both searches.
* A permitted set of fewer than ``SLUICE_WEAVIATE_FLAT_CUTOFF`` chunks (in each shard) is compared
  with the question one by one. Compressed vectors find its nearest 256, which are ranked again by
  full ones. Above the cutoff ACORN walks the graph: very good, not exact.
* BM25 finds every permitted match at once; each shard weighs terms by its own statistics.

Weaviate has no transaction over several objects: a write that dies leaves some of its chunks, and a
replica may lag behind another. What stands in for "one commit" is above the index. A generation is
live only after its chunks were counted, so nobody is shown a part of one; ids are deterministic, so
writing again makes it whole and doubles nothing; and the gate drops whatever the catalog does not
say is live, so what a lagging replica shows too long, or brings back, reaches nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Collection as Numbers
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from weaviate.classes.aggregate import GroupByAggregate
from weaviate.classes.data import DataObject
from weaviate.classes.query import BM25Operator, Filter, MetadataQuery
from weaviate.classes.tenants import Tenant

from sluice.errors import BadInput, IndexUnavailable, SluiceError
from sluice.index import rows
from sluice.index import weaviate_schema as schema
from sluice.index.weaviate_door import WRITES, Endpoint, Work, door
from sluice.index.weaviate_errors import unavailable
from sluice.model import Candidate, Collection, IndexedChunk
from sluice.ports import Vectors
from sluice.settings import Settings

MOST = 10_000  # results of one request, and objects of one deletion, by Weaviate's default
EXACT = 2**53  # integers travel and are kept as 64-bit floats: beyond it two of them look alike
_STREAMED = 500  # rows; fewer go as one request, since a stream lingers for a second
_WRITTEN = 2_000  # rows of one stream, which has a deadline
_COUNTED = 200  # generations of one count
_DELETED = 1_000  # generations of one deletion
_FETCHED = 2_000  # whole chunks of one answer


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
    return WeaviateIndex(settings, collection, Endpoint.of(settings), loop)


class WeaviateIndex:
    """``ports.Index`` over one tenant's chunks of one embedding model.

    Any number of threads and processes may read and write.
    """

    def __init__(
        self,
        settings: Settings,
        collection: Collection,
        endpoint: Endpoint,
        loop: asyncio.AbstractEventLoop | None,
    ):
        """Name the index; see :func:`open_weaviate`."""
        self._settings = settings
        self._name = collection.name
        self._model, self._dimensions = collection.model, collection.dimensions
        self._tenant = settings.tenant
        self._shared = settings.weaviate_multi_tenancy
        self._endpoint = endpoint
        self._door = door(endpoint, loop)
        self._columns = rows.schema(self._model, self._dimensions)

    def ensure(self) -> None:
        """Create the collection, and the tenant in a shared one, where missing.

        Raises:
            IndexUnavailable: Weaviate cannot be used, or holds another schema under our name.
        """
        if not self._ask(lambda client: client.collections.exists(self._name)):
            self._create()
        self._check()
        if self._shared and not self._ask(
            lambda client: client.collections.use(self._name).tenants.exists(self._tenant)
        ):
            tenants = [Tenant(name=self._tenant)]
            self._write(lambda client: client.collections.use(self._name).tenants.create(tenants))

    def upsert(self, chunks: Sequence[IndexedChunk]) -> None:
        """Write chunks; writing the same ids again changes nothing.

        Raises:
            BadInput: a chunk is another tenant's, or cannot be stored; nothing was written.
            IndexUnavailable: at least one chunk was not written; others may have been.
        """
        if not chunks:
            return
        if any(chunk.tenant != self._tenant for chunk in chunks):
            raise BadInput("a chunk belongs to another tenant", subject=self._tenant)
        objects = self._objects(chunks)
        self._check()  # or Weaviate would make a collection of its own choice
        for first in range(0, len(objects), _WRITTEN):
            self._send(objects[first : first + _WRITTEN])

    def search_terms(self, terms: str, scope: Numbers[int], limit: int) -> list[Candidate]:
        """The best ``limit`` (10,000 at most) permitted chunks by BM25, best first.

        A term that is asked twice counts twice.

        Raises:
            IndexUnavailable: the store cannot be read.
        """
        asked = terms.split()[: rows.QUERY_TERMS]
        if not asked or not scope or limit < 1:
            return []
        permitted = _within("acl_id", scope)
        found = self._ask(
            lambda client: self._chunks(client).query.bm25(
                " ".join(asked),
                query_properties=["terms"],
                operator=BM25Operator.or_(minimum_match=1),
                filters=permitted,
                limit=min(limit + rows.TIES, MOST),
                return_properties=rows.SHOWN,
                return_metadata=MetadataQuery(score=True),
            )
        )
        return rows.best(((-each.metadata.score, _row(each)) for each in found.objects), limit)

    def search_vector(self, vector: Vectors, scope: Numbers[int], limit: int) -> list[Candidate]:
        """The nearest ``limit`` (10,000 at most) permitted chunks by cosine, nearest first.

        Raises:
            IndexUnavailable: the store cannot be read.
        """
        if not scope or limit < 1:
            return []
        permitted = _within("acl_id", scope)
        asked = np.asarray(vector, np.float32).tolist()
        if len(asked) != self._dimensions:  # Weaviate would compare what there is of them
            raise unavailable(
                f"a question of {len(asked)} dimensions, where chunks have {self._dimensions}",
                self._endpoint,
            )
        found = self._ask(
            lambda client: self._chunks(client).query.near_vector(
                asked,
                target_vector=schema.VECTOR,
                filters=permitted,
                limit=min(limit + rows.TIES, MOST),
                return_properties=rows.SHOWN,
                return_metadata=MetadataQuery(distance=True),
            )
        )
        return rows.best(((each.metadata.distance, _row(each)) for each in found.objects), limit)

    def count(self, generations: Numbers[int]) -> Mapping[int, int]:
        """Chunks held of each generation; one that is absent counts 0."""
        held: Counter[int] = Counter()
        for batch in rows.batches(generations, _COUNTED):
            held.update(self._counted(batch))
        return {generation: held[generation] for generation in generations}

    def delete(self, generations: Numbers[int]) -> None:
        """Remove every chunk of these generations, however many there are.

        Raises:
            IndexUnavailable: some may be left; deleting again goes on.
        """
        for batch in rows.batches(generations, _DELETED):
            while self._deleted(_within("generation", batch)):
                pass

    def generations(self) -> frozenset[int]:
        """Every generation of which the store holds at least one chunk."""
        found: set[int] = set()
        last = None
        while page := self._page(last):
            found.update(int(each.properties["generation"]) for each in page)
            last = page[-1].uuid
        return frozenset(found)

    def size(self) -> int:
        """Chunks held in all."""
        whole = self._ask(lambda client: self._chunks(client).aggregate.over_all(total_count=True))
        return int(whole.total_count)

    def fetch(self, generations: Numbers[int]) -> list[IndexedChunk]:
        """Every chunk of these generations, whole, by document and ordinal."""
        found = [
            rows.chunk(_row(each) | {"vector": each.vector[schema.VECTOR]}, self._tenant)
            for which in _portions(self.count(generations))
            for each in self._whole(which)
        ]
        return sorted(found, key=lambda each: (each.document_id, each.generation, each.ordinal))

    def optimize(self) -> None:
        """Nothing: Weaviate indexes what it is given at once, and merges its files by itself."""

    def wants_optimizing(self) -> bool:
        """Never."""
        return False

    def ping(self) -> None:
        """Return if both endpoints answer, and the schema is still ours.

        Raises:
            IndexUnavailable: they do not, or it is not.
        """
        self._check()
        self.size()

    def impediment(self) -> str | None:
        """Name the shards that take no writes: their disk is nearly full, or somebody said so."""
        shards = self._ask(lambda client: self._chunks(client).config.get_shards())
        closed = sorted(each.name for each in shards if each.status == "READONLY")
        if not closed:
            return None
        return f"shard {', '.join(closed)} of {self._name} is read-only ({self._subject})"

    def announce(self) -> None:
        """Point the alias ``Sluice_<installation>_<tenant>`` here, for people who look."""
        parts = [*self._name.split("_")[:2], *self._tenant.replace("-", "_").split("_")]
        alias = "_".join(parts)
        if not self._write(
            lambda client: client.alias.update(alias_name=alias, new_target_collection=self._name)
        ):
            self._write(
                lambda client: client.alias.create(alias_name=alias, target_collection=self._name)
            )

    def drop(self) -> None:
        """Remove the collection, or the tenant from a shared one.

        A shared collection stays, also when it is empty: another tenant may be about to join it.
        """
        if not self._ask(lambda client: client.collections.exists(self._name)):
            return
        if self._shared:
            self._write(
                lambda client: client.collections.use(self._name).tenants.remove([self._tenant])
            )
        else:
            self._write(lambda client: client.collections.delete(self._name))

    def close(self) -> None:
        """Give connections back."""
        with self._translating():
            self._door.close()

    @property
    def _subject(self) -> str:
        return f"weaviate at {self._endpoint}"

    def _chunks(self, client: Any) -> Any:
        """What holds our chunks, for a client of either kind."""
        held = client.collections.use(self._name)
        return held.with_tenant(self._tenant) if self._shared else held

    def _create(self) -> None:
        arguments = schema.creation(self._settings, self._model, self._dimensions)
        try:
            self._write(lambda client: client.collections.create(self._name, **arguments))
        except IndexUnavailable:  # perhaps because another process was first
            if not self._ask(lambda client: client.collections.exists(self._name)):
                raise

    def _check(self) -> None:
        """Refuse a schema by which chunks would be found or hidden otherwise than we say."""
        config = self._ask(lambda client: client.collections.use(self._name).config.get())
        wrong = schema.difference(config, self._model, self._dimensions, self._shared)
        if wrong:
            raise IndexUnavailable(
                f"the collection {self._name} is not as Sluice made it: {wrong}",
                subject=self._subject,
                cure="Restore it, or build another one with `sluice index migrate`",
            )

    def _objects(self, chunks: Sequence[IndexedChunk]) -> list[DataObject[Any, Any]]:
        """Each chunk id once, as Weaviate takes it."""
        table = rows.table(chunks, self._columns)
        for name in ("generation", "acl_id"):
            numbers = table[name].to_numpy()
            if len(numbers) and np.abs(numbers).max() > EXACT:
                raise BadInput(f"a {name} beyond 2^53", subject="a chunk to index")
        vectors = table["vector"].combine_chunks().flatten().to_numpy()
        vectors = vectors.reshape(-1, self._dimensions).tolist()
        properties = table.drop_columns(["id", "vector"]).to_pylist()
        return [
            DataObject(uuid=uuid, properties=each, vector={schema.VECTOR: vector})
            for uuid, each, vector in zip(table["id"].to_pylist(), properties, vectors, strict=True)
        ]

    def _send(self, objects: list[DataObject[Any, Any]]) -> None:
        """Write ``objects``; every one of them must be acknowledged."""

        def send(client: Any) -> Any:
            data = self._chunks(client).data
            return (data.ingest if len(objects) > _STREAMED else data.insert_many)(objects)

        sent = self._write(send)
        failed = len(objects) - len(sent.uuids)
        if failed:
            first = next((each.message for each in sent.errors.values()), "none was confirmed")
            raise unavailable(
                f"{failed} of {len(objects)} chunks were not written: {first}", self._endpoint
            )

    def _counted(self, generations: list[int]) -> dict[int, int]:
        grouped = self._ask(
            lambda client: self._chunks(client).aggregate.over_all(
                filters=_within("generation", generations),
                group_by=GroupByAggregate(prop="generation", limit=len(generations)),
            )
        )
        return {int(each.grouped_by.value): each.total_count for each in grouped.groups}

    def _deleted(self, which: Any) -> int:
        """Delete as many as Weaviate does at a time; return how many there were."""
        done = self._write(lambda client: self._chunks(client).data.delete_many(where=which))
        if done.failed:
            raise unavailable(f"{done.failed} chunks were not deleted", self._endpoint)
        return int(done.matches)

    def _page(self, last: Any) -> list[Any]:
        """The generations of the next chunks after ``last``, by id."""
        found = self._ask(
            lambda client: self._chunks(client).query.fetch_objects(
                limit=MOST, after=last, return_properties=["generation"]
            )
        )
        return list(found.objects)

    def _whole(self, which: Any) -> list[Any]:
        found = self._ask(
            lambda client: self._chunks(client).query.fetch_objects(
                filters=which, limit=MOST, include_vector=True
            )
        )
        return list(found.objects)

    def _ask(self, work: Work) -> Any:
        with self._translating():
            return self._door.call(work, self._endpoint.timeout)

    def _write(self, work: Work) -> Any:
        with self._translating():
            return self._door.call(work, WRITES * self._endpoint.timeout)

    @contextlib.contextmanager
    def _translating(self) -> Iterator[None]:
        """Turn whatever the client raises into one line with a cure."""
        try:
            yield
        except SluiceError:
            raise
        except Exception as error:  # its own, httpx's, gRPC's, asyncio's
            raise unavailable(error, self._endpoint) from error


def _within(name: str, numbers: Numbers[int]) -> Any:
    """The filter that ``name`` is one of ``numbers``. ``int`` lets nothing but integers through."""
    return Filter.by_property(name).contains_any(sorted({int(number) for number in numbers}))


def _portions(counts: Mapping[int, int]) -> Iterator[Any]:
    """Filters that part the chunks of generations, whose ordinals have no gap, into bearable sets.

    Small generations are fetched together, a large one by ranges of ordinals.
    """
    together: list[int] = []
    for generation, chunks in counts.items():
        if chunks > _FETCHED:
            for first in range(0, chunks, _FETCHED):
                ordinal = Filter.by_property("ordinal")
                yield (
                    _within("generation", [generation])
                    & ordinal.greater_or_equal(first)
                    & ordinal.less_than(first + _FETCHED)
                )
        elif chunks:
            if sum(counts[each] for each in together) + chunks > _FETCHED:
                yield _within("generation", together)
                together = []
            together.append(generation)
    if together:
        yield _within("generation", together)


def _row(found: Any) -> dict[str, Any]:
    """The properties of an object as a row; Weaviate keeps no empty list."""
    return {**found.properties, "path": found.properties.get("path") or ()}
