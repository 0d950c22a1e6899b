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
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lancedb
import measure
import report
import sections
import sqlalchemy as sa
from measure import Spent
from sluice.catalog import Catalog

SECTIONS, EDITED, DELETED, ADDED = 10_000, 100, 50, 50
STEPS = ("first ingest", "nothing changed", "1 % edited, 0.5 % deleted, 0.5 % added")
EXPECTED = (SECTIONS, 0, EDITED + ADDED)  # embeddings, by step
SLUICE, FOLD = "Sluice", "Sluice's later fold into the BM25 index"
FLOOR = "floor: embed all, write once"
RIVALS = {
    "LlamaIndex IngestionPipeline": "llama_index",
    "LangChain index(), full": "langchain_full",
    "LangChain index(), incremental": "langchain_incremental",
    FLOOR: "floor",
}

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

Found = list[tuple[str, str, bytes]]  # (relative path, text, vector) of every chunk that is held
Counts = dict[str, int]


def main(rounds: int) -> int:
    """Run every round, print the tables, write the results; return the exit status."""
    runs: dict[tuple[int, str], list[tuple[Counts, Spent]]] = {}
    with measure.server() as server:
        for number in range(rounds):
            for step, name, counts, spent in _round(server, number):
                runs.setdefault((step, name), []).append((counts, spent))
    rows = _rows(runs)
    for step, title in enumerate(STEPS):
        report.table(
            f"{SECTIONS:,} sections: {title}",
            [{k: v for k, v in row.items() if k != "step"} for row in rows if row["step"] == step],
            "CPU s: user and system, without imports, with PostgreSQL. × CPU: of Sluice's.",
        )
    head, *rest = PROMISES
    report.table("Not in the seconds", [dict(zip(head, each, strict=True)) for each in rest])
    packages = ["lancedb", "dlt", "great-expectations", "llama-index-core", "langchain-core"]
    report.write("delta", {"rounds": rounds, "steps": STEPS, "rows": rows}, packages)
    return report.verdict(_claims(runs))


def _round(server: measure.Server, number: int) -> Iterator[tuple[int, str, Counts, Spent]]:
    with tempfile.TemporaryDirectory(prefix="sluice-bench-delta-") as folder:
        tree, homes = Path(folder) / "sections", Path(folder) / "homes"
        urls = server.database(f"delta_{number}")
        sections.build(tree, SECTIONS)
        for step, title in enumerate(STEPS):
            if step == 2:
                sections.change(tree, EDITED, DELETED, ADDED)
            time.sleep(2.5)  # Sluice reads younger files twice, in case they change in a clock tick
            wanted = {source: text for source, text, _ in sections.read(tree)}
            vectors: dict[str, bytes] = {}
            for name in _systems(step):
                ours = name in (SLUICE, FOLD)
                home = homes / (SLUICE if ours else RIVALS[name])
                home.mkdir(parents=True, exist_ok=True)
                environment = {**urls, "SLUICE_HOME": str(home)}
                database = server if ours else None
                result, spent = measure.run(
                    __file__, [name, str(tree), str(home)], environment, database
                )
                found = _sluice_chunks(home, urls) if ours else _rival_chunks(home)
                vectors = vectors or {source: vector for source, _, vector in found}
                counts = {"embedded": result["embedded"], **_compare(found, wanted, vectors)}
                print(f"round {number + 1}, {title}: {name}: {spent.cpu:.1f} CPU s", counts)
                yield step, name, counts, spent


def _systems(step: int) -> Iterator[str]:
    """Who runs: the floor knows nothing of what it wrote, so only a first ingest has one."""
    yield SLUICE
    if step != 1:
        yield FOLD
    yield from (name for name in RIVALS if step == 0 or name != FLOOR)


def _compare(found: Found, wanted: Mapping[str, str], vectors: Mapping[str, bytes]) -> Counts:
    """Count chunks that should not be there, sections that are missing, and repeats.

    ``vectors`` are those of Sluice, so that nobody is compared who embedded something else.
    """
    times = Counter((source, text) for source, text, _ in found)
    return {
        "stale": sum(n for (source, text), n in times.items() if wanted.get(source) != text),
        "lost": sum(1 for each in wanted.items() if each not in times),
        "doubled": sum(n - 1 for (source, text), n in times.items() if wanted.get(source) == text),
        "other vectors": sum(
            1
            for source, text, vector in found
            if wanted.get(source) == text and vectors.get(source) != vector
        ),
    }


def _sluice_chunks(home: Path, urls: Mapping[str, str]) -> Found:
    """Everything the index holds, held against the live versions that the catalog names.

    A chunk of another version counts as stale although no reader would get it, and so does a live
    document of which the index holds nothing.
    """
    catalog = Catalog(urls["SLUICE_CATALOG_URL"], "main")
    with catalog.begin() as connection:
        rows = connection.execute(
            sa.text(
                "SELECT document_id, live_generation FROM sluice.document WHERE deleted_at IS NULL"
            )
        )
        live = {row.document_id: row.live_generation for row in rows}
    catalog.close()
    found: Found = []
    for row, vector in _stored(home / "index" / "main"):
        source = row["document_id"].partition(":")[2]
        if live.get(row["document_id"]) != row["generation"]:
            source = f"not live: {source}"
        found.append((source, " > ".join(row["path"]) + "\n" + row["text"], vector))
    held = {source for source, _, _ in found}
    missing = [each for each in live if each.partition(":")[2] not in held]
    return found + [(f"not in the index: {each}", "", b"") for each in missing]


def _rival_chunks(home: Path) -> Found:
    return [(row["source"], row["text"], vector) for row, vector in _stored(home / "lance")]


def _stored(folder: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Every row of the only table below ``folder``, with the bytes of its vector."""
    store = lancedb.connect(folder)
    (name,) = store.list_tables().tables
    table = store.open_table(name).to_arrow()
    vectors = table["vector"].combine_chunks()
    flat = vectors.flatten().to_numpy().reshape(len(table), -1)
    rows = table.drop_columns(["vector"]).to_pylist()
    return zip(rows, (vector.tobytes() for vector in flat), strict=True)


def _rows(
    runs: Mapping[tuple[int, str], Sequence[tuple[Counts, Spent]]],
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
    runs: Mapping[tuple[int, str], Sequence[tuple[Counts, Spent]]],
) -> dict[str, bool]:
    ours = [
        (step, counts)
        for (step, name), tries in runs.items()
        if name == SLUICE
        for counts, _ in tries
    ]
    wrong = ("stale", "lost", "doubled")
    return {
        "Sluice embeds exactly 10,000 / 0 / 150": all(
            counts["embedded"] == EXPECTED[step] for step, counts in ours
        ),
        "Sluice: 0 stale, 0 lost, 0 doubled": not any(
            counts[key] for _, counts in ours for key in wrong
        ),
        "everybody has the same chunks and, bit by bit, the same vectors": not any(
            counts["other vectors"] for tries in runs.values() for counts, _ in tries
        ),
    }


def _work(name: str, tree: str, home: str) -> None:
    """One run of one system, in this process."""
    if name in (SLUICE, FOLD):
        import product

        measure.answer(product.fold if name == FOLD else lambda: product.run(Path(tree)))
        return
    import rivals
    from counted import Counted

    system = getattr(rivals, RIVALS[name])

    def ingest() -> dict[str, int]:
        counted = Counted()
        written = system(Path(home), sections.read(Path(tree)), counted)
        return {"embedded": counted.texts, "written": written}

    measure.answer(ingest)


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        _work(*sys.argv[2:])
    else:
        parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
        parser.add_argument("--rounds", type=int, default=3)
        sys.exit(main(parser.parse_args().rounds))
