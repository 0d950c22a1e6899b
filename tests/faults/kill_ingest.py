"""Kills an ingest run at every boundary, runs it again, and asks questions all the while.

A program of its own, since it forks: ``test_kill_ingest.py`` runs it and judges its report. Heavy
libraries are imported once, here; each run is a forked child that opens its own connections.

    python kill_ingest.py '{"home": …, "catalog_url": …, "landing_url": …, "tenant": …}'
"""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import dlt  # noqa: F401  # preloaded for the children
import great_expectations  # noqa: F401  # preloaded for the children
import pandas  # noqa: F401  # preloaded for the children
from sluice import ingest
from sluice.api.services import Services
from sluice.embedding import open_embedder
from sluice.ingest import Pipeline, Progress
from sluice.model import PUBLIC, Caller, Policy, Principal
from sluice.settings import Settings
from sluice.sources import Files

STABLE = 6  # documents that exist throughout, and are edited in every round
SECTIONS = 3
PERSON = Principal.parse("user:reader@example.com")
CALLER = Caller(agent="reader", key_id=None, acts_for=frozenset({PUBLIC}))


def page(number: int, edition: int) -> str:
    """A page of three long sections, each of which says which page and edition it is of."""
    sections = []
    for section in range(SECTIONS):
        words = " ".join(f"word{number}x{section}x{n}" for n in range(150))
        sections.append(f"## Part {section}\n\nstation{number} edition{edition:04d} {words}.\n")
    return f"# Page {number}\n\n" + "\n".join(sections)


def write_tree(tree: Path, edition: int) -> None:
    """Bring the tree to ``edition``: every stable page edited, one page gone, one page new."""
    for number in range(STABLE):
        (tree / f"stable{number}.md").write_text(page(number, edition))
    (tree / f"passing{edition - 1}.md").unlink(missing_ok=True)
    (tree / f"passing{edition}.md").write_text(page(100 + edition, edition))


def begin(work: Callable[[], object]) -> int:
    """Begin ``work`` in a forked child; return its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001  # a child must end here, never in pytest
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid


def child(work: Callable[[], object]) -> int:
    """Run ``work`` in a forked child; return how it ended, as ``waitpid`` says it."""
    return os.waitpid(begin(work), 0)[1]


def run(settings: Settings, tree: Path, run_id: str, kill_at: int | None) -> None:
    """One whole ingest run; at boundary number ``kill_at`` the process kills itself, as -9."""
    reached = 0

    def watch(boundary: str) -> None:
        nonlocal reached
        reached += 1
        if reached == kill_at:
            (settings.home / "killed_at").write_text(boundary)
            os.kill(os.getpid(), signal.SIGKILL)

    source = Files(name="faults", url=str(tree), policy=Policy(max_loss=0.9))
    ingest.run(Pipeline(settings, batch=4), source, run_id, progress=Progress(watch))


def warm_up(settings: Settings, tree: Path) -> None:
    """Extract and validate once in this process, so that no child has to import and compile.

    Publishing is left to the children: an index that is open must not cross a fork.
    """
    pipeline = Pipeline(settings)
    source = Files(name="faults_warm", url=str(tree))
    ingest.extract(pipeline, source, "warm")
    ingest.validate(pipeline, source, "warm")
    _ = open_embedder(settings.embedder, settings.endpoints)
    pipeline.close()
    gc.freeze()  # or each child copies most of what it inherits


def read_on(settings: Settings, report: Path, stop: Path) -> None:
    """Keep asking until told to stop; write down whatever a reader should never see."""
    ask = Services(settings).retriever
    newest = dict.fromkeys(range(STABLE), 0)
    reads, wrong = 0, []
    while not stop.exists():
        for number in range(STABLE):
            reads += 1
            document_id = f"faults:stable{number}.md"
            hits = ask.search(CALLER, PERSON, f"station{number}", 20).hits
            parts = [hit.text for hit in hits if hit.document_id == document_id]
            editions = {int(e) for part in parts for e in re.findall(r"edition(\d+)", part)}
            if len(editions) != 1 or len(parts) != len(set(parts)) or len(parts) < SECTIONS:
                wrong.append(f"search {document_id}: {len(parts)} parts of editions {editions}")
                continue
            fetched = ask.document(CALLER, PERSON, document_id).document.text
            whole = {int(e) for e in re.findall(r"edition(\d+)", fetched)}
            if len(whole) != 1 or len(re.findall(r"edition", fetched)) != SECTIONS:
                wrong.append(f"fetch {document_id}: editions {whole}")
            if min(editions | whole) < newest[number]:
                wrong.append(f"{document_id}: edition {editions} after {newest[number]}")
            newest[number] = max(editions | whole)
            time.sleep(0.02)  # leave a core to the runs
    report.write_text(json.dumps({"reads": reads, "wrong": wrong}))


class Reader:
    """A process that asks all the while, from its making to :meth:`end`."""

    def __init__(self, settings: Settings):
        self._stop = settings.home / "stop"
        self._report = settings.home / "report.json"
        self._pid = begin(lambda: read_on(settings, self._report, self._stop))

    def end(self) -> dict[str, object]:
        """Stop it; return how often it read, and what was wrong."""
        self._stop.touch()
        if os.waitpid(self._pid, 0)[1]:
            return {"reads": 0, "wrong": ["it crashed"]}
        seen: dict[str, object] = json.loads(self._report.read_text())
        return seen


def published(config: dict[str, str]) -> tuple[Settings, Path]:
    """A tree whose first edition is live, and where."""
    settings = Settings(**config)  # type: ignore[arg-type]  # strings become what the fields are
    tree = settings.home / "tree"
    tree.mkdir(parents=True)
    (tree / ".access.yaml").write_text("allow: [public]\n")
    write_tree(tree, 1)
    warm_up(settings, tree)
    assert child(lambda: run(settings, tree, "r1", None)) == 0
    return settings, tree


def check(settings: Settings, tree: Path, edition: int) -> None:
    """The catalog and the index hold the tree: every page once, whole, and nothing else."""
    import sqlalchemy as sa

    pipeline = Pipeline(settings)
    with pipeline.catalog.begin() as connection:
        rows = connection.execute(
            sa.text(
                "SELECT d.native_id, g.text, g.generation, p.chunk_count FROM sluice.document d"
                " JOIN sluice.generation g ON g.generation = d.live_generation"
                " JOIN sluice.placement p ON p.generation = d.live_generation"
                " WHERE d.deleted_at IS NULL AND d.source = 'faults'"
            )
        ).all()
        left = connection.execute(
            sa.text("SELECT count(*) FROM sluice.generation WHERE state IN ('building','retired')")
        ).scalar_one()
    assert {row.native_id for row in rows} == {each.name for each in tree.glob("*.md")}
    assert all(f"edition{edition:04d}" in row.text for row in rows)
    expected = {row.generation: row.chunk_count for row in rows}
    assert pipeline.collections.serving().index.generations() == expected.keys()
    assert dict(pipeline.collections.serving().index.count(list(expected))) == expected
    assert left == 0


def main(config: dict[str, str]) -> None:
    """Kill at boundary 1, 2, 3, … until a run gets through; print the report as JSON."""
    settings, tree = published(config)
    killed, failures, point, began = [], [], 0, time.monotonic()
    reader = Reader(settings)
    while True:
        point += 1
        edition = point + 1
        write_tree(tree, edition)
        status = child(lambda: run(settings, tree, f"r{edition}", point))  # noqa: B023  # at once
        if status == 0:
            break
        killed.append((settings.home / "killed_at").read_text())
        spent = sum(os.times()[2:4])
        print(f"{time.monotonic() - began:.1f} s, {spent:.1f} CPU s: {killed[-1]}", file=sys.stderr)  # noqa: T201  # its log
        if os.WTERMSIG(status) != signal.SIGKILL:
            failures.append(f"run killed at {point} ended with {status}")
        if child(lambda: run(settings, tree, f"r{edition}b", None)):  # noqa: B023  # at once
            failures.append(f"the run after boundary {point} ({killed[-1]}) failed")
        if child(lambda: check(settings, tree, edition)):  # noqa: B023  # at once
            failures.append(f"after boundary {point} ({killed[-1]}) something is wrong")
    seconds = round(time.monotonic() - began, 1)
    report = {"killed": killed, "failures": failures, "seconds": seconds, **reader.end()}
    print(json.dumps(report))  # noqa: T201  # its result


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
