"""LanceDB and Weaviate side by side: how long a search takes, how many a second, what is found.

    python benchmarks/backends.py [--chunks 10000 100000] [--questions 30]

The same made-up chunks are written into LanceDB and into three Weaviates: one that compresses
vectors to 8 bits (``rq``, the default), one that does not, both with batched contains; and one as
it comes, without. 5,000 permission objects guard them, as many as one search is filtered by, and a
caller sees 0.1, 0.3, 1, 15 or 100 % of them. The stores are asked in turn, so that all have the
same machine, and NumPy, with every vector in memory and told which rows are permitted, says what
should be found and how fast a bare multiplication is.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import asking
import made_up
import report
import servers
from servers import Memory
from sluice.index.fusion import DEPTH
from sluice.index.weaviate_schema import flat_cutoff
from sluice.settings import Settings
from stores import BANDS, LANCE, OBJECTS, VARIANTS, WEAVIATE, Row, filled

EXACT = flat_cutoff(Settings(), made_up.DIMENSIONS)  # permitted chunks; of more, a graph is walked
PACKAGES = ["lancedb", "weaviate-client", "numpy"]
NOTE_LOADED = "until all is folded; server MB after loading, and at the end of all questions"
NOTE = f"""ms: p50 / p95 of one client. hybrid: both lists {DEPTH} deep, fused. × scan: vector p50,
of NumPy's. recall: of the first ten, mean (worst). searches/s, CPU ms: hybrid, {asking.THREADS}
threads, client and server together"""


def main(sizes: Sequence[int], questions: int, variants: Sequence[str]) -> int:
    """Measure every size, print the tables, write the results; return the exit status."""
    loaded: list[Row] = []
    rows: list[Row] = []
    for chunks in sizes:
        with tempfile.TemporaryDirectory(prefix="sluice-backends-") as folder:
            more, found = measure(Path(folder), chunks, questions, variants)
        loaded += more
        rows += found
        claims = claims_of(rows)
        report.write("backends", {"loaded": loaded, "rows": rows, "claims": claims}, PACKAGES)
    report.table("Loading", loaded, NOTE_LOADED)
    report.table("Searching", [asking.shown(row) for row in rows], NOTE)
    return report.verdict(claims)


def measure(
    folder: Path, chunks: int, questions: int, variants: Sequence[str]
) -> tuple[list[Row], list[Row]]:
    """Fill every store, ask every band; what loading took, and what asking gave."""
    with ExitStack() as stack:
        stores = [
            stack.enter_context(filled(name, folder / str(number), chunks))
            for number, name in enumerate((LANCE, WEAVIATE, *variants))
        ]
        loop = stack.enter_context(servers.running_loop())
        opened = [stack.enter_context(store.opened(loop)) for store in stores]
        made = made_up.corpus(chunks, OBJECTS)
        rows = [
            {"chunks": chunks, "visible": visible, **row}
            for visible, share in BANDS.items()
            for row in asking.band(opened, made, share, questions)
        ]
        ends = [Memory.of(store.pid).own if store.pid else None for store in stores]
        loaded = [s.loaded | {"at the end": end} for s, end in zip(stores, ends, strict=True)]
    return loaded, rows


def claims_of(rows: Sequence[Row]) -> dict[str, bool]:
    """What must hold of what is found; how fast it is found is only shown."""
    exact = [row for row in rows if row["store"] == LANCE or row["permitted"] < EXACT]
    return {
        "vector recall@10 is 0.999 or more where the search is exact": all(
            row["vector recall@10"] >= 0.999 for row in exact
        ),
        "vector recall@10 is 0.95 or more where Weaviate walks its graph": all(
            row["vector recall@10"] >= 0.95 for row in rows
        ),
        "keyword recall@10 is 0.999 or more everywhere": all(
            row["keyword recall@10"] >= 0.999 for row in rows
        ),
    }


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--chunks", type=int, nargs="+", default=[10_000, 100_000])
    arguments.add_argument("--questions", type=int, default=30)
    arguments.add_argument("--variants", action="store_true")
    given = arguments.parse_args()
    sys.exit(main(given.chunks, given.questions, VARIANTS if given.variants else ()))
