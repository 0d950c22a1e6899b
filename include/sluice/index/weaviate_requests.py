"""What is asked of one collection of a Weaviate: each request once, for both kinds of client."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from weaviate.classes.aggregate import GroupByAggregate
from weaviate.classes.query import BM25Operator, MetadataQuery
from weaviate.classes.tenants import Tenant

from sluice.errors import IndexUnavailable, SluiceError
from sluice.index import rows
from sluice.index.weaviate_door import WRITES, Door, Endpoint, Work
from sluice.index.weaviate_errors import unavailable
from sluice.index.weaviate_schema import VECTOR

MOST = 10_000  # results of one request, and objects of one deletion, by Weaviate's default
_STREAMED = 500  # objects; fewer go as one request, since a stream lingers for a second


class Requests:
    """Requests to a collection, or to a tenant's part of a shared one.

    Every one of them raises :class:`IndexUnavailable` when it is not granted, and nothing else.
    """

    def __init__(self, door: Door, endpoint: Endpoint, name: str, tenant: str | None):
        """``tenant`` is that of a shared collection; None where the collection is ours alone."""
        self._door = door
        self._endpoint = endpoint
        self._name = name
        self._tenant = tenant

    def terms(self, asked: str, which: Any, limit: int) -> list[Any]:
        """The best ``limit`` objects of ``which`` by BM25: one of the terms is enough."""
        found = self._read(
            lambda client: self._ours(client).query.bm25(
                asked,
                query_properties=["terms"],
                operator=BM25Operator.or_(minimum_match=1),
                filters=which,
                limit=limit,
                return_properties=rows.SHOWN,
                return_metadata=MetadataQuery(score=True),
            )
        )
        return list(found.objects)

    def nearest(self, asked: list[float], which: Any, limit: int) -> list[Any]:
        """The nearest ``limit`` objects of ``which``."""
        found = self._read(
            lambda client: self._ours(client).query.near_vector(
                asked,
                target_vector=VECTOR,
                filters=which,
                limit=limit,
                return_properties=rows.SHOWN,
                return_metadata=MetadataQuery(distance=True),
            )
        )
        return list(found.objects)

    def whole(self, which: Any) -> list[Any]:
        """All objects of ``which``, with their vectors."""
        found = self._read(
            lambda client: self._ours(client).query.fetch_objects(
                filters=which, limit=MOST, include_vector=True
            )
        )
        return list(found.objects)

    def page(self, last: Any, limit: int) -> list[Any]:
        """The generations of the next ``limit`` objects after ``last``, by id."""
        found = self._read(
            lambda client: self._ours(client).query.fetch_objects(
                limit=limit, after=last, return_properties=["generation"]
            )
        )
        return list(found.objects)

    def size(self) -> int:
        """Objects in all."""
        whole = self._read(lambda client: self._ours(client).aggregate.over_all(total_count=True))
        return int(whole.total_count)

    def count(self, which: Any, generations: int) -> dict[int, int]:
        """Objects of ``which`` by their generation; there are ``generations`` at most."""
        grouped = self._read(
            lambda client: self._ours(client).aggregate.over_all(
                filters=which, group_by=GroupByAggregate(prop="generation", limit=generations)
            )
        )
        return {int(each.grouped_by.value): each.total_count for each in grouped.groups}

    def write(self, fresh: list[Any]) -> None:
        """Write objects; every one of them must be confirmed."""

        def send(client: Any) -> Any:
            data = self._ours(client).data
            return (data.ingest if len(fresh) > _STREAMED else data.insert_many)(fresh)

        sent = self._change(send)
        failed = len(fresh) - len(sent.uuids)
        if failed:
            why = next((each.message for each in sent.errors.values()), "they were not confirmed")
            raise self.failure(f"{failed} of {len(fresh)} chunks were not written: {why}")

    def delete(self, which: Any) -> int:
        """Delete :data:`MOST` objects of ``which`` at most; return how many there were in all."""
        done = self._change(lambda client: self._ours(client).data.delete_many(where=which))
        if done.failed or (done.matches and not done.successful):
            raise self.failure("not all chunks were deleted: perhaps a shard is read-only")
        return int(done.matches)

    def exists(self) -> bool:
        """Whether the collection does, its tenants apart."""
        return bool(self._read(lambda client: client.collections.exists(self._name)))

    def config(self) -> Any:
        """The live schema."""
        return self._read(lambda client: client.collections.use(self._name).config.get())

    def create(self, arguments: dict[str, Any]) -> None:
        """Make the collection."""
        self._change(lambda client: client.collections.create(self._name, **arguments))

    def join(self) -> None:
        """Make our part of a shared collection, if it is not there."""
        if self._tenant:
            made = [Tenant(name=self._tenant)]
            self._change(lambda client: client.collections.use(self._name).tenants.create(made))

    def drop(self) -> None:
        """Remove our part of a shared collection, or the collection that is ours alone."""
        if self._tenant:
            gone = [self._tenant]
            self._change(lambda client: client.collections.use(self._name).tenants.remove(gone))
        else:
            self._change(lambda client: client.collections.delete(self._name))

    def shards(self) -> list[Any]:
        """Our shards, and whether each may be written."""
        return list(self._read(lambda client: self._ours(client).config.get_shards()))

    def point(self, alias: str) -> None:
        """Let ``alias`` lead to the collection, from wherever it led before."""
        if not self._change(
            lambda client: client.alias.update(alias_name=alias, new_target_collection=self._name)
        ):
            self._change(
                lambda client: client.alias.create(alias_name=alias, target_collection=self._name)
            )

    def close(self) -> None:
        """Give connections back."""
        with self._translating():
            self._door.close()

    def failure(self, said: str) -> IndexUnavailable:
        """The error that says so."""
        return unavailable(said, self._endpoint)

    def _ours(self, client: Any) -> Any:
        held = client.collections.use(self._name)
        return held.with_tenant(self._tenant) if self._tenant else held

    def _read(self, work: Work) -> Any:
        with self._translating():
            return self._door.call(work, self._endpoint.timeout)

    def _change(self, work: Work) -> Any:
        with self._translating():
            return self._door.call(work, WRITES * self._endpoint.timeout)

    @contextlib.contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except SluiceError:
            raise
        except Exception as error:  # the client's own, httpx's, gRPC's, asyncio's
            raise unavailable(error, self._endpoint) from error
