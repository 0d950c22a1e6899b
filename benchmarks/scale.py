"""What ten thousand to a million chunks take: memory, disk, time to write and time to find.

    python benchmarks/scale.py [--chunks 10000 100000 1000000] [--questions 15]

Each store is filled, restarted and asked alone, so that what it takes is its own. What LanceDB
takes in memory is what the process that asks grows by; what Weaviate takes is its server's.
``sizing.py`` makes the tables of ``docs/scale.md`` of the results.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import asking
import made_up
import measure
import report
import servers
import sizing
from servers import Memory
from sluice.index import open_index
from sluice.settings import load
from stores import BANDS, LANCE, OBJECTS, Asking, Row, Store, collection, filled

STORES = (LANCE, "Weaviate", "Weaviate, full vectors")
PACKAGES = ["lancedb", "weaviate-client", "numpy"]
NOTE = "memory: after all questions. hybrid: p50 ms of one client, by what may be seen"


def main(sizes: Sequence[int], stores: Sequence[str], questions: int) -> int:
    """Measure, print, write the results beside those of other sizes; return the exit status."""
    again = set(product(sizes, stores))
    rows = [row for row in _before() if (row["chunks"], row["store"]) not in again]
    for chunks in sizes:
        for name in stores:
            with tempfile.TemporaryDirectory(prefix="sluice-scale-") as folder:
                row = _measured(name, Path(folder) / "store", chunks, questions)
            rows.append(row | {"load": round(os.getloadavg()[0], 1)})
            rows.sort(key=lambda row: (row["chunks"], STORES.index(row["store"])))
            report.write("scale", {"rows": rows}, PACKAGES)  # a million may be too many
    report.table("Measured", [sizing.shown(row) for row in rows], NOTE)
    return report.verdict(
        {"recall@10 is 0.95 or more in every band": all(row["recall@10"] >= 0.95 for row in rows)}
    )


def _before() -> list[Row]:
    path = report.RESULTS / "scale.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


def _measured(name: str, home: Path, chunks: int, questions: int) -> Row:
    with filled(name, home, chunks) as store:
        loaded = store.loaded | {"loaded MB": store.loaded["server MB"]}
        restart = _restart(store)
        environment = {
            f"SLUICE_{key.upper()}": str(value)
            for key, value in store.settings.model_dump(exclude_defaults=True).items()
        }
        given = [name, str(chunks), str(questions), str(store.pid or "")]
        asked, _ = measure.run(__file__, given, environment)
        memory = Memory.of(store.pid).own if store.pid else asked["grown MB"]
        return {
            **{key: value for key, value in loaded.items() if key != "server MB"},
            "restart s": restart,
            "memory MB": memory,
            "disk MB": servers.megabytes(home),
            **{key: value for key, value in asked.items() if key != "grown MB"},
        }


def _restart(store: Store) -> float | None:
    """Seconds until a server that was stopped is ready again."""
    if store.server is None:
        return None
    store.server.stop()
    began = time.monotonic()
    store.server.start()
    return time.monotonic() - began


def _ask(name: str, chunks: int, questions: int, pid: int | None) -> Row:
    """In a process of its own: ask every band of one store."""
    made = made_up.corpus(chunks, OBJECTS)
    before = Memory.of(os.getpid()).own
    index = open_index(load(), collection(load()))
    bands = {
        visible: asking.band([Asking(name, index, pid)], made, share, questions)[0]
        for visible, share in BANDS.items()
    }
    index.close()
    return {
        "grown MB": Memory.of(os.getpid()).own - before,
        "recall@10": min(row["vector recall@10"] for row in bands.values()),
        "bands": bands,
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        store, size, number, server = sys.argv[2:]
        measure.answer(lambda: _ask(store, int(size), int(number), int(server) if server else None))
    else:
        arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
        arguments.add_argument("--chunks", type=int, nargs="+", default=[10**4, 10**5, 10**6])
        arguments.add_argument("--stores", nargs="+", default=STORES, choices=STORES)
        arguments.add_argument("--questions", type=int, default=15)
        given = arguments.parse_args()
        sys.exit(main(given.chunks, given.stores, given.questions))
