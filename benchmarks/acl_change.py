"""A folder of 5,000 sections changes hands: what is written, and when it counts.

    python benchmarks/acl_change.py [--rounds 3]

One line of one ``.access.yaml`` changes: the folder was Ada's and is Ben's. Sluice changes a grant
in the catalog. The rivals' way is an ``acl`` list on every chunk: rewriting 5,000 rows of a
LanceDB table in place, or, as the two frameworks do it by themselves when metadata changes,
embedding and writing 5,000 chunks again.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import measure
import report
import sections
from measure import Spent

MOVED, OTHERS = 5_000, 500
FOLDER = "handover"
ADA, BEN = "user:ada@example.com", "user:ben@example.com"
SLUICE, REWRITE = "Sluice", "LanceDB: acl list rewritten in place"
RIVALS = {
    REWRITE: "rewrite_acl",
    "LlamaIndex IngestionPipeline, acl in metadata": "llama_index",
    "LangChain index() full, acl in metadata": "langchain_full",
}

Result = dict[str, Any]


def main(rounds: int) -> int:
    """Run every round, print the tables, write the results; return the exit status."""
    runs: dict[str, list[tuple[Result, Spent]]] = {}
    with measure.server() as server:
        for number in range(rounds):
            for name, result, spent in _round(server, number):
                runs.setdefault(name, []).append((result, spent))
    rows = [_row(name, tries, runs[SLUICE]) for name, tries in runs.items()]
    report.table(
        f"A folder of {MOVED:,} chunks changes hands",
        rows,
        "CPU s: user and system, without imports, with PostgreSQL; the run reads the whole folder.",
    )
    ours = [result for result, _ in runs[SLUICE]]
    report.table(
        "Where Sluice's seconds go, by stage",
        [{"round": i, **each["stages"]} for i, each in enumerate(ours, start=1)],
        "narrow takes rights away, flip gives them; what comes before is finding out.",
    )
    answers = [each["answers"] for each in ours]
    report.table("The next query, in Sluice", [_shown(each) for each in answers])
    report.write(
        "acl_change",
        {
            "rounds": rounds,
            "moved": MOVED,
            "rows": rows,
            "stages": [each["stages"] for each in ours],
            "answers": answers,
        },
        ["lancedb", "dlt", "great-expectations", "llama-index-core", "langchain-core"],
    )
    return report.verdict(
        {
            "0 embeddings": all(each["embedded"] == 0 for each in ours),
            "0 index writes: the table's version did not move": all(
                each["versions"] == 0 for each in ours
            ),
            f"Ada, who lost access, gets 0 of {MOVED:,}": all(
                each["ada after"]["gate"] == each["ada after"]["hits"] == 0 for each in answers
            ),
            f"Ben, who gained it, gets all {MOVED:,}": all(
                each["ben after"]["gate"] == MOVED and each["ben after"]["hits"] for each in answers
            ),
            "before, it was the other way round": all(
                each["ada before"]["gate"] == MOVED and each["ben before"]["gate"] == 0
                for each in answers
            ),
        }
    )


def _round(server: measure.Server, number: int) -> Iterator[tuple[str, Result, Spent]]:
    with tempfile.TemporaryDirectory(prefix="sluice-bench-acl-") as folder:
        tree = Path(folder) / "sections"
        _plant(tree)
        urls = server.database(f"acl_{number}")
        homes = {name: Path(folder) / f"home-{i}" for i, name in enumerate((SLUICE, *RIVALS))}
        before: dict[str, tuple[int, int]] = {}
        answers: dict[str, Any] = {}
        for name, home in homes.items():
            home.mkdir()
            _run(server, urls, name, tree, home)
            before[name] = _state(name, home)
        answers |= _ask(urls, homes[SLUICE], "before")
        sections.allow(tree / FOLDER, BEN)
        for name, home in homes.items():
            result, spent = _run(server, urls, name, tree, home)
            version, size = _state(name, home)
            result |= {"versions": version - before[name][0], "bytes": size - before[name][1]}
            if name == SLUICE:
                result["answers"] = answers | _ask(urls, home, "after")
            print(f"round {number + 1}: {name}: {spent.cpu:.2f} CPU s, {spent.wall:.2f} s")
            yield name, result, spent


def _plant(tree: Path) -> None:
    """Write the folder that will change hands, and others beside it."""
    sections.build(tree / "rest", OTHERS)
    sections.build(tree / FOLDER, MOVED)
    for rule in (tree / FOLDER).rglob(".access.yaml"):
        rule.unlink()
    sections.allow(tree / FOLDER, ADA)
    time.sleep(2.5)  # younger files are read twice, in case they changed within a clock tick


def _run(
    server: measure.Server, urls: Mapping[str, str], name: str, tree: Path, home: Path
) -> tuple[Result, Spent]:
    environment = {**urls, "SLUICE_HOME": str(home)}
    database = server if name == SLUICE else None
    return measure.run(__file__, [name, str(tree), str(home)], environment, database)


def _state(name: str, home: Path) -> tuple[int, int]:
    """The store's newest version, which every write moves, and the bytes it takes on disk."""
    import lancedb

    folder = home / "index" / "main" if name == SLUICE else home / "lance"
    store = lancedb.connect(folder)
    (table,) = store.list_tables().tables
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return int(store.open_table(table).version), size


def _ask(urls: Mapping[str, str], home: Path, when: str) -> dict[str, Any]:
    """What Ada and Ben get: by one search, and by showing the gate every chunk there is."""
    from pydantic import SecretStr
    from sluice import ingest
    from sluice.access import Access
    from sluice.audit import Audit
    from sluice.keys import Keys
    from sluice.metering import Metered
    from sluice.model import PUBLIC, Principal
    from sluice.retrieve import Retriever
    from sluice.settings import Settings

    catalog_url, landing_url = (SecretStr(urls[f"SLUICE_{each}_URL"]) for each in _URLS)
    settings = Settings(home=home, catalog_url=catalog_url, landing_url=landing_url)
    pipeline = ingest.open_pipeline(settings)
    access = Access(pipeline.catalog, settings.scope_cap)
    retriever = Retriever(
        access,
        pipeline.collections.serving,
        Audit(pipeline.catalog),
        lambda account: Metered(pipeline.catalog, account),
        dense_weight=settings.dense_weight,
        max_question=settings.max_question,
        max_hits=settings.max_hits,
    )
    keys = Keys(pipeline.catalog)
    caller = keys.authenticate(keys.create("benchmark", [PUBLIC]))
    every = _candidates(home)
    answers = {}
    for who, person in (("ada", ADA), ("ben", BEN)):
        started = time.monotonic()
        answer = retriever.search(
            caller, Principal(person), "who signs off the pump controller", 100
        )
        seconds = time.monotonic() - started
        permitted = access.gate(caller, Principal(person), every).permitted
        answers[f"{who} {when}"] = {
            "hits": sum(1 for hit in answer.hits if _moved(hit.document_id)),
            "gate": sum(1 for each in permitted if _moved(each.candidate.document_id)),
            "seconds": seconds,
        }
    pipeline.close()
    return answers


_URLS = ("CATALOG", "LANDING")


def _moved(document_id: str) -> bool:
    return document_id.startswith(f"sections:{FOLDER}/")


def _candidates(home: Path) -> list[Any]:
    import lancedb
    from sluice.model import Candidate

    store = lancedb.connect(home / "index" / "main")
    (name,) = store.list_tables().tables
    columns = ["document_id", "generation", "acl_id", "ordinal", "path", "text"]
    rows = store.open_table(name).to_arrow().select(columns).to_pylist()
    return [Candidate(**{**row, "path": tuple(row["path"])}) for row in rows]


def _row(
    name: str, tries: Sequence[tuple[Result, Spent]], ours: Sequence[tuple[Result, Spent]]
) -> dict[str, Any]:
    def median(key: str) -> float:
        return statistics.median(asdict(spent)[key] for _, spent in tries)

    return {
        "by": name,
        "embeddings": max(result["embedded"] for result, _ in tries),
        "rows written": max(result["written"] for result, _ in tries),
        "store versions": max(result["versions"] for result, _ in tries),
        "MB written": max(result["bytes"] for result, _ in tries) / 2**20,
        "CPU s": median("cpu"),
        "× CPU": median("cpu") / statistics.median(spent.cpu for _, spent in ours),
        "of it PostgreSQL": median("postgres"),
        "wall s": median("wall"),
        "import CPU s": median("imports"),
    }


def _shown(answers: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {
        who: f"{each['gate']:,} readable\n{each['hits']} of 100 hits\n{each['seconds']:.3f} s"
        for who, each in answers.items()
    }


def _work(name: str, tree: str, home: str) -> None:
    """One run of one system, in this process."""
    if name == SLUICE:
        import product

        measure.answer(lambda: product.run(Path(tree)))
        return
    import rivals
    from counted import Counted

    system = getattr(rivals, RIVALS[name])

    def ingest() -> Result:
        counted = Counted()
        written = system(Path(home), _with_acl(Path(tree)), counted)
        return {"embedded": counted.texts, "written": written}

    measure.answer(ingest)


def _with_acl(tree: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each section with the principals of the nearest ``.access.yaml``, read once a folder."""
    rules: dict[Path, list[str]] = {}

    def readers(folder: Path) -> list[str]:
        if folder not in rules:
            rule = folder / ".access.yaml"
            rules[folder] = (
                [line.removeprefix("  - ") for line in rule.read_text().splitlines()[1:]]
                if rule.exists()
                else readers(folder.parent)
            )
        return rules[folder]

    for source, text, _ in sections.read(tree):
        yield source, text, {"acl": readers((tree / source).parent)}


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        _work(*sys.argv[2:])
    else:
        parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
        parser.add_argument("--rounds", type=int, default=3)
        sys.exit(main(parser.parse_args().rounds))
