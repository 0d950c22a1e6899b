"""What goes over the wire to a Weaviate, and what is made of its answers. Runs without one."""

from __future__ import annotations

import asyncio
import copy
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc
import pytest
from contract.stores import DIMENSIONS, collection, generation_of, row, unit
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from sluice.errors import BadInput, ConfigurationError, IndexUnavailable
from sluice.index.weaviate import WeaviateIndex, open_weaviate
from sluice.settings import Settings
from weaviate.proto.v1 import base_pb2
from weaviate_stub import Serving, Stub, serve

NAME = "Sluice_ab"
KEY = "made-up-key-4711"
ASKED = unit(1, 0)[0]


def opened(
    at: Serving, loop: asyncio.AbstractEventLoop | None = None, **settings: Any
) -> WeaviateIndex:
    """An index over the stub."""
    known = {"weaviate_url": at.url, "weaviate_grpc": at.grpc} | settings
    return open_weaviate(Settings(**known), collection(NAME), loop=loop)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The running event loop of a server."""
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve_until_told() -> None:
        stop = asyncio.Event()
        begun.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve_until_told(),))
    thread.start()
    made, stop = begun.result()
    yield made
    made.call_soon_threadsafe(stop.set)
    thread.join()


@pytest.fixture
def at() -> Iterator[Serving]:
    """A stub that listens, with nothing in it."""
    with serve(Stub()) as serving:
        yield serving


@pytest.fixture(params=["own client", "loop"])
def door(request: pytest.FixtureRequest, loop: asyncio.AbstractEventLoop) -> Any:
    """The two ways to speak: a client of one's own, or the loop's."""
    return loop if request.param == "loop" else None


@pytest.fixture(scope="module")
def shared(loop: asyncio.AbstractEventLoop) -> Iterator[tuple[Stub, list[WeaviateIndex]]]:
    """One stub for many examples, and an index through either door."""
    with serve(Stub()) as serving:
        indexes = [opened(serving), opened(serving, loop)]
        for each in indexes:
            each.ensure()
        yield serving.stub, indexes
        for each in indexes:
            each.close()


def _filter(request: Any) -> tuple[str, str, list[int]]:
    found = request.filters
    operator = base_pb2.Filters.Operator.Name(found.operator)
    return found.target.property, operator, list(found.value_int_array.values)


@given(
    scope=st.sets(st.integers(-(2**53), 2**53), max_size=50),
    terms=st.text(max_size=20),
    limit=st.integers(-2, 20_000),
)
def test_every_search_carries_its_scope_and_none_is_sent_without_one(
    shared: tuple[Stub, list[WeaviateIndex]], scope: set[int], terms: str, limit: int
) -> None:
    """The filter is the permission objects, all of them and no other; no scope, no request."""
    stub, indexes = shared
    for index in indexes:
        stub.searches.clear()
        assert index.search_terms(terms, scope, limit) == []
        assert index.search_vector(ASKED, scope, limit) == []
        asked = [] if not scope or limit < 1 else [bool(terms.split()), True]
        assert len(stub.searches) == sum(asked)
        for request in stub.searches:
            assert request.collection == NAME
            assert _filter(request) == ("acl_id", "OPERATOR_CONTAINS_ANY", sorted(scope))
            assert not request.filters.filters
            assert limit <= request.limit <= 10_000 or request.limit == 10_000


def test_terms_are_sent_as_they_are_to_the_one_field(shared: Any) -> None:
    """Twice asked is sent twice, any one of them is enough, and 512 of them are too."""
    stub, (index, _) = shared
    stub.searches.clear()
    index.search_terms("al* beta beta", {1}, 10)
    index.search_terms("x " * 5_000, {1}, 10)
    first, second = (each.bm25_search for each in stub.searches)
    assert (first.query, list(first.properties)) == ("al* beta beta", ["terms"])
    assert first.search_operator.minimum_or_tokens_match == 1
    assert second.query.count("x") == 512


def test_an_empty_scope_needs_no_server() -> None:
    """Whoever may read nothing gets nothing, and nobody is connected to."""
    nowhere = Serving(Stub(), "http://127.0.0.1:1", "127.0.0.1:2")
    index = opened(nowhere)
    assert index.search_terms("alpha", set(), 10) == []
    assert index.search_vector(ASKED, [], 10) == []


def test_what_cannot_be_stored_is_refused_before_anything_is_sent(at: Serving, door: Any) -> None:
    """Beside a good chunk too; integers beyond 2^53 would become somebody else's."""
    index = opened(at, door)
    index.ensure()
    hostile = [
        row(tenant="other"),
        row(text="\ud800"),
        row(terms="\udfff"),
        row(acl=2**53 + 1),
        row(acl=-(2**53) - 1),
        row(generation=2**70),
        row(vector=[1.0] * (DIMENSIONS - 1)),
    ]
    for bad in hostile:
        with pytest.raises(BadInput):
            index.upsert([row("good"), bad])
    assert at.stub.written == []
    with pytest.raises(IndexUnavailable, match="dimensions"):
        index.search_vector(ASKED[:-1], {1}, 10)
    assert at.stub.searches == []


def test_the_last_of_two_chunks_with_one_id_is_sent(at: Serving, door: Any) -> None:
    """Both in one request could be written in either order."""
    index = opened(at, door)
    index.ensure()
    index.upsert([row(text="old"), row(text="new")])
    (written,) = at.stub.written
    assert written.uuid == row().id
    assert written.properties.non_ref_properties["text"] == "new"


@pytest.mark.parametrize("count", [20, 1_000], ids=["one request", "a stream"])
def test_every_failed_object_is_seen(at: Serving, door: Any, count: int) -> None:
    """A write of which one chunk in five fails says how many and why."""
    index = opened(at, door)
    index.ensure()
    rows = generation_of(1, count)
    bad = {each.id for each in rows[::5]}
    at.stub.refuses = lambda uuid: "store is read-only" if uuid in bad else None
    with pytest.raises(
        IndexUnavailable, match=f"{count // 5} of {count} chunks.*read-only"
    ) as error:
        index.upsert(rows)
    assert "disk space" in str(error.value.cure)
    assert len(at.stub.written) == count - count // 5
    at.stub.refuses = lambda uuid: None
    index.upsert(rows)
    assert {each.uuid for each in at.stub.written} == {each.id for each in rows}


def test_a_write_of_which_all_fails_is_seen(at: Serving, door: Any) -> None:
    """The client has an exception of its own for that."""
    index = opened(at, door)
    index.ensure()
    at.stub.refuses = lambda uuid: "no space left on device"
    with pytest.raises(IndexUnavailable, match="no space left"):
        index.upsert(generation_of(1, 5))


@pytest.mark.parametrize("brought", [100, 1_000], ids=["at its beginning", "at its end"])
def test_a_stream_that_ends_early_is_a_failure(at: Serving, door: Any, brought: int) -> None:
    """What was taken over but never confirmed may be lost."""
    index = opened(at, door)
    index.ensure()
    at.stub.hangs_up = brought
    with pytest.raises(IndexUnavailable, match=r"of 1000 chunks were not written|died"):
        index.upsert(generation_of(1, 1_000))


def test_deletions_go_on_until_nothing_matches(at: Serving, door: Any) -> None:
    """Weaviate deletes 10,000 at a time and calls it a success."""
    index = opened(at, door)
    at.stub.held = 25_000
    index.delete([3, 1, 2, 3])
    assert at.stub.held == 0
    assert [_filter(each) for each in at.stub.deletions] == 4 * [
        ("generation", "OPERATOR_CONTAINS_ANY", [1, 2, 3])
    ]
    index.delete([])
    assert len(at.stub.deletions) == 4


def test_a_deletion_that_fails_is_said(at: Serving, door: Any) -> None:
    """It neither loops for ever nor passes for done."""
    at.stub.held, at.stub.undeletable = 5, 2
    with pytest.raises(IndexUnavailable, match="not all chunks were deleted"):
        opened(at, door).delete([1])


def _property(name: str, **changes: Any) -> Callable[[Any], None]:
    def change(schema: Any) -> None:
        (found,) = (each for each in schema["properties"] if each["name"] == name)
        found.update(changes)

    return change


def _without(name: str) -> Callable[[Any], None]:
    def change(schema: Any) -> None:
        schema["properties"] = [each for each in schema["properties"] if each["name"] != name]

    return change


ALTERED: dict[str, Callable[[Any], None]] = {
    "document ids by word": _property("document_id", tokenization="word"),
    "document ids searchable": _property("document_id", indexSearchable=True),
    "no acl_id": _without("acl_id"),
    "acl_id as text": _property("acl_id", dataType=["text"], tokenization="field"),
    "acl_id as text by word": _property("acl_id", dataType=["text"], tokenization="word"),
    "acl_id as number": _property("acl_id", dataType=["number"]),
    "acl_id as list": _property("acl_id", dataType=["int[]"]),
    "acl_id not filterable": _property("acl_id", indexFilterable=False),
    "generation not filterable": _property("generation", indexFilterable=False),
    "terms by word": _property("terms", tokenization="word"),
    "terms not searchable": _property("terms", indexSearchable=False),
    "no text": _without("text"),
    "texts searchable": _property("text", indexSearchable=True),
    "other constants": lambda schema: schema["invertedIndexConfig"]["bm25"].update(k1=2.0),
    "stop words": lambda schema: schema["invertedIndexConfig"]["stopwords"].update(preset="en"),
    "more stop words": lambda schema: schema["invertedIndexConfig"]["stopwords"].update(
        additions=["alpha"]
    ),
    "another model": lambda schema: schema.update(
        description=schema["description"].replace("model-of-tests", "another")
    ),
    "another distance": lambda schema: schema["vectorConfig"]["default"][
        "vectorIndexConfig"
    ].update(distance="l2-squared"),
    "tenants": lambda schema: schema["multiTenancyConfig"].update(enabled=True),
}


@pytest.mark.parametrize("change", ALTERED.values(), ids=ALTERED.keys())
def test_a_schema_that_was_altered_is_refused(at: Serving, change: Callable[[Any], None]) -> None:
    """Neither a start, nor readiness, nor a write passes over it, and it is left as it is."""
    index = opened(at)
    index.ensure()
    index.ping()
    change(at.stub.schemas[NAME])
    altered = copy.deepcopy(at.stub.schemas[NAME])
    for act in (index.ensure, index.ping, lambda: index.upsert([row()])):
        with pytest.raises(IndexUnavailable, match="not as Sluice made it") as error:
            act()
        assert "sluice index migrate" in str(error.value)
    assert at.stub.written == []
    assert at.stub.schemas[NAME] == altered


def test_a_collection_that_is_not_there_says_how_to_make_it(at: Serving, door: Any) -> None:
    """And a write does not let Weaviate make one of its own choice."""
    index = opened(at, door)
    for act in (index.ping, lambda: index.upsert([row()])):
        with pytest.raises(IndexUnavailable, match="Ingest a source first"):
            act()
    assert at.stub.written == []
    assert at.stub.schemas == {}


def test_settings_become_the_collection(at: Serving) -> None:
    """Replicas, shards, cutoff and quantization are what a new collection is made with."""
    opened(
        at,
        weaviate_replicas=3,
        weaviate_shards=2,
        weaviate_flat_cutoff=7,
        weaviate_quantization="none",
    ).ensure()
    made = at.stub.schemas[NAME]
    assert made["replicationConfig"] == {
        "factor": 3,
        "asyncEnabled": True,
        "deletionStrategy": "TimeBasedResolution",
    }
    assert made["shardingConfig"]["desiredCount"] == 2
    vectors = made["vectorConfig"]["default"]["vectorIndexConfig"]
    assert vectors["flatSearchCutoff"] == 7
    assert vectors["filterStrategy"] == "acorn"
    assert vectors["skipDefaultQuantization"] is True


def test_the_api_key_travels_as_authorization_and_stays_out_of_errors(
    at: Serving, door: Any
) -> None:
    """On both endpoints; a wrong one is named by its setting, never by its value."""
    at.stub.key = KEY
    index = opened(at, door, weaviate_api_key=KEY)
    index.ensure()
    index.search_terms("alpha", {1}, 10)
    assert at.stub.keys == {f"Bearer {KEY}"}
    at.stub.key = "another"
    for act in (index.ping, lambda: index.search_terms("alpha", {1}, 10)):
        with pytest.raises(IndexUnavailable, match="Check SLUICE_WEAVIATE_API_KEY") as error:
            act()
        assert KEY not in "".join(traceback.format_exception(error.value))


def test_a_key_that_the_server_repeats_is_blotted_out(at: Serving, door: Any) -> None:
    """Whatever a proxy in between puts into its messages."""
    index = opened(at, door, weaviate_api_key=KEY)
    index.ensure()
    at.stub.refuses = lambda uuid: f"no room for {KEY}"
    with pytest.raises(IndexUnavailable) as error:
        index.upsert([row("a"), row("b")])
    assert KEY not in str(error.value)


def test_a_slow_server_is_an_error_in_time(at: Serving, door: Any) -> None:
    """A search waits as long as the settings say, and no retry makes it longer."""
    index = opened(at, door, weaviate_timeout=0.5)
    index.ensure()
    at.stub.delay = 3
    for act in (
        lambda: index.search_terms("alpha", {1}, 10),
        lambda: index.search_vector(ASKED, {1}, 10),
    ):
        began = time.monotonic()
        with pytest.raises(IndexUnavailable, match="did not answer in time") as error:
            act()
        assert time.monotonic() - began < 1.5
        assert "SLUICE_WEAVIATE_TIMEOUT" in str(error.value)
    at.stub.delay = 0
    assert index.search_terms("alpha", {1}, 10) == []


def test_a_server_that_says_unavailable_is_an_error_in_time(
    at: Serving, loop: asyncio.AbstractEventLoop
) -> None:
    """The client would try again for a minute; whoever waits for an answer does not."""
    index = opened(at, loop, weaviate_timeout=0.5)
    index.ensure()
    at.stub.status = grpc.StatusCode.UNAVAILABLE
    began = time.monotonic()
    with pytest.raises(IndexUnavailable):
        index.search_terms("alpha", {1}, 10)
    assert time.monotonic() - began < 1.5


@pytest.mark.parametrize(
    "status", ["UNKNOWN", "INTERNAL", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED"]
)
def test_any_refusal_is_one_line_with_a_cure(at: Serving, door: Any, status: str) -> None:
    """Nothing of the client's own reaches a caller."""
    index = opened(at, door)
    index.ensure()
    at.stub.status = grpc.StatusCode[status]
    with pytest.raises(IndexUnavailable) as error:
        index.search_terms("alpha", {1}, 10)
    assert error.value.subject == f"weaviate at {at.url}"
    assert error.value.cure and "\n" not in str(error.value)


def patiently(ask: Callable[[], Any]) -> Any:
    """What ``ask`` returns: a busy machine may take longer than the client waits."""
    for _ in range(10):
        with suppress(IndexUnavailable):
            return ask()
    raise AssertionError("it is never used")


def test_a_server_that_comes_later_or_comes_back_is_used(door: Any) -> None:
    """Opening connects to nothing, and one index object outlives any number of restarts."""
    stub = Stub()
    with serve(stub) as first:
        ports = int(first.url.rpartition(":")[2]), int(first.grpc.rpartition(":")[2])
    index = opened(first, door, weaviate_timeout=1.0)
    for _ in range(2):
        with pytest.raises(IndexUnavailable, match=r"cannot be reached|in time") as error:
            index.search_terms("alpha", {1}, 10)
        assert "SLUICE_WEAVIATE_URL" in str(error.value) or "Start it" in str(error.value)
        with serve(stub, ports=ports):
            patiently(index.ensure)
            assert patiently(lambda: index.search_terms("alpha", {1}, 10)) == []
    began = time.monotonic()
    for _ in range(3):
        with pytest.raises(IndexUnavailable):
            index.search_vector(ASKED, {1}, 10)
    assert time.monotonic() - began < 5


def test_one_client_serves_all_threads_of_a_loop(
    at: Serving, loop: asyncio.AbstractEventLoop
) -> None:
    """Twenty threads and two indexes share one connection, and wait for nobody but themselves."""
    opened(at, loop).ensure()
    indexes = [opened(at, loop), opened(at, loop)]
    at.stub.delay = 0.1
    at.stub.paths.clear()
    began = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(indexes[i % 2].search_terms, "alpha", {i + 1}, 10) for i in range(100)]
        assert all(each.result() == [] for each in asked)
    assert time.monotonic() - began < 5  # ten seconds one after the other
    assert sorted(_filter(each)[2][0] for each in at.stub.searches) == list(range(1, 101))
    assert at.stub.paths == []  # whoever connects asks for /v1/meta first


def test_a_request_that_fails_costs_no_other_one(
    at: Serving, loop: asyncio.AbstractEventLoop
) -> None:
    """The client is replaced, and closed only when its last request has ended."""
    patient, hasty = opened(at, loop), opened(at, loop)
    patient.ensure()
    at.stub.delay = 0.5
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(patient.search_terms, "alpha", {1}, 10)
        while not at.stub.searches:
            time.sleep(0.01)
        at.stub.status = grpc.StatusCode.INTERNAL
        at.stub.delay = 0
        with pytest.raises(IndexUnavailable):
            hasty.search_terms("alpha", {2}, 10)
        hasty.close()
        at.stub.status = None
        assert running.result() == []
    assert hasty.search_terms("alpha", {2}, 10) == []


def test_the_loop_itself_cannot_wait(at: Serving, loop: asyncio.AbstractEventLoop) -> None:
    """A request made on the loop would wait for ever: it is refused; closing there is not."""
    index = opened(at, loop)
    index.ensure()

    async def ask() -> None:
        index.close()
        index.search_terms("alpha", {1}, 10)

    with pytest.raises(IndexUnavailable, match="worker thread"):
        asyncio.run_coroutine_threadsafe(ask(), loop).result(5)


def test_a_loop_that_has_ended_is_an_error(at: Serving) -> None:
    """A server on its way down answers with an error, not with a thread that waits for ever."""
    ended = asyncio.new_event_loop()
    ended.close()
    index = opened(at, ended)
    with pytest.raises(IndexUnavailable):
        index.search_terms("alpha", {1}, 10)
    index.close()


def test_no_proxy_is_asked(at: Serving, door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment variables of a workplace do not send chunks elsewhere."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    index = opened(at, door, weaviate_timeout=2)
    index.ensure()
    assert index.search_terms("alpha", {1}, 10) == []


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "weaviate of tests")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / "ca.pem", folder / "key.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return pem, secret


def test_tls_is_spoken_with_both_endpoints_and_only_with_whom_we_trust(
    authority: tuple[Path, Path], door: Any
) -> None:
    """An authority of one's own is trusted where it is named, and not elsewhere."""
    with serve(Stub(key=KEY), certificate=authority) as at:
        index = opened(at, door, weaviate_ca=authority[0], weaviate_api_key=KEY)
        index.ensure()
        assert index.search_terms("alpha", {1}, 10) == []
        assert len(at.stub.searches) == 1
        index.close()
        at.stub.keys.clear()
        with pytest.raises(IndexUnavailable, match=r"certificate.*SLUICE_WEAVIATE_CA"):
            opened(at, door, weaviate_api_key=KEY).search_terms("alpha", {1}, 10)
        assert at.stub.keys == set()


def test_a_weaviate_that_is_nowhere_is_a_matter_of_configuration() -> None:
    """Named by its variable, before anything is opened."""
    with pytest.raises(ConfigurationError, match="SLUICE_WEAVIATE_URL"):
        open_weaviate(Settings(), collection(NAME))
