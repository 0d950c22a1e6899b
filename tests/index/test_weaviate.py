"""What only a Weaviate server can do wrong: dying, filling up, being altered, sharing tenants."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weaviate
import weaviate_server
from contract.stores import (
    DIMENSIONS,
    K1,
    Key,
    assert_best,
    bm25,
    collection,
    generation_of,
    keys,
    row,
    similarity,
    unit,
)
from sluice.errors import IndexUnavailable
from sluice.index.weaviate import WeaviateIndex, open_weaviate
from sluice.model import IndexedChunk
from sluice.ports import Vectors
from sluice.settings import Settings
from weaviate.classes.config import DataType, Property
from weaviate_server import Server

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Weaviate of this module's own: it is killed, stopped and filled."""
    with weaviate_server.start(tmp_path_factory.mktemp("weaviate")) as running:
        yield running


@pytest.fixture
def name() -> str:
    """A collection that no other test has."""
    return f"Sluice_{next(_numbers):x}_of_tests"


def opened(
    server: Server, name: str, tenant: str = "main", dimensions: int = DIMENSIONS, **settings: Any
) -> WeaviateIndex:
    """An index over the server."""
    known: dict[str, Any] = {"weaviate_url": server.url, "weaviate_grpc": server.grpc} | settings
    return open_weaviate(Settings(tenant=tenant, **known), collection(name, dimensions))


def made(server: Server, name: str, tenant: str = "main", **settings: Any) -> WeaviateIndex:
    """An index that exists."""
    index = opened(server, name, tenant, **settings)
    index.ensure()
    return index


@pytest.fixture
def client(server: Server) -> Iterator[weaviate.WeaviateClient]:
    """An operator's client, which has nothing of Sluice in it."""
    http, grpc = (int(each.rpartition(":")[2]) for each in (server.url, server.grpc))
    made = weaviate.connect_to_local(port=http, grpc_port=grpc, skip_init_checks=True)
    yield made
    made.close()


def answers(index: WeaviateIndex) -> list[Any]:
    """Everything that a caller can learn from it."""
    return [
        index.search_terms("alpha w1", range(10), 20),
        index.search_vector(unit(1, 5)[0], range(10), 20),
        index.count(range(1, 30)),
        index.generations(),
        index.size(),
    ]


def some(count: int) -> list[IndexedChunk]:
    """Chunks of thirty generations on ten permission objects."""
    return [
        row(f"d{i}", 1 + i % 29, i, i % 10, f"alpha w{i % 7}", vector)
        for i, vector in enumerate(unit(count, 3))
    ]


def test_a_server_that_is_killed_and_started_again_gives_the_same_answers(
    server: Server, name: str
) -> None:
    """What was acknowledged outlives kill -9, and one index object outlives it too."""
    index = made(server, name, weaviate_timeout=2.0)
    index.upsert(some(1_000))
    index.delete([3, 4])
    before = answers(index)
    server.kill()
    for act in (
        lambda: index.search_terms("alpha", {1}, 10),
        lambda: index.search_vector(unit(1, 0)[0], {1}, 10),
        lambda: index.upsert([row()]),
        lambda: index.delete([1]),
        index.ensure,
        index.ping,
        index.impediment,
        index.generations,
    ):
        began = time.monotonic()
        with pytest.raises(IndexUnavailable) as error:
            act()
        assert time.monotonic() - began < 6
        assert error.value.subject == f"weaviate at {server.url}"
        assert error.value.cure and "\n" not in str(error.value)
    server.start()
    assert answers(index) == before
    index.upsert(some(1_000))
    assert index.size() == 1_000


def test_a_server_that_hangs_is_an_error_in_time(server: Server, name: str) -> None:
    """Its ports are open and nothing comes back."""
    index = made(server, name, weaviate_timeout=1.0)
    index.upsert([row()])
    server.pause()
    try:
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(IndexUnavailable, match="did not answer in time"):
                index.search_terms("alpha", {1}, 10)
            assert time.monotonic() - began < 3
    finally:
        server.resume()
    assert keys(index.search_terms("alpha", {1}, 10)) == [("d", 1, 0)]


@pytest.mark.parametrize(
    ("dropped", "kind"),
    [("acl_id", "filterable"), ("terms", "searchable"), ("generation", "filterable")],
)
def test_an_index_of_a_property_that_was_dropped_is_noticed(
    server: Server, client: weaviate.WeaviateClient, name: str, dropped: str, kind: Any
) -> None:
    """Readiness and writes refuse; searches by that property fail, and never go unfiltered."""
    index = made(server, name)
    index.upsert([row("a", acl=1), row("b", acl=2)])
    client.collections.use(name).config.delete_property_index(dropped, kind)
    for act in (index.ping, index.ensure, lambda: index.upsert([row()])):
        with pytest.raises(IndexUnavailable, match=f"its property {dropped} is") as error:
            act()
        assert "sluice index migrate" in str(error.value)
    uses = {
        "acl_id": [
            lambda: index.search_terms("alpha", {1}, 10),
            lambda: index.search_vector(unit(1, 0)[0], {1}, 10),
        ],
        "terms": [lambda: index.search_terms("alpha", {1}, 10)],
        "generation": [lambda: index.count([1]), lambda: index.delete([1])],
    }
    for act in uses[dropped]:
        with pytest.raises(IndexUnavailable, match="requires inverted index"):
            act()


def test_a_collection_of_somebody_else_is_neither_read_nor_written(
    server: Server, client: weaviate.WeaviateClient, name: str
) -> None:
    """As Weaviate makes them by default, it splits ids into words; it knows no permissions."""
    texts = [Property(name=each, data_type=DataType.TEXT) for each in ("document_id", "terms")]
    theirs = client.collections.create(name, properties=texts)
    theirs.data.insert({"document_id": "user:a@x", "terms": "alpha"})
    index = opened(server, name)
    for act in (index.ensure, index.ping, lambda: index.upsert([row()])):
        with pytest.raises(IndexUnavailable, match="not as Sluice made it"):
            act()
    with pytest.raises(IndexUnavailable, match="no such prop"):
        index.search_terms("alpha", {1}, 10)


def test_a_shard_that_is_read_only_is_named_and_refuses_loudly(
    server: Server, client: weaviate.WeaviateClient, name: str
) -> None:
    """Weaviate closes shards when the disk is nearly full; what is there can still be read."""
    index = made(server, name)
    index.upsert(generation_of(1, 5))
    assert index.impediment() is None
    (shard,) = client.collections.use(name).config.update_shards("READONLY")
    assert shard in str(index.impediment())
    for count in (1, 5, 1_000):
        with pytest.raises(IndexUnavailable, match="read-only") as error:
            index.upsert(generation_of(2, count))
        assert "disk space" in str(error.value.cure)
    with pytest.raises(IndexUnavailable, match="not all chunks were deleted"):
        index.delete([1])
    index.ping()
    assert len(index.search_terms("alpha", {1}, 10)) == 5
    client.collections.use(name).config.update_shards("READY")
    assert index.impediment() is None
    index.upsert(generation_of(2, 1_000))
    assert index.count([1, 2]) == {1: 5, 2: 1_000}


def test_tenants_of_a_shared_collection_share_nothing(server: Server, name: str) -> None:
    """Neither chunks nor statistics, and what one drops leaves the other whole."""
    ours = made(server, name, "o-u_rs", weaviate_multi_tenancy=True)
    theirs = opened(server, name, "theirs", weaviate_multi_tenancy=True)
    for act in (theirs.ping, theirs.size, lambda: theirs.search_terms("alpha", {1}, 10)):
        with pytest.raises(IndexUnavailable, match="Ingest a source first"):
            act()
    with pytest.raises(IndexUnavailable, match="Ingest a source first"):
        theirs.upsert([row(tenant="theirs")])
    theirs.ensure()
    theirs.ensure()
    mine = [row("mine", 1, n, terms="alpha " * n, tenant="o-u_rs") for n in range(1, 4)]
    ours.upsert(mine)
    theirs.upsert([row("yours", tenant="theirs")])
    assert {each.document_id for each in ours.search_terms("alpha", {1}, 10)} == {"mine"}
    assert {each.document_id for each in ours.search_vector(unit(1, 0)[0], {1}, 10)} == {"mine"}
    assert keys(theirs.search_terms("alpha", {1}, 10)) == [("yours", 1, 0)]
    theirs.delete([1])
    assert (ours.size(), theirs.size()) == (3, 0)
    assert keys(ours.fetch([1])) == keys(mine)
    assert ours.impediment() is None
    theirs.drop()
    theirs.drop()
    with pytest.raises(IndexUnavailable, match="Ingest a source first"):
        theirs.size()
    assert len(ours.search_terms("alpha", {1}, 10)) == 3
    with pytest.raises(IndexUnavailable, match="SLUICE_WEAVIATE_MULTI_TENANCY"):
        opened(server, name, "o-u_rs").ping()


def test_a_sharded_collection_is_one_index(server: Server, name: str) -> None:
    """Searches, counts and deletions go over all shards; BM25 weighs terms by shard."""
    index = made(server, name, weaviate_shards=3)
    rows = some(600)
    index.upsert(rows)
    permitted = [each for each in rows if each.acl_id in {1, 2, 3}]
    asked = unit(1, 8)[0]
    assert_best(index.search_vector(asked, {1, 2, 3}, 30), similarity(permitted, asked), 30)
    assert len(index.search_terms("alpha", {1, 2, 3}, 1_000)) == len(permitted)
    assert index.size() == 600
    assert index.generations() == set(range(1, 30))
    assert keys(index.fetch([7])) == sorted(keys(each for each in rows if each.generation == 7))
    index.delete(range(1, 29))
    assert sum(index.count(range(1, 30)).values()) == index.size() == 600 // 29


def test_many_may_make_the_same_collection_at_once(server: Server, name: str) -> None:
    """Every process ensures when it starts."""
    indexes = [opened(server, name) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(WeaviateIndex.ensure, indexes))
    indexes[0].upsert([row()])
    assert indexes[5].size() == 1


def test_the_alias_follows(server: Server, client: weaviate.WeaviateClient) -> None:
    """People who look find the collection that was announced last, under one name."""
    first, second = (made(server, f"Sluice_feed_{n}", "a-b") for n in (1, 2))
    first.announce()
    first.announce()
    alias = client.alias.get(alias_name="Sluice_feed_a_b")
    assert alias is not None and alias.collection == "Sluice_feed_1"
    second.announce()
    first.drop()
    alias = client.alias.get(alias_name="Sluice_feed_a_b")
    assert alias is not None and alias.collection == "Sluice_feed_2"


def test_scores_are_those_of_bm25(
    server: Server, client: weaviate.WeaviateClient, name: str
) -> None:
    """Over all chunks, with our constants, a term asked twice counting twice.

    After deletes, rarity is exact at once; the mean length is that of what was written, until
    Weaviate merges its files.
    """
    rng = random.Random(2)
    rows = [
        row(
            f"d{i}",
            1 + i % 20,
            i,
            terms=" ".join(f"w{rng.randrange(40)}" for _ in range(1 + i % 30)),
        )
        for i in range(500)
    ]
    index = made(server, name)
    index.upsert(rows)
    _assert_scores(client, name, rows, tolerance=1e-5)
    index.delete([2, 3, 4, 5])
    left = [each for each in rows if each.generation not in {2, 3, 4, 5}]
    _assert_scores(client, name, left, tolerance=0.03)


def _assert_scores(
    client: weaviate.WeaviateClient, name: str, rows: Collection[IndexedChunk], tolerance: float
) -> None:
    for question in ("w1", "w1 w2 w3", "w1 w1 w2", "w5 w5 w5 w6 nothing"):
        expected = bm25(rows, question)
        found = client.collections.use(name).query.bm25(
            question, query_properties=["terms"], limit=1_000, return_metadata=["score"]
        )
        scores = {_key(each.properties): each.metadata.score for each in found.objects}
        assert scores.keys() == expected.keys()
        ratios = [scores[key] / expected[key] * (K1 + 1) for key in expected]  # a constant apart
        assert ratios == pytest.approx([1.0] * len(ratios), rel=tolerance)


def _key(properties: Any) -> Key:
    return properties["document_id"], int(properties["generation"]), int(properties["ordinal"])


@pytest.mark.timeout(900)
@pytest.mark.parametrize("quantization", ["rq", "none"])
def test_above_the_cutoff_recall_holds(server: Server, name: str, quantization: str) -> None:
    """ACORN finds 95 % or more of the nearest ten in every band; below the cutoff all of them."""
    count, dimensions, objects = 12_000, 64, 1_000
    rng = np.random.default_rng(6)
    centres = rng.normal(size=(200, dimensions))
    vectors = _unit(
        centres[rng.integers(200, size=count)] + 0.9 * rng.normal(size=(count, dimensions))
    )
    acls = rng.permutation(np.arange(count) % objects)
    index = opened(
        server,
        name,
        dimensions=dimensions,
        weaviate_quantization=quantization,
        weaviate_flat_cutoff=250,
    )
    index.ensure()
    index.upsert([row(f"{i}", 1, i, int(acls[i]), vector=vectors[i]) for i in range(count)])
    recalls = {}
    for visible in (0.001, 0.01, 0.03, 0.15, 0.5, 1.0):
        found = []
        for _ in range(20):
            scope = rng.choice(objects, round(visible * objects), replace=False)
            permitted = np.flatnonzero(np.isin(acls, scope))
            asked = _unit(vectors[rng.integers(count)] + 0.05 * rng.normal(size=dimensions))
            nearest = permitted[np.argsort(-(vectors[permitted] @ asked))[:10]]
            hits = index.search_vector(asked, scope.tolist(), 10)
            assert {int(each.acl_id) for each in hits} <= set(scope.tolist())
            found.append(
                len({int(each.document_id) for each in hits} & set(nearest)) / len(nearest)
            )
        recalls[visible] = float(np.mean(found))
    assert recalls[0.001] == recalls[0.01] == 1.0, recalls  # below the cutoff
    assert min(recalls.values()) >= 0.95, recalls


def _unit(vectors: Any) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def test_an_api_key_is_asked_for_and_told_apart(tmp_path: Path, name: str) -> None:
    """None, a wrong one and the right one."""
    locked = {
        "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "false",
        "AUTHENTICATION_APIKEY_ENABLED": "true",
        "AUTHENTICATION_APIKEY_ALLOWED_KEYS": "made-up-key-4711",
        "AUTHENTICATION_APIKEY_USERS": "sluice",
    }
    with weaviate_server.start(tmp_path, locked) as server:
        index = made(server, name, weaviate_api_key="made-up-key-4711")
        index.upsert([row()])
        assert keys(index.search_terms("alpha", {1}, 10)) == [("d", 1, 0)]
        for key in (None, "wrong-key-0815"):
            other = opened(server, name, weaviate_api_key=key)
            with pytest.raises(IndexUnavailable, match="SLUICE_WEAVIATE_API_KEY"):
                other.ping()
            with pytest.raises(IndexUnavailable, match="SLUICE_WEAVIATE_API_KEY") as error:
                other.search_terms("alpha", {1}, 10)
            assert "0815" not in str(error.value)


def test_vectors_that_are_indexed_later_are_waited_for(tmp_path: Path, name: str) -> None:
    """With ASYNC_INDEXING a write returns when its vectors can be found, and not before."""
    with weaviate_server.start(tmp_path, {"ASYNC_INDEXING": "true"}) as server:
        index = made(server, name, weaviate_async_indexing=True)
        asked = unit(1, 9)[0]
        rows: list[IndexedChunk] = []
        for part in range(3):
            fresh = [
                row(f"d{i}", 1 + part, i, i % 3, vector=vector)
                for i, vector in enumerate(unit(700, 20 + part))
            ]
            index.upsert(fresh)
            rows += fresh
            assert_best(index.search_vector(asked, range(3), 50), similarity(rows, asked), 50)
