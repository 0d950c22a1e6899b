"""LanceDB and Weaviate with the same made-up chunks in them, filled by a process of its own."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import made_up
import measure
import servers
from made_up import Question
from servers import Memory
from sluice.index import open_index
from sluice.index.fusion import DEPTH, fuse
from sluice.model import Candidate, Collection
from sluice.ports import Index
from sluice.settings import Settings, load

OBJECTS = 5_000  # the cap on what one search is filtered by
BANDS = {"0.1 %": 0.001, "0.3 %": 0.003, "1 %": 0.01, "15 %": 0.15, "100 %": 1.0}
KINDS = ("vector", "keyword", "hybrid")
LANCE = "LanceDB"
_BATCHED = {"QUERY_BATCHED_CONTAINS_ENABLED": "true"}
WEAVIATES: dict[str, tuple[str, dict[str, str]]] = {  # quantization, environment
    "Weaviate": ("rq", _BATCHED),
    "Weaviate, full vectors": ("none", _BATCHED),
    "Weaviate as it comes": ("rq", {}),
}
WEAVIATE, *VARIANTS = WEAVIATES
_A_WRITE = 2_000  # chunks, about what an ingest of 500 pages writes at once
_WAIT = "600"  # seconds of SLUICE_WEAVIATE_TIMEOUT, so that a slow search is measured
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Store:
    """One backend with everything in it."""

    name: str
    settings: Settings
    server: servers.Server | None
    loaded: Row  # what filling it took

    @property
    def pid(self) -> int | None:
        return self.server.pid if self.server else None

    @contextmanager
    def opened(self, loop: asyncio.AbstractEventLoop) -> Iterator[Asking]:
        """Ask as the service does: one asynchronous client for all threads."""
        index = open_index(self.settings, collection(self.settings), loop=loop)
        yield Asking(self.name, index, self.pid)
        index.close()


@dataclass(frozen=True, slots=True)
class Asking:
    """A store that can be asked."""

    name: str
    index: Index
    pid: int | None

    def search(self, kind: str, asked: Question, limit: int = made_up.TOP) -> list[Candidate]:
        """The best ``limit`` chunks."""
        if kind == "vector":
            return self.index.search_vector(asked.vector, asked.scope, limit)
        if kind == "keyword":
            return self.index.search_terms(asked.terms, asked.scope, limit)
        keyword = self.search("keyword", asked, DEPTH)
        return fuse(keyword, self.search("vector", asked, DEPTH), 0.2)[:limit]


@contextmanager
def filled(name: str, home: Path, chunks: int) -> Iterator[Store]:
    """The store called ``name`` in ``home``, with ``chunks`` chunks in it."""
    home.mkdir()
    named: dict[str, Any] = {"home": str(home), "tenant": made_up.TENANT, "weaviate_timeout": _WAIT}
    with ExitStack() as stack:
        server = None
        if name in WEAVIATES:
            quantization, environment = WEAVIATES[name]
            server = stack.enter_context(servers.weaviate(home, **environment))
            named |= servers.reach(server) | {"weaviate_quantization": quantization}
        before = servers.cpu(server.pid) if server else 0.0
        environment = {f"SLUICE_{key.upper()}": value for key, value in named.items()}
        spent, _ = measure.run(__file__, [str(chunks)], environment)
        served = servers.cpu(server.pid) - before if server else 0.0
        loaded = {
            "chunks": chunks,
            "store": name,
            "write s": spent["write s"],
            "fold s": spent["fold s"],
            "rows/s": chunks / (spent["write s"] + spent["fold s"]),
            "CPU ms a row": 1000 * (spent["CPU s"] + served) / chunks,
            "disk MB": servers.megabytes(home),
            "server MB": Memory.of(server.pid).own if server else None,
        }
        yield Store(name, Settings(**named), server, loaded)


def _fill(chunks: int) -> Row:
    """In a process of its own: write everything, and fold it."""
    settings = load()
    made = made_up.corpus(chunks, OBJECTS)
    index = open_index(settings, collection(settings))
    index.ensure()
    written, cpu = 0.0, 0.0
    for first in range(0, chunks, _A_WRITE):
        rows = made_up.rows(made, first, first + _A_WRITE)
        began, spent = time.perf_counter(), time.process_time()
        index.upsert(rows)
        written += time.perf_counter() - began
        cpu += time.process_time() - spent
    began, spent = time.perf_counter(), time.process_time()
    index.optimize()
    folded = time.perf_counter() - began
    cpu += time.process_time() - spent
    if index.size() != chunks:
        raise AssertionError(f"{index.size()} of {chunks} chunks are there")
    index.close()
    return {"write s": written, "fold s": folded, "CPU s": cpu}


def collection(settings: Settings) -> Collection:
    """What a store's collection is, without a catalog to say so."""
    return Collection(
        collection_id=1,
        backend=settings.index,
        name="Sluice_made_up",
        embedder="local-static",
        model=made_up.MODEL,
        dimensions=made_up.DIMENSIONS,
        recipe="made-up",
        state="serving",
    )


if __name__ == "__main__":
    measure.answer(lambda: _fill(int(sys.argv[2])))
