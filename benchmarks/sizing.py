"""From what was measured to what more will take: the tables of ``docs/scale.md``.

    python benchmarks/sizing.py

Arithmetic on ``results/scale.json`` and ``results/migration.json``, and on list prices that say
their date. What a store takes is a straight line through the two largest sizes measured: what is
there without a chunk, and what each chunk adds. Time grows by the power between those two.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import report

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scale.md"
SIZES = (10**4, 10**5, 10**6, 10**7, 10**8)
TABLES = ("measured", "growth", "plan", "ingest")
Row = Mapping[str, Any]

# List prices: Amazon EC2, us-east-1, Linux on demand, June 2026: m7g.large; its family doubles size
# and price from step to step. EBS gp3, the same place and date.
FAMILY, SMALLEST = ("large", "xlarge", "2xlarge", "4xlarge"), (8, 0.0816)  # GB, dollars an hour
DISK_A_MONTH, HOURS = 0.08, 730  # dollars a GB, hours of a month
# OpenAI, text-embedding-3-small, 2026: dollars a million tokens; limits of its usage tiers 1 and 5:
# tokens a minute, and tokens that may wait in batches, each done within 24 hours.
STANDARD, BATCH = 0.02, 0.01
A_MINUTE, WAITING = (10**6, 10**7), (3 * 10**6, 4 * 10**9)

FILLED = 0.6  # of a node's memory that Weaviate may take; the rest is for files and for growing
DISK_ROOM = 2.0  # times the disk: segments are merged beside what they replace
COPIES_FROM = 10**6  # chunks; from here on three copies, which outlive a node


@dataclass(frozen=True, slots=True)
class Line:
    """``fixed`` and ``each`` are of one unit."""

    fixed: float
    each: float

    @classmethod
    def through(cls, points: Sequence[tuple[float, float]]) -> Line:
        """The line through the two points that are furthest to the right."""
        (x0, y0), (x1, y1) = sorted(points)[-2:]
        each = (y1 - y0) / (x1 - x0)
        return cls(max(0.0, y1 - each * x1), each)

    def at(self, x: float) -> float:
        """What the line says at ``x``."""
        return self.fixed + self.each * x


def power(points: Sequence[tuple[float, float]]) -> float:
    """How y grows with x between the two points that are furthest to the right: the exponent."""
    (x0, y0), (x1, y1) = sorted(points)[-2:]
    return math.log(y1 / y0) / math.log(x1 / x0)


@dataclass(frozen=True, slots=True)
class Measured:
    """One store at every size measured."""

    rows: tuple[Row, ...]

    @classmethod
    def of(cls, results: Row, store: str) -> Measured:
        """What ``results/scale.json`` says of ``store``."""
        return cls(tuple(row for row in results["rows"] if row["store"] == store))

    @property
    def largest(self) -> Row:
        return max(self.rows, key=lambda row: row["chunks"])

    def line(self, name: str) -> Line:
        """How a figure grows with the chunks."""
        return Line.through([(row["chunks"], row[name]) for row in self.rows])

    def times(self, visible: str) -> list[tuple[float, float]]:
        """The ms of a hybrid search by the chunks."""
        return [(row["chunks"], row["bands"][visible]["hybrid p50 ms"]) for row in self.rows]

    def hybrid(self, visible: str, chunks: int) -> float:
        """ms of a hybrid search, measured or by the power that was."""
        at = self.times(visible)
        last, ms = max(at)
        return dict(at).get(chunks) or ms * (chunks / last) ** power(at)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Nodes that hold a number of copies of everything."""

    copies: int
    nodes: int
    kind: str
    dollars: float  # a month, disks and all

    @classmethod
    def for_(cls, gigabytes: float, disk: float, copies: int) -> Cluster:
        """The smallest nodes that hold a copy each; more of the largest where no node can.

        Args:
            gigabytes: of memory that a copy takes.
            disk: GB of files of a copy.
            copies: of everything.
        """
        room, price = SMALLEST
        needed = [gigabytes * copies / (FILLED * room * 2**step) for step in range(len(FAMILY))]
        enough = (step for step, nodes in enumerate(needed) if nodes <= copies)
        step = next(enough, len(FAMILY) - 1)
        nodes = max(copies, math.ceil(needed[step]))
        dollars = nodes * price * 2**step * HOURS + disk * copies * DISK_ROOM * DISK_A_MONTH
        return cls(copies, nodes, f"m7g.{FAMILY[step]}", dollars)


def tables(scale: Row, moved: Row | None) -> dict[str, str]:
    """The page's tables in Markdown, by name; without ``moved`` what is measured alone."""
    measured = {
        "measured": _markdown([shown(row) for row in scale["rows"]]),
        "growth": _markdown([_growth(scale, each) for each in _stores(scale)]),
    }
    if moved is None:
        return measured
    return measured | {
        "plan": _markdown([_plan(scale, moved, chunks) for chunks in SIZES]),
        "ingest": _markdown([_ingest(scale, moved, chunks) for chunks in SIZES]),
    }


def shown(row: Row) -> dict[str, Any]:
    """A measured row as people read it."""
    hybrid = {name: band["hybrid p50 ms"] for name, band in row["bands"].items()}
    return {
        "chunks": _count(row["chunks"]),
        "store": row["store"],
        "rows/s": f"{row['rows/s']:,.0f}",
        "CPU ms a row": f"{row['CPU ms a row']:.2f}",
        "disk MB": f"{row['disk MB']:,.0f}",
        "memory MB": f"{row['memory MB']:,.0f}",
        "restart s": f"{row['restart s']:.0f}" if row["restart s"] else "–",
        **{f"{name} seen": f"{ms:,.0f}" for name, ms in hybrid.items()},
        "searches/s": " / ".join(
            f"{row['bands'][name]['searches/s']:,.0f}" for name in ("1 %", "100 %")
        ),
        "recall@10": f"{row['recall@10']:.3f}",
    }


def _stores(scale: Row) -> list[str]:
    return list(dict.fromkeys(row["store"] for row in scale["rows"]))


def _growth(scale: Row, store: str) -> dict[str, Any]:
    measured = Measured.of(scale, store)
    memory, disk = measured.line("memory MB"), measured.line("disk MB")
    bands = measured.largest["bands"]
    return {
        "store": store,
        "memory": f"{memory.fixed:,.0f} MB + {memory.each * 2**20:,.0f} B a chunk",
        "disk": f"{disk.fixed:,.0f} MB + {disk.each * 2**20:,.0f} B a chunk",
        "hybrid search": ", ".join(
            f"{name}: n^{power(measured.times(name)):.2f}" for name in bands
        ),
    }


def _plan(scale: Row, moved: Row, chunks: int) -> dict[str, Any]:
    lance, weaviate = Measured.of(scale, "LanceDB"), Measured.of(scale, "Weaviate")
    memory = weaviate.line("memory MB").at(chunks) / 1024
    disk = weaviate.line("disk MB").at(chunks) / 1024
    cluster = Cluster.for_(memory, disk, 1 if chunks < COPIES_FROM else 3)
    catalog = moved["moved"]["catalog MB"] / moved["moved"]["chunks"] * chunks / 1024
    times = [lance.hybrid(each, chunks) for each in ("1 %", "100 %")]
    others = [weaviate.hybrid(each, chunks) for each in ("1 %", "100 %")]
    return {
        "chunks": _count(chunks),
        "": "measured" if chunks <= lance.largest["chunks"] else "extrapolated",
        "catalog": _size(catalog),
        "LanceDB: memory, disk": ", ".join(
            _size(lance.line(each).at(chunks) / 1024) for each in ("memory MB", "disk MB")
        ),
        "hybrid, 1 % / 100 % seen": " / ".join(map(_time, times)),
        "a copy in Weaviate: memory, disk": f"{_size(memory)}, {_size(disk)}",
        "hybrid on one node": " / ".join(map(_time, others)),
        "copies": str(cluster.copies),
        "nodes = shards": f"{cluster.nodes} × {cluster.kind}",
        "a month": f"${cluster.dollars:,.0f}",
    }


def _ingest(scale: Row, moved: Row, chunks: int) -> dict[str, Any]:
    rate = moved["moved"]["chunks"] / moved["moved"]["build s"]
    row = Measured.of(scale, "Weaviate").largest
    tokens = chunks * moved["moved"]["tokens a chunk"]
    standard = [_hours(tokens / limit / 60) for limit in A_MINUTE]
    batch = [_hours(24.0 * math.ceil(tokens / limit)) for limit in WAITING]
    return {
        "chunks": _count(chunks),
        "local-static, into LanceDB": _hours(chunks / rate / 3600),
        "into Weaviate, a core of each copy": _hours(chunks * row["CPU ms a row"] / 3.6e6),
        "tokens": f"{tokens / 1e6:,.0f} M",
        "OpenAI standard, tier 1 / 5": " / ".join(standard),
        "price": f"${tokens * STANDARD / 1e6:,.2f}",
        "batch, at the latest, tier 1 / 5": " / ".join(batch),
        "its price": f"${tokens * BATCH / 1e6:,.2f}",
    }


def _count(chunks: int) -> str:
    return f"{chunks // 10**6} M" if chunks >= 10**6 else f"{chunks // 1000} k"


def _size(gigabytes: float) -> str:
    return f"{gigabytes:,.1f} GB" if gigabytes >= 1 else f"{gigabytes * 1024:,.0f} MB"


def _time(milliseconds: float) -> str:
    return f"{milliseconds / 1000:,.1f} s" if milliseconds >= 1000 else f"{milliseconds:,.0f} ms"


def _hours(hours: float) -> str:
    if hours < 1:
        return f"{max(1, round(60 * hours))} min"
    return f"{hours:,.1f} h" if hours < 48 else f"{hours / 24:,.0f} days"


def _markdown(rows: Sequence[Mapping[str, str]]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def rendered(page: str, made: Mapping[str, str]) -> str:
    """``page`` with each table between its marks made anew."""
    for name, table in made.items():
        marks = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.DOTALL)
        page = marks.sub(lambda found, table=table: found[1] + table + found[2], page)
    return page


def results() -> dict[str, str]:
    """The tables that there are results for."""
    paths = [report.RESULTS / f"{name}.json" for name in ("scale", "migration")]
    scale, moved = (json.loads(path.read_text()) if path.exists() else None for path in paths)
    return tables(scale, moved) if scale else {}


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text(), results()))
