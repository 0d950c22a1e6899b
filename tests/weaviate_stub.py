"""A Weaviate of a few hundred lines, on real sockets: what the client sends is seen, what it gets
is decided by the test. It holds no chunks; it answers as the real one does, or refuses as it would.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
from weaviate.proto.v1 import (
    aggregate_pb2,
    base_pb2,
    batch_delete_pb2,
    batch_pb2,
    search_get_pb2,
    weaviate_pb2_grpc,
)

MOST = 10_000  # objects of one deletion, results of one search
_HNSW = {
    "cleanupIntervalSeconds": 300,
    "dynamicEfFactor": 8,
    "dynamicEfMax": 500,
    "dynamicEfMin": 100,
    "ef": -1,
    "efConstruction": 128,
    "maxConnections": 32,
    "skip": False,
    "vectorCacheMaxObjects": 10**12,
}
_SHARDING = {
    "actualCount": 1,
    "actualVirtualCount": 128,
    "desiredCount": 1,
    "desiredVirtualCount": 128,
    "function": "murmur3",
    "key": "_id",
    "strategy": "hash",
    "virtualPerPhysical": 128,
}


@dataclass
class Stub(weaviate_pb2_grpc.WeaviateServicer):  # type: ignore[misc]  # it ships no types
    """What was asked, and how to answer."""

    schemas: dict[str, Any] = field(default_factory=dict)
    searches: list[search_get_pb2.SearchRequest] = field(default_factory=list)
    written: list[batch_pb2.BatchObject] = field(default_factory=list)
    deletions: list[batch_delete_pb2.BatchDeleteRequest] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)  # Authorization of every request
    paths: list[str] = field(default_factory=list)  # of every HTTP request

    key: str | None = None  # that is asked for
    delay: float = 0.0  # seconds until a search is answered
    status: grpc.StatusCode | None = None  # what every search ends with
    refuses: Callable[[str], str | None] = lambda uuid: None  # why not to write one
    hangs_up: int | None = None  # as soon as a stream has brought so many chunks
    held: int = 0  # objects that match a deletion
    undeletable: int = 0  # of each deletion

    def Search(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        self._admit(context)
        self.searches.append(request)
        time.sleep(self.delay)
        if self.status:
            context.abort(self.status, "the stub was told to")
        if request.limit > MOST:
            context.abort(grpc.StatusCode.UNKNOWN, "query maximum results exceeded")
        if request.HasField("bm25_search"):
            self._must_be("indexSearchable", *request.bm25_search.properties, context=context)
        self._must_be("indexFilterable", *_names(request.filters), context=context)
        return search_get_pb2.SearchReply()

    def Aggregate(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._admit(context)
        return aggregate_pb2.AggregateReply(single_result={"objects_count": self.held})

    def BatchObjects(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._admit(context)
        errors = []
        for index, each in enumerate(request.objects):
            if why := self.refuses(each.uuid):
                errors.append(batch_pb2.BatchObjectsReply.BatchError(index=index, error=why))
            else:
                self.written.append(each)
        return batch_pb2.BatchObjectsReply(errors=errors)

    def BatchStream(self, request_iterator: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        self._admit(context)
        reply = batch_pb2.BatchStreamReply
        yield reply(started=reply.Started())
        brought = 0
        for request in request_iterator:
            if request.HasField("stop"):
                return
            objects = request.data.objects.values
            yield reply(acks=reply.Acks(uuids=[each.uuid for each in objects]))
            results = reply.Results()
            for each in objects:
                if why := self.refuses(each.uuid):
                    results.errors.add(uuid=each.uuid, error=why)
                else:
                    self.written.append(each)
                    results.successes.add(uuid=each.uuid)
            brought += len(objects)
            if self.hangs_up and brought >= self.hangs_up:
                return
            yield reply(results=results)

    def BatchDelete(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._admit(context)
        self.deletions.append(request)
        matches, deleted = self.held, min(self.held, MOST)
        deleted = max(0, deleted - self.undeletable)
        self.held -= deleted
        return batch_delete_pb2.BatchDeleteReply(
            matches=matches, successful=deleted, failed=int(bool(self.undeletable))
        )

    def rest(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Answer an HTTP request."""
        match method, path.removeprefix("/v1/").split("?")[0].split("/"):
            case "GET", ["meta"]:
                return 200, {"version": "1.39.0", "grpcMaxMessageSize": 104_858_000}
            case "GET", ["nodes"]:
                return 200, {"nodes": [{"name": "node1", "status": "HEALTHY"}]}
            case "POST", ["schema"]:
                self.schemas[body["class"]] = _completed(body)
                return 200, body
            case "GET", ["schema", name, "shards"]:
                return 200, [{"name": "one", "status": "READY", "vectorQueueSize": 0}]
            case "GET", ["schema", name] if name in self.schemas:
                return 200, self.schemas[name]
        return 404, None

    def _admit(self, context: Any) -> None:
        sent = dict(context.invocation_metadata()).get("authorization")
        self.keys.add(sent)
        if self.key and sent != f"Bearer {self.key}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "unauthorized: invalid api key")

    def _must_be(self, index: str, *names: str, context: Any) -> None:
        for schema in self.schemas.values():
            there = {each["name"] for each in schema["properties"] if each.get(index)}
            for missing in set(names) - there:
                context.abort(grpc.StatusCode.UNKNOWN, f"{missing!r} requires inverted index")


def _names(filters: base_pb2.Filters) -> list[str]:
    inner = [name for each in filters.filters for name in _names(each)]
    return [*inner, *filter(None, [filters.target.property])]


def _completed(schema: dict[str, Any]) -> dict[str, Any]:
    """With the defaults that the real one adds."""
    for vector in schema["vectorConfig"].values():
        vector["vectorIndexConfig"] = {**_HNSW, **vector["vectorIndexConfig"]}
    inverted = schema["invertedIndexConfig"]
    inverted.setdefault("cleanupIntervalSeconds", 60)
    inverted["stopwords"] = {"additions": None, "removals": None, **inverted["stopwords"]}
    schema["shardingConfig"] = {**_SHARDING, **(schema.get("shardingConfig") or {})}
    return schema


@dataclass(frozen=True)
class Serving:
    """A stub that listens."""

    stub: Stub
    url: str
    grpc: str


@contextlib.contextmanager
def serve(
    stub: Stub, *, ports: tuple[int, int] = (0, 0), certificate: tuple[Path, Path] | None = None
) -> Iterator[Serving]:
    """Serve ``stub`` on loopback until the block ends.

    Args:
        stub: answers.
        ports: of HTTP and gRPC; 0 is a free one.
        certificate: PEM files of a certificate and its key; both endpoints then use TLS.
    """
    http = ThreadingHTTPServer(("127.0.0.1", ports[0]), _handler(stub))
    server = grpc.server(ThreadPoolExecutor(32))
    weaviate_pb2_grpc.add_WeaviateServicer_to_server(stub, server)
    address, scheme = f"127.0.0.1:{ports[1]}", "http"
    if certificate:
        chain, key = certificate
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        http.socket = context.wrap_socket(http.socket, server_side=True)
        pair = [(key.read_bytes(), chain.read_bytes())]
        port = server.add_secure_port(address, grpc.ssl_server_credentials(pair))
        scheme = "https"
    else:
        port = server.add_insecure_port(address)
    server.start()
    thread = threading.Thread(target=http.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield Serving(stub, f"{scheme}://127.0.0.1:{http.server_port}", f"127.0.0.1:{port}")
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
        server.stop(0).wait()


def _handler(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            key = self.headers.get("Authorization")
            stub.keys.add(key)
            stub.paths.append(self.path)
            if stub.key and key != f"Bearer {stub.key}":
                status, body = 401, {"error": [{"message": "unauthorized: invalid api key"}]}
            else:
                status, body = stub.rest(self.command, self.path, json.loads(sent or "null"))
            raw = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815  # http.server's names

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler
