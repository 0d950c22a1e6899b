"""Ten thousand sections, then nothing, then a small change: what is embedded, and what it costs.

    python benchmarks/delta.py [--rounds 3]

Sluice, LlamaIndex's IngestionPipeline and LangChain's indexing API each index the same folder
three times, every run in a process of its own: as it is, unchanged, and after 1 % of the sections
were edited, 0.5 % deleted and 0.5 % added. After each run everything that a reader could be given
is compared with the folder, by brute force. Medians of all rounds; counts must be equal in each.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import measure
import report
import sections
from measure import Spent

SECTIONS, EDITED, DELETED, ADDED = 10_000, 100, 50, 50
STEPS = ("first ingest", "nothing changed", "1 % edited, 0.5 % deleted, 0.5 % added")
EXPECTED = (SECTIONS, 0, EDITED + ADDED)  # embeddings, by step
RIVALS = {
    "LlamaIndex IngestionPipeline": "llama_index",
    "LangChain index(), full": "langchain_full",
    "LangChain index(), incremental": "langchain_incremental",
    "floor: embed and write once": "floor",
}
SLUICE = "Sluice"

PROMISES = (  # as their documentation and sources say for the versions in requirements.txt
    ("what one run also does", SLUICE, "LlamaIndex", "LangChain full", "LangChain incremental"),
    ("forgets deleted sources", "yes", "yes", "yes", "no"),
    ("mirrors permissions and checks them on read", "yes", "no", "no", "no"),
    ("permissions change without embedding again", "yes", "no", "no", "no"),
    ("old version readable until the new one is whole", "yes", "no", "yes", "yes"),
    ("all changes become visible at one moment", "yes", "no", "no", "no"),
    ("bad rows quarantined, bad loads held", "yes", "no", "no", "no"),
    ("every chunk leads back to its run and version", "yes", "no", "no", "no"),
    ("keyword index (BM25) kept beside the vectors", "yes", "no", "no", "no"),
    ("ledger survives kill -9 at any point", "yes", "no", "yes", "yes"),
)

Found = list[tuple[str, str]]  # (relative path, text) of every chunk that a reader could be given


def main(rounds: int) -> int:
    """Run every round, print the tables, write the results; return the exit status."""
    runs: dict[tuple[int, str], list[tuple[dict[str, int], Spent]]] = {}
    with measure.server() as server:
        for number in range(rounds):
            for step, name, counts, spent in _round(server, number):
                runs.setdefault((step, name), []).append((counts, spent))
    rows = _rows(runs)
    for step, title in enumerate(STEPS):
        report.table(
            f"{SECTIONS:,} sections: {title}",
            [row for row in rows if row["step"] == step],
            "CPU s: user and system, without imports, with PostgreSQL. × CPU: of Sluice's.",
        )
    head, *rest = PROMISES
    report.table("Not in the seconds", [dict(zip(head, each, strict=True)) for each in rest])
    packages = ["lancedb", "dlt", "great-expectations", "llama-index-core", "langchain-core"]
    report.write("delta", {"rounds": rounds, "steps": STEPS, "rows": rows}, packages)
    return report.verdict(_claims(runs))


def _round(
    server: measure.Server, number: int
) -> Iterator[tuple[int, str, dict[str, int], Spent]]:
    with tempfile.TemporaryDirectory(prefix="sluice-bench-delta-") as folder:
        tree, homes = Path(folder) / "sections", Path(folder) / "homes"
        urls = server.database(f"delta_{number}")
        sections.build(tree, SECTIONS)
        for step, expected in enumerate(EXPECTED):
            if step == 2:
                sections.change(tree, EDITED, DELETED, ADDED)
            wanted = {source: text for source, text, _ in sections.read(tree)}
            for name in (SLUICE, *RIVALS):
                if name.startswith("floor") and step:
                    continue  # it knows nothing of what it wrote: only a first ingest has a floor
                home = homes / name.partition(":")[0].replace(" ", "-")
                home.mkdir(parents=True, exist_ok=True)
                environment = {**urls, "SLUICE_HOME": str(home)}
                arguments = [name, str(tree), str(home), str(step)]
                database = server if name == SLUICE else None
                embedded, spent = measure.run(__file__, arguments, environment, database)
                found = _sluice_chunks(home, urls) if name == SLUICE else _rival_chunks(home)
                counts = {"embedded": embedded, "expected": expected, **_compare(found, wanted)}
                print(f"round {number + 1}, {STEPS[step]}: {name}: {spent.cpu:.1f} CPU s", counts)
                yield step, name, counts, spent


def _compare(found: Found, wanted: Mapping[str, str]) -> dict[str, int]:
    """Count chunks that should not be there, sections that are missing, and repeats."""
    times = Counter(found)
    return {
        "stale": sum(n for (source, text), n in times.items() if wanted.get(source) != text),
        "lost": sum(1 for each in wanted.items() if each not in times),
        "doubled": sum(n - 1 for (source, text), n in times.items() if wanted.get(source) == text),
    }


def _sluice_chunks(home: Path, urls: Mapping[str, str]) -> Found:
    """What the index holds; every chunk must be of the live version that the catalog names."""
    import lancedb
    import sqlalchemy as sa
    from sluice.catalog import Catalog

    catalog = Catalog(urls["SLUICE_CATALOG_URL"], "main")
    with catalog.begin() as connection:
        rows = connection.execute(sa.text("SELECT document_id, live_generation FROM document_live"))
        live = {row.document_id: row.live_generation for row in rows}
    catalog.close()
    found: Found = []
    store = lancedb.connect(home / "index" / "main")
    for name in store.table_names():
        for row in store.open_table(name).to_arrow().to_pylist():
            source = row["document_id"].partition(":")[2]
            visible = live.pop(row["document_id"], None) == row["generation"]
            found.append((source if visible else f"not live: {source}", _searched(row)))
    return found + [(f"not in the index: {each}", "") for each in live]


def _searched(row: Mapping[str, Any]) -> str:
    return " > ".join(row["path"]) + "\n" + str(row["text"])


def _rival_chunks(home: Path) -> Found:
    import lancedb

    table = lancedb.connect(home / "lance").open_table("chunks").to_arrow()
    return list(zip(table["source"].to_pylist(), table["text"].to_pylist(), strict=True))


def _rows(
    runs: Mapping[tuple[int, str], Sequence[tuple[dict[str, int], Spent]]],
) -> list[dict[str, Any]]:
    rows = []
    for (step, name), tries in sorted(runs.items(), key=lambda each: each[0][0]):
        worst = {key: max(counts[key] for counts, _ in tries) for key in tries[0][0]}
        median = {
            key: statistics.median(asdict(spent)[key] for _, spent in tries)
            for key in asdict(tries[0][1])
        }
        ours = statistics.median(spent.cpu for _, spent in runs[step, SLUICE])
        rows.append(
            {
                "step": step,
                "by": name,
                "embedded": worst["embedded"],
                "stale": worst["stale"],
                "lost": worst["lost"],
                "doubled": worst["doubled"],
                "CPU s": median["cpu"],
                "× CPU": median["cpu"] / ours,
                "of it PostgreSQL": median["postgres"],
                "wall s": median["wall"],
                "import CPU s": median["imports"],
                "MB": round(median["megabytes"]),
            }
        )
    return rows


def _claims(
    runs: Mapping[tuple[int, str], Sequence[tuple[dict[str, int], Spent]]],
) -> dict[str, bool]:
    ours = [counts for (_, name), tries in runs.items() if name == SLUICE for counts, _ in tries]
    wrong = ("stale", "lost", "doubled")
    return {
        "Sluice embeds exactly 10,000 / 0 / 150": all(
            each["embedded"] == each["expected"] for each in ours
        ),
        "Sluice: 0 stale, 0 lost, 0 doubled": not any(each[key] for each in ours for key in wrong),
    }


def _work(name: str, tree: str, home: str, step: str) -> None:
    """One run of one system, in this process."""
    if name == SLUICE:
        measure.answer(_sluice(tree, step))
        return
    import rivals
    from counted import Counted

    system = getattr(rivals, RIVALS[name])

    def ingest() -> int:
        counted = Counted()
        system(Path(home), sections.read(Path(tree)), counted)
        return counted.texts

    measure.answer(ingest)


def _sluice(tree: str, step: str) -> Callable[[], int]:
    import dlt  # noqa: F401  # counted as imports, like the rivals'
    import great_expectations  # noqa: F401
    import lancedb  # noqa: F401
    from counted import Counted
    from sluice import ingest
    from sluice.settings import load
    from sluice.sources import Files

    def run() -> int:
        pipeline = ingest.open_pipeline(load())
        pipeline.embedder = counted = Counted()
        summary = ingest.run(pipeline, Files(name="sections", url=tree), run_id=f"step-{step}")
        pipeline.close()
        if summary.embedded != counted.texts:
            raise AssertionError(f"{summary.embedded} reported, {counted.texts} embedded")
        return counted.texts

    return run


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        _work(*sys.argv[2:])
    else:
        parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
        parser.add_argument("--rounds", type=int, default=3)
        sys.exit(main(parser.parse_args().rounds))
