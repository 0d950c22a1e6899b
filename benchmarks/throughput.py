"""From landed rows to published chunks: how many does a second of one core make?

    python benchmarks/throughput.py [--data ../shared/data] [--rounds 3]

648 RFCs of the Rust project (10 MB of Markdown) with ``local-static``, beside LlamaIndex's
IngestionPipeline over the same store with the same model, each in a process of its own. Sluice
begins with what dlt has landed in PostgreSQL and ends with what can be searched by words and by
vectors, under permissions; PostgreSQL's seconds are counted. LlamaIndex begins with documents in
memory and ends with vectors in LanceDB and its docstore on disk. It is run as its users run it,
with the model's own package, and again with Sluice's implementation of the model; with its default
splitter, and with its Markdown parser before that. Medians of all rounds.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import measure
import report
from measure import Spent

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SLUICE = "Sluice"
OWN, OURS = "its own package", "Sluice's implementation"
RIVALS = {
    f"LlamaIndex, sentences, {OWN}": (False, False),
    f"LlamaIndex, Markdown and sentences, {OWN}": (True, False),
    f"LlamaIndex, sentences, {OURS}": (False, True),
    f"LlamaIndex, Markdown and sentences, {OURS}": (True, True),
}
_TOKENS = 512  # of a chunk at most, for both

Counts = dict[str, int]


def main(data: Path, rounds: int) -> int:
    """Run every round, print the table, write the results; return the exit status."""
    corpus = data / "rust-rfcs" / "text"
    if not corpus.is_dir():
        print(f"skipped: no RFCs in {data}")
        return 0
    runs: dict[str, list[tuple[Counts, Spent]]] = {}
    with measure.server() as server:
        for number in range(rounds):
            for name, counts, spent in _round(server, corpus, number):
                print(f"round {number + 1}: {name}: {counts['chunks']} in {spent.cpu:.1f} CPU s")
                runs.setdefault(name, []).append((counts, spent))
    characters = sum(len(path.read_text()) for path in corpus.rglob("*.md"))
    rows = [_row(name, tries, characters) for name, tries in runs.items()]
    ours = rows[0]["chunks a core-second"]
    for row in rows:
        row["× Sluice"] = row["chunks a core-second"] / ours
    report.table("From landing to published", rows, "CPU s: user and system, without imports")
    rate = {row["by"]: row["chunks a core-second"] for row in rows}
    claims = {f"twice as fast as {name}": ours >= 2 * rate[name] for name in RIVALS if OWN in name}
    packages = ["lancedb", "dlt", "great-expectations", "llama-index-core", "wordllama"]
    report.write("throughput", {"rounds": rounds, "rows": rows, "claims": claims}, packages)
    return report.verdict(claims)


def _round(
    server: measure.Server, corpus: Path, number: int
) -> Sequence[tuple[str, Counts, Spent]]:
    with tempfile.TemporaryDirectory(prefix="sluice-bench-throughput-") as folder:
        tree = Path(folder) / "rfcs"
        shutil.copytree(corpus, tree)
        (tree / ".access.yaml").write_text("allow: [public]\n")
        urls = {**server.database(f"throughput_{number}"), "SLUICE_HOME": f"{folder}/home"}
        measure.run(__file__, ["land", str(tree), folder], urls)
        found = [(SLUICE, *measure.run(__file__, ["publish", str(tree), folder], urls, server))]
        for name in RIVALS:
            home = Path(folder) / f"rival-{len(found)}"
            home.mkdir()
            found.append((name, *measure.run(__file__, [name, str(tree), str(home)], {})))
    return found


def _row(name: str, tries: Sequence[tuple[Counts, Spent]], characters: int) -> dict[str, Any]:
    chunks = tries[0][0]["chunks"]
    cpu = statistics.median(spent.cpu for _, spent in tries)
    return {
        "by": name,
        "chunks": chunks,
        "CPU s": cpu,
        "chunks a core-second": chunks / cpu,
        "MB of text a core-second": characters / 1e6 / cpu,
        "MB": round(statistics.median(spent.megabytes for _, spent in tries)),
    }


def _work(name: str, tree: Path, home: Path) -> None:
    """One run of one system, in this process."""
    if name in RIVALS:
        measure.answer(_llama_index(tree, home, *RIVALS[name]))
        return
    import great_expectations  # noqa: F401  # Sluice imports these when first needed;
    import lancedb  # noqa: F401  # here they count as imports, as the rivals' do
    from sluice import ingest
    from sluice.ingest import publishing  # noqa: F401
    from sluice.settings import load
    from sluice.sources import Files

    pipeline, source = ingest.open_pipeline(load()), Files(name="rfcs", url=str(tree))

    def land() -> Counts:
        ingest.extract(pipeline, source, "rfcs:1")
        return {"chunks": 0}

    def publish() -> Counts:
        ingest.validate(pipeline, source, "rfcs:1")
        return {"chunks": ingest.publish(pipeline, source, "rfcs:1").chunks}

    if name == "publish":
        pipeline.collections.receiving()  # loads the model, as the rivals' is
    measure.answer(land if name == "land" else publish)
    pipeline.close()


def _llama_index(tree: Path, home: Path, markdown: bool, ours: bool) -> Callable[[], Counts]:
    import rivals
    from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
    from llama_index.core.node_parser import MarkdownNodeParser, SentenceSplitter
    from llama_index.core.schema import Document
    from llama_index.core.storage.docstore import SimpleDocumentStore

    model, tokens = _ours() if ours else _own(home)
    splitter = SentenceSplitter(chunk_size=_TOKENS, chunk_overlap=0, tokenizer=tokens)
    documents = [
        Document(id_=str(path), text=path.read_text()) for path in sorted(tree.rglob("*.md"))
    ]

    def ingest() -> Counts:
        pipeline = IngestionPipeline(
            transformations=[
                *([MarkdownNodeParser()] if markdown else []),
                splitter,
                rivals.LlamaEmbedding(counted=model, embed_batch_size=rivals.BATCH),
            ],
            docstore=SimpleDocumentStore(),
            vector_store=rivals.LlamaStore(table=rivals.open_table(home, 256)),
            docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
            disable_cache=True,
        )
        written = pipeline.run(documents=documents)
        pipeline.persist(str(home))
        return {"chunks": len(written)}

    return ingest


def _ours() -> tuple[Any, Callable[[str], Sequence[int]]]:
    from counted import Counted

    counted = Counted()
    return counted, lambda text: range(counted.count_tokens(text))


def _own(home: Path) -> tuple[Any, Callable[[str], Sequence[int]]]:
    """The package as its documentation shows it, without going online for what it brings."""
    import wordllama
    from tokenizers import Tokenizer

    (folder,) = wordllama.__path__
    shutil.copytree(Path(folder) / "tokenizers", home / "model" / "tokenizers")
    loaded = wordllama.WordLlama.load(dim=256, cache_dir=home / "model", disable_download=True)
    (file,) = (home / "model" / "tokenizers").glob("*.json")
    counting = Tokenizer.from_file(str(file))
    counting.no_padding()
    counting.no_truncation()

    class Model:
        @staticmethod
        def embed(texts: Sequence[str]) -> Any:
            return loaded.embed(list(texts), norm=True)

    return Model, lambda text: counting.encode(text, add_special_tokens=False).ids


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        _work(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
        parser.add_argument("--data", type=Path, default=DATA)
        parser.add_argument("--rounds", type=int, default=3)
        arguments = parser.parse_args()
        sys.exit(main(arguments.data, arguments.rounds))
