"""Where should Weaviate stop reading a permitted set through, and walk its graph instead?

    python benchmarks/cutoff.py [--chunks 100000] [--questions 100]

Sections of real sentences, embedded by the default model, in one Weaviate that is asked exactly and
by its graph, which it walks more and more widely. NumPy says what the first ten are. Headings and
beginnings of sections are asked; a caller may see from 10 to 100 % of 200 folders. Made-up vectors
around centres would not do: a graph finds those at any width.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pages
import quality
import report
import servers
import weaviate
from numpy.typing import NDArray
from sluice.embedding import open_embedder
from sluice.index import weaviate_schema
from sluice.index.fusion import DEPTH
from sluice.index.weaviate import WeaviateIndex, open_weaviate
from sluice.model import Collection, IndexedChunk
from sluice.ports import Vectors
from sluice.settings import Settings
from weaviate.classes.config import Reconfigure

FOLDERS = 200
BANDS = (0.1, 0.5, 1.0)  # shares of the folders
WIDTHS = (256, 1024, 2048)  # `ef`
CHOSEN = 2048
TOP = 10
_TIE = 1e-5  # cosines that differ by less
_A_WRITE = 2_000
NOTE = "ms: mean of one client after another; CPU ms: client and server; × exact: CPU time"
Row = dict[str, Any]


def main(chunks: int, questions: int) -> int:
    """Measure, print, write the results; return the exit status."""
    if not quality.DATA.is_dir():
        print(f"skipped: no test collections in {quality.DATA}")
        return 0
    texts, asked = _sections(chunks, questions)
    embedder = open_embedder("local-static")
    vectors = np.concatenate(
        [embedder.embed(texts[i : i + _A_WRITE]) for i in range(0, chunks, _A_WRITE)]
    )
    collection = Collection(
        collection_id=1,
        backend="weaviate",
        name="Cutoff",
        embedder="local-static",
        model=embedder.model,
        dimensions=embedder.dimensions,
        recipe="cutoff",
        state="serving",
    )
    with (
        tempfile.TemporaryDirectory(prefix="sluice-cutoff-") as folder,
        servers.weaviate(Path(folder)) as server,
    ):
        settings = Settings(**servers.reach(server))
        index = open_weaviate(settings, collection)
        _fill(index, settings.tenant, vectors)
        rows = _rows(server, index, collection, vectors, embedder.embed(asked))
        index.close()
    claims = _claims(rows)
    report.table(f"{chunks:,} sections of real sentences", rows, NOTE)
    report.write("cutoff", {"rows": rows, "claims": claims}, ["weaviate-client", "numpy"])
    return report.verdict(claims)


def _claims(rows: Sequence[Row]) -> dict[str, bool]:
    exact = [row for row in rows if row["search"] == "exact"]
    chosen = [row for row in rows if row["search"] == f"ef {CHOSEN}"]
    return {
        "an exact search finds the first ten": all(row["recall@10"] >= 0.999 for row in exact),
        "it takes at most 1.5 times the CPU time of the graph as wide as is set": all(
            one["CPU ms"] <= 1.5 * other["CPU ms"] for one, other in zip(exact, chosen, strict=True)
        ),
    }


def _sections(chunks: int, questions: int) -> tuple[list[str], list[str]]:
    """Texts as pages have them, and what is asked."""
    stock = pages.sentences([text for _, text in quality.scifact(quality.DATA).documents.values()])
    chance = random.Random("cutoff")
    headings = [" ".join(chance.choice(stock).split()[:5]) for _ in range(chunks)]
    bodies = [" ".join(chance.choices(stock, k=pages.SENTENCES)) for _ in range(chunks)]
    asked = [
        chance.choice(bodies)[:200] if number % 2 else chance.choice(headings)
        for number in range(questions)
    ]
    return [f"{one}\n\n{other}" for one, other in zip(headings, bodies, strict=True)], asked


def _fill(index: WeaviateIndex, tenant: str, vectors: Vectors) -> None:
    index.ensure()
    for first in range(0, len(vectors), _A_WRITE):
        index.upsert(
            [
                IndexedChunk(
                    tenant=tenant,
                    document_id=str(first + offset),
                    generation=1 + first + offset,
                    acl_id=(first + offset) % FOLDERS,
                    ordinal=0,
                    path=("Section",),
                    text="of no matter here",
                    terms="matter",
                    vector=vector,
                )
                for offset, vector in enumerate(vectors[first : first + _A_WRITE])
            ]
        )


def _rows(
    server: servers.Server,
    index: WeaviateIndex,
    collection: Collection,
    vectors: Vectors,
    asked: Vectors,
) -> list[Row]:
    host, _, grpc = server.grpc.rpartition(":")
    port = int(server.url.rpartition(":")[2])
    with weaviate.connect_to_local(host, port=port, grpc_port=int(grpc)) as client:
        config = client.collections.use(collection.name).config
        rows = []
        for search, width in (("exact", CHOSEN), *((f"ef {width}", width) for width in WIDTHS)):
            hnsw = Reconfigure.VectorIndex.hnsw(
                ef=width, flat_search_cutoff=1 + len(vectors) if search == "exact" else 0
            )
            config.update(
                vector_config=Reconfigure.Vectors.update(
                    name=weaviate_schema.VECTOR, vector_index_config=hnsw
                )
            )
            time.sleep(1)  # until every shard has heard of it
            rows += [{"search": search, **_band(server, index, vectors, asked, x)} for x in BANDS]
    for row in rows:
        exact = next(x for x in rows if (x["search"], x["seen"]) == ("exact", row["seen"]))
        row["× exact"] = row["CPU ms"] / exact["CPU ms"]
    return rows


def _band(
    server: servers.Server, index: WeaviateIndex, vectors: Vectors, asked: Vectors, share: float
) -> Row:
    scope = frozenset(random.Random(share).sample(range(FOLDERS), round(share * FOLDERS)))
    mine = np.isin(np.arange(len(vectors)) % FOLDERS, sorted(scope))
    began, spent = time.perf_counter(), servers.cpu(server.pid)
    answers = [index.search_vector(each, scope, DEPTH)[:TOP] for each in asked]
    took, used = time.perf_counter() - began, servers.cpu(server.pid) - spent
    recalls = [
        _recall(vectors @ question, mine, [hit.generation - 1 for hit in answer])
        for question, answer in zip(asked, answers, strict=True)
    ]
    return {
        "seen": f"{share:.0%}",
        "permitted": int(mine.sum()),
        "recall@10": float(np.mean(recalls)),
        "worst": min(recalls),
        "ms": 1000 * took / len(asked),
        "CPU ms": 1000 * used / len(asked),
    }


def _recall(cosines: Vectors, mine: NDArray[np.bool_], found: Sequence[int]) -> float:
    last = np.partition(cosines[mine], -TOP)[-TOP]
    return sum(bool(mine[row]) and cosines[row] >= last - _TIE for row in found) / TOP


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--chunks", type=int, default=100_000)
    arguments.add_argument("--questions", type=int, default=100)
    given = arguments.parse_args()
    sys.exit(main(given.chunks, given.questions))
