"""Retrieval quality on two public test collections, through the product's own path.

Each document is chunked, embedded and indexed as in production; each question is asked of the
index; a document ranks where its best chunk does.

    python benchmarks/quality.py [--data ../shared/data]

Cranfield: relevance 1 (a complete answer) to 4 (of minimum interest) counts as a gain of 4 to 1.
One document per question is marked -1, with no word in the collection about what that means. Those
documents are found at rank 1 more often than any other, so they are what the question was made
from; they are taken out of the ranking. The second figure leaves them in, as not relevant.
"""

from __future__ import annotations

import argparse
import ast
import csv
import math
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import report
from sluice.chunking import chunk
from sluice.embedding import open_embedder
from sluice.index.analysis import analyse
from sluice.index.fusion import DEPTH, fuse
from sluice.index.lance import LanceIndex
from sluice.model import Candidate, IndexedChunk
from sluice.settings import Settings

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MODES = ("keyword", "vector", "hybrid")
_SCOPE = frozenset({1})
_LITERAL = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")

Ask = Callable[[str, str], list[str]]  # mode, question → document ids, best first


@dataclass(frozen=True, slots=True)
class Collection:
    """Documents, questions, and which documents answer them how well."""

    name: str
    documents: Mapping[str, tuple[str, str]]  # id → title, text
    questions: Mapping[str, str]
    gains: Mapping[str, Mapping[str, int]]  # question → document → gain, 1 or more
    set_aside: Mapping[str, frozenset[str]] = field(default_factory=dict)


def cranfield(data: Path) -> Collection:
    """1,400 abstracts on aerodynamics and 225 questions."""
    folder = data / "cranfield"
    documents = {}
    for entry in (folder / "cran.all.1400").read_text().removeprefix(".I ").split("\n.I "):
        number, _, rest = entry.partition("\n")
        title, _, rest = rest.removeprefix(".T\n").partition("\n.A\n")
        documents[number] = (" ".join(title.split()), rest.partition(".W\n")[2].strip())
    asked = (folder / "cran.qry").read_text().split(".I ")[1:]
    questions = {  # judged by position in the file, not by the number in it
        str(position): " ".join(entry.partition(".W\n")[2].split())
        for position, entry in enumerate(asked, start=1)
    }
    gains: dict[str, dict[str, int]] = {}
    set_aside: dict[str, frozenset[str]] = {}
    for line in (folder / "cranqrel").read_text().splitlines():
        question, document, code = line.split()
        if 1 <= int(code) <= 4:
            gains.setdefault(question, {})[document] = 5 - int(code)
        elif int(code) == -1:
            set_aside[question] = set_aside.get(question, frozenset()) | {document}
    return Collection("Cranfield", documents, questions, gains, set_aside)


def scifact(data: Path) -> Collection:
    """5,183 abstracts from biomedicine and 300 claims."""
    folder = data / "scifact"
    with (folder / "corpus_train.csv").open(newline="") as rows:
        documents = {
            row["doc_id"]: (row["title"], _sentences(row["abstract"]))
            for row in csv.DictReader(rows)
        }
    with (folder / "claims_validation.csv").open(newline="") as rows:
        questions = {row["id"]: row["claim"] for row in csv.DictReader(rows)}
    gains: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels.beir.test.txt").read_text().splitlines():
        question, _, document, gain = line.split()
        gains.setdefault(question, {})[document] = int(gain)
    return Collection("SciFact", documents, questions, gains)


def _sentences(printed: str) -> str:
    """The text of a NumPy array of sentences, as it prints itself."""
    return " ".join(ast.literal_eval(found) for found in _LITERAL.findall(printed))


def index(collection: Collection, folder: Path) -> tuple[Ask, int]:
    """Index ``collection`` as production does; return how to ask it, and its number of chunks.

    This is the one place to change when questions are to go another way.
    """
    embedder = open_embedder("local-static")
    weight = Settings.model_fields["dense_weight"].get_default()
    store = LanceIndex(
        folder, model=embedder.model, dimensions=embedder.dimensions, tenant="benchmark"
    )
    store.ensure()
    chunks = [
        (document, each)
        for document, (title, text) in collection.documents.items()
        for each in chunk(title, text, embedder)
    ]
    vectors = embedder.embed([each.searched for _, each in chunks])
    store.upsert(
        [
            IndexedChunk(
                tenant="benchmark",
                document_id=document,
                generation=1,
                acl_id=1,
                ordinal=each.ordinal,
                path=each.path,
                text=each.text,
                terms=analyse(each.searched),
                vector=vector,
            )
            for (document, each), vector in zip(chunks, vectors, strict=True)
        ]
    )
    store.optimize()

    def ask(mode: str, question: str) -> list[str]:
        keyword: list[Candidate] = []
        dense: list[Candidate] = []
        if mode != "vector":
            keyword = store.search_terms(analyse(question), _SCOPE, DEPTH)
        if mode != "keyword":
            dense = store.search_vector(embedder.embed([question])[0], _SCOPE, DEPTH)
        share = {"keyword": 0.0, "vector": 1.0, "hybrid": weight}[mode]
        return list(dict.fromkeys(c.document_id for c in fuse(keyword, dense, share)))

    return ask, len(chunks)


def ndcg(ranked: Sequence[str], gains: Mapping[str, int], depth: int = 10) -> float:
    """Normalised discounted cumulative gain of the first ``depth``, with linear gains."""

    def discounted(values: Sequence[int]) -> float:
        return sum(value / math.log2(rank + 1) for rank, value in enumerate(values[:depth], 1))

    best = discounted(sorted(gains.values(), reverse=True))
    return discounted([gains.get(document, 0) for document in ranked]) / best


def measure(collection: Collection, folder: Path) -> dict[str, dict[str, float]]:
    """Ask every judged question in every mode; return mean nDCG@10 per mode.

    ``left in`` is the same with the documents that were set aside left in the ranking.
    """
    ask, chunks = index(collection, folder)
    figures: dict[str, dict[str, float]] = {}
    for mode in MODES:
        began = time.perf_counter()
        ranked = {q: ask(mode, collection.questions[q]) for q in collection.gains}
        seconds = time.perf_counter() - began
        figures[mode] = {
            "chunks": chunks,
            "nDCG@10": fmean(
                ndcg([d for d in found if d not in collection.set_aside.get(q, ())], gains)
                for q, gains in collection.gains.items()
                for found in [ranked[q]]
            ),
            "left in": fmean(ndcg(ranked[q], gains) for q, gains in collection.gains.items()),
            "ms a question": 1000 * seconds / len(ranked),
        }
    return figures


def main(data: Path) -> int:
    """Print the table, write the results, return 0 if every claim held."""
    if not data.is_dir():
        print(f"skipped: no test collections in {data}")
        return 0
    figures = {}
    for read in (cranfield, scifact):
        collection = read(data)
        with tempfile.TemporaryDirectory(prefix="sluice-quality-") as folder:
            figures[collection.name] = measure(collection, Path(folder))
    rows = [
        {"collection": name, "mode": mode, **values}
        for name, modes in figures.items()
        for mode, values in modes.items()
    ]
    report.table("Retrieval quality", rows, "left in: with Cranfield's -1 documents in the ranking")
    score = {(row["collection"], row["mode"]): row["nDCG@10"] for row in rows}
    claims = {
        "keyword is 0.42 or more on Cranfield": score["Cranfield", "keyword"] >= 0.42,
        "keyword is 0.67 or more on SciFact": score["SciFact", "keyword"] >= 0.67,
        "hybrid is above keyword on Cranfield": score["Cranfield", "hybrid"]
        > score["Cranfield", "keyword"],
        "hybrid is at most 0.005 below keyword on SciFact": score["SciFact", "hybrid"]
        >= score["SciFact", "keyword"] - 0.005,
    }
    report.write("quality", {"rows": rows, "claims": claims}, ["lancedb", "wordllama"])
    return report.verdict(claims)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, default=DATA)
    sys.exit(main(arguments.parse_args().data))
