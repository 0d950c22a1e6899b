"""How long searches take and what they find: stores asked in turn, NumPy beside them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import made_up
import numpy as np
import servers
from made_up import Corpus, Question, Terms
from stores import KINDS, Asking, Row

THREADS = 8
_REST = 0.01  # seconds; NumPy's threads spin on


class Seen:
    """What one store answered, and how fast."""

    def __init__(self, store: Asking):
        self.store = store
        self.times: dict[str, list[float]] = {kind: [] for kind in KINDS}  # ms
        self.recalls: dict[str, list[float]] = {"vector": [], "keyword": []}

    def ask(self, asked: Question, nearest: Sequence[int], scores: dict[int, float]) -> None:
        """Ask in every way, and judge what is found by the truth."""
        vector, keyword, _ = (self._timed(kind, asked) for kind in KINDS)
        self.recalls["vector"].append(made_up.recall(vector, nearest))
        self.recalls["keyword"].append(made_up.recall_by_score(keyword, scores))

    def row(self, scan: float) -> Row:
        """The figures; ``scan`` is the median of NumPy's times in ms."""
        return {
            "store": self.store.name,
            **{
                f"{kind} p{percent} ms": float(np.percentile(times, percent))
                for kind, times in self.times.items()
                for percent in (50, 95)
            },
            "× scan": float(np.median(self.times["vector"]) / scan),
            **{f"{kind} recall@10": float(np.mean(each)) for kind, each in self.recalls.items()},
            **{f"{kind} worst": float(min(each)) for kind, each in self.recalls.items()},
        }

    def _timed(self, kind: str, asked: Question) -> list[int]:
        found = _timed(self.times[kind], self.store.search, kind, asked)
        return [int(hit.document_id) for hit in found]


def band(stores: Sequence[Asking], made: Corpus, share: float, questions: int) -> list[Row]:
    """Ask as somebody who sees ``share`` of everything, 0 to 1; one row for each store."""
    rng = np.random.default_rng(7)
    asked = [made_up.question(made, share, rng) for _ in range(questions)]
    terms = Terms(made)
    scans: list[float] = []
    seen = [Seen(store) for store in stores]
    for store in stores:
        for each in asked[:3]:
            store.search("hybrid", each)
    for number, each in enumerate(asked):
        nearest = _timed(scans, made_up.scan, made, each)
        scores = terms.scores(each)
        time.sleep(_REST)
        first = number % len(seen)
        for one in (*seen[first:], *seen[:first]):
            one.ask(each, nearest, scores)
    scan = float(np.median(scans))
    permitted = int(np.median([len(each.permitted) for each in asked]))
    return [
        {"permitted": permitted, "scan p50 ms": scan, **one.row(scan), **_at_once(one.store, asked)}
        for one in seen
    ]


def _at_once(store: Asking, asked: Sequence[Question]) -> Row:
    """Hybrid searches by as many clients as there are threads: of three rounds the median."""
    rates, costs = [], []
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(3):
            began, before = time.perf_counter(), servers.cpu(store.pid)
            list(pool.map(lambda each: store.search("hybrid", each), asked))
            rates.append(len(asked) / (time.perf_counter() - began))
            costs.append(1000 * (servers.cpu(store.pid) - before) / len(asked))
    return {"searches/s": float(np.median(rates)), "CPU ms": float(np.median(costs))}


def shown(row: Row) -> Row:
    """A row as a table for people has it."""

    def pair(kind: str) -> str:
        return f"{row[f'{kind} p50 ms']:.1f} / {row[f'{kind} p95 ms']:.1f}"

    def recall(kind: str) -> str:
        return f"{row[f'{kind} recall@10']:.3f} ({row[f'{kind} worst']:.1f})"

    return {
        **{name: row[name] for name in ("chunks", "visible", "store")},
        **{kind: pair(kind) for kind in KINDS},
        "× scan": round(row["× scan"], 1),
        "vector recall": recall("vector"),
        "keyword recall": recall("keyword"),
        "searches/s": round(row["searches/s"], 1),
        "CPU ms": round(row["CPU ms"], 1),
    }


def _timed(spent: list[float], work: Callable[..., Any], *given: Any) -> Any:
    began = time.perf_counter()
    result = work(*given)
    spent.append(1000 * (time.perf_counter() - began))
    return result
