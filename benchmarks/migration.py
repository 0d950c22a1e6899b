"""From LanceDB to Weaviate and back while people search and pages change: does anybody notice?

    python benchmarks/migration.py [--chunks 100000] [--rate 50] [--clients 2]

An archive of real sentences, and a desk of pages that a publisher edits, deletes, adds and moves
between people every few seconds, are ingested into LanceDB. Then ``sluice index migrate`` builds,
compares and switches, and ``sluice index rollback`` goes back, all while client processes search at
a fixed rate, whether answers come or not. Half of the questions are about one page, by a code that
only its title has: it must be among the hits if it was live and readable all the while. Every
answer is judged by a journal of what was published when (``history.py``).
"""

from __future__ import annotations

import argparse
import json
import pickle
import random
import subprocess
import sys
import tempfile
import time
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import measure
import numpy as np
import openloop
import pages
import quality
import report
import servers
import sqlalchemy as sa
from history import History, State, Version
from pages import PEOPLE, Tree
from sluice import ingest
from sluice.api.services import Services
from sluice.chunking import chunk
from sluice.errors import AlreadyRunning
from sluice.ingest.progress import Progress
from sluice.model import Principal
from sluice.settings import Settings, load
from sluice.sources import Files

RECORDED = 200
SETTLE = 20.0  # seconds of searching before the migration begins, and after it has ended
_LOOK = 0.05  # seconds
PUBLISHES = 5.0  # seconds from the beginning of one publish to the next
ALWAYS = (float("-inf"), float("-inf"))
WEAVIATE = ("migrate", "--to", "weaviate", "--yes")
Row = dict[str, Any]


def main(chunks: int, rate: float, clients: int) -> int:
    """Move, go back, judge; print the tables, write the results, return the exit status."""
    if not quality.DATA.is_dir():
        print(f"skipped: no test collections in {quality.DATA}")
        return 0
    with tempfile.TemporaryDirectory(prefix="sluice-migration-") as folder:
        found = run(Path(folder), chunks, rate, clients)
    claims = claims_of(found)
    report.table("What is moved, and one search of it while nothing else goes on", [found["moved"]])
    report.table(f"{rate:g} searches a second, from {clients} processes", found["phases"], NOTE)
    report.table("Published meanwhile", [found["published"]])
    report.table("Commands, with the start of Python; seconds: with all checks", found["commands"])
    report.write("migration", {**found, "claims": claims}, ["lancedb", "weaviate-client"])
    return report.verdict(claims)


NOTE = "ms: from when a search was due. wrong: of an old, deleted or mixed version, or missing"


def claims_of(found: Row) -> dict[str, bool]:
    """What must hold."""
    phases = found["phases"]
    return {
        **{
            f"0 {each}, of {sum(row['answers'] for row in phases):,} answers": not any(
                row[each] for row in phases
            )
            for each in ("failed", "wrong", "leaked")
        },
        "rollback serves in less than 5 s, the start of Python included": all(
            row["serves after s"] < 5 for row in found["commands"] if row["command"] == "rollback"
        ),
        f"after it, {found['recorded']} recorded questions have the very same answers": (
            found["identical"] == found["recorded"]
        ),
    }


def run(home: Path, chunks: int, rate: float, clients: int, settle: float = SETTLE) -> Row:
    """Everything but the printing."""
    with ExitStack() as stack:
        database = stack.enter_context(measure.server())
        server = stack.enter_context(servers.weaviate(home / "weaviate"))
        environment = {
            **servers.ambient(),
            **database.database("migration"),
            "SLUICE_HOME": str(home),
            "SLUICE_WEAVIATE_URL": server.url,
            "SLUICE_WEAVIATE_GRPC": server.grpc,
        }
        trees = _plant(home, chunks)
        built, spent = measure.run(__file__, ["build", str(home)], environment, database)
        services = stack.enter_context(_services(environment))
        first = [_live(services, each) for each in trees]
        (home / "targets.json").write_text(json.dumps(_targets(trees, first)))
        weight = _weight(services)
        cost = _cost(services, trees[0], database)
        with openloop.running(home, environment, rate, clients) as marks:
            with _publishing(home, environment):
                time.sleep(settle)
                marks.append(("migrating", time.monotonic()))
                commands = [_command(services, environment, *WEAVIATE)]
                marks.append(("on Weaviate", time.monotonic()))
                time.sleep(settle)
            marks.append(("back and forth", time.monotonic()))
            commands.append(_command(services, environment, "rollback"))
            asked = _recorded(trees[0])
            before = [_answer(services, *each) for each in asked]
            commands.append(_command(services, environment, *WEAVIATE))
            moved = [_answer(services, *each) for each in asked]
            commands.append(_command(services, environment, "rollback"))
            after = [_answer(services, *each) for each in asked]
        published = _journal(home)
        history = History(_states(trees, first, published))
    return {
        "moved": {**built, "build s": spent.wall, **weight, **cost},
        "phases": openloop.phases(asked_for := openloop.answers(home), marks, history),
        "blemishes": openloop.blemishes(asked_for, history),
        "published": _totals(published),
        "commands": [
            {name: value for name, value in each.items() if name != "said"} for each in commands
        ],
        "said": [each["said"] for each in commands],
        "recorded": len(asked),
        "identical": sum(a == b for a, b in zip(before, after, strict=True)),
        "identical on Weaviate": sum(a == b for a, b in zip(before, moved, strict=True)),
    }


def _plant(home: Path, chunks: int) -> tuple[Tree, Tree]:
    """An archive, of which a person reads 4 %, and a small desk, of which 30 %."""
    stock = pages.sentences([text for _, text in quality.scifact(quality.DATA).documents.values()])
    total = chunks // pages.SECTIONS
    desk = min(400, total // 20)
    planted = []
    for name, count, folders, share in (
        ("archive", total - desk, 200, 0.04),
        ("desk", desk, 20, 0.3),
    ):
        tree = Tree(home / "trees" / name, name, stock, random.Random(name))
        tree.plant(count, folders, share)
        planted.append(tree)
    (home / "desk.pickle").write_bytes(pickle.dumps(planted[1]))
    return planted[0], planted[1]


def _source(tree: str, home: Path) -> Files:
    return Files(name=tree, url=str(home / "trees" / tree))


def _build(home: Path) -> Row:
    """In a process of its own: ingest both trees as their DAGs would."""
    pipeline = ingest.open_pipeline(load())
    summaries = [ingest.run(pipeline, _source(each, home), each) for each in ("archive", "desk")]
    pipeline.collections.serving().index.optimize()
    pipeline.close()
    return {
        "pages": sum(each.new for each in summaries),
        "chunks": sum(each.chunks for each in summaries),
    }


@contextmanager
def _services(environment: Mapping[str, str]) -> Iterator[Services]:
    prefix = "SLUICE_"
    ours = [name for name in environment if name.startswith(prefix)]
    named = {name.removeprefix(prefix).lower(): environment[name] for name in ours}
    services = Services(Settings(**named))
    yield services
    services.close()


def _live(services: Services, tree: Tree) -> dict[str, Version]:
    """What the catalog says is live of a tree, while nobody publishes."""
    with services.catalog.begin() as connection:
        rows = connection.execute(
            sa.text(
                "SELECT native_id, live_generation FROM sluice.document"
                " WHERE source = :source AND deleted_at IS NULL"
            ),
            {"source": tree.name},
        )
        return {
            f"{tree.name}:{page}": Version(generation, tree.editions[page], page.split("/")[0])
            for page, generation in rows
        }


def _targets(trees: Sequence[Tree], live: Sequence[Mapping[str, Version]]) -> Row:
    """What clients ask: some words, or for a page, which they know of each person's."""
    found: Row = {"questions": [trees[0].question() for _ in range(2_000)]}
    for tree, versions in zip(trees, live, strict=True):
        found[tree.name] = {"anyone": sorted(versions)} | {
            person: [k for k, v in versions.items() if person in tree.readers[v.folder]]
            or sorted(versions)
            for person in PEOPLE
        }
    return found


def _weight(services: Services) -> Row:
    """What the catalog takes, and how long a chunk is in the embedder's tokens."""
    embedder = services.serving.embedder
    with services.catalog.begin() as connection:
        size = connection.execute(
            sa.text("SELECT pg_database_size(current_database())")
        ).scalar_one()
        texts = connection.execute(
            sa.text("SELECT title, text FROM sluice.generation WHERE state = 'live' LIMIT 200")
        ).all()
    chunks = [part.searched for title, text in texts for part in chunk(title, text, embedder)]
    return {
        "catalog MB": size / 2**20,
        "tokens a chunk": sum(map(embedder.count_tokens, chunks)) / len(chunks),
    }


def _cost(services: Services, tree: Tree, database: measure.Server) -> Row:
    """What one search takes and costs, one after the other."""
    asked = _recorded(tree)
    for each in asked[:10]:
        _answer(services, *each)
    times, own, served = [], time.process_time(), database.cpu()
    for each in asked:
        began = time.perf_counter()
        _answer(services, *each)
        times.append(1000 * (time.perf_counter() - began))
    return {
        "search p50 ms": float(np.median(times)),
        "CPU ms": 1000 * (time.process_time() - own) / len(asked),
        "PostgreSQL CPU ms": 1000 * (database.cpu() - served) / len(asked),
    }


def _recorded(tree: Tree) -> list[tuple[str, str]]:
    """The same questions of the same people, whenever it is called."""
    chance = random.Random("recorded")
    return [
        (chance.choice(PEOPLE), " ".join(chance.choice(tree.stock).split()[:9]))
        for _ in range(RECORDED)
    ]


def _answer(services: Services, person: str, question: str) -> bytes:
    """An answer as bytes: every hit with all that is said of it."""
    found = services.retriever.search(openloop.CALLER, Principal(person), question, openloop.HITS)
    return json.dumps([asdict(hit) for hit in found.hits], default=str).encode()


def _command(services: Services, environment: Mapping[str, str], name: str, *options: str) -> Row:
    """Run ``sluice index …`` as an operator would; see when another collection serves."""
    began, before = time.monotonic(), services.serving.collection.collection_id
    served = None
    with subprocess.Popen(
        [Path(sys.executable).parent / "sluice", "index", name, *options, "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        while process.poll() is None:
            if served is None and services.serving.collection.collection_id != before:
                served = time.monotonic() - began
            time.sleep(_LOOK)
        said = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise RuntimeError(f"sluice index {name} ended with {process.returncode}")
    seconds = time.monotonic() - began
    return {
        "command": name,
        "serves after s": served or seconds,
        "seconds": seconds,
        "said": json.loads(said),
    }


@contextmanager
def _publishing(home: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Publish changes of the desk while the body works."""
    command = [sys.executable, __file__, "work", "publish", str(home)]
    process = subprocess.Popen(command, env=environment)
    try:
        yield
    finally:
        (home / "quiet").touch()
        if process.wait():
            raise RuntimeError("the publisher failed")


def _publish(home: Path) -> None:
    """In a process of its own: change and publish, until told to be quiet; keep the journal."""
    tree: Tree = pickle.loads((home / "desk.pickle").read_bytes())  # noqa: S301  # our own
    pipeline = ingest.open_pipeline(load())
    services = Services(load())
    with (home / "journal").open("ab") as journal:
        while not (home / "quiet").exists():
            began = time.monotonic()
            tree.change(edited=8, deleted=2, added=2)
            times, again = _once(pipeline, home)
            readers = {folder: frozenset(each) for folder, each in tree.readers.items()}
            state = State(times["narrow"], times["flip"], _live(services, tree), readers)
            pickle.dump((state, again), journal)
            time.sleep(max(0.0, began + PUBLISHES - time.monotonic()))
    services.close()
    pipeline.close()


def _once(pipeline: Any, home: Path) -> tuple[dict[str, tuple[float, float]], int]:
    """Publish the desk, again if another collection began to serve; when its stages were."""
    seen: dict[str, float] = {}

    def reached(boundary: str) -> None:
        if boundary.endswith(": begin"):
            seen.setdefault(boundary, time.monotonic())
        seen[boundary] = seen[boundary] if boundary.endswith(": begin") else time.monotonic()

    for again in range(5):
        try:
            ingest.run(
                pipeline,
                _source("desk", home),
                f"desk-{time.time_ns()}",
                progress=Progress(reached),
            )
        except AlreadyRunning:
            continue
        return {
            stage: (seen[f"{stage}: begin"], seen[f"{stage}: end"]) for stage in ("narrow", "flip")
        }, again
    raise AssertionError("the desk cannot be published")


Published = list[tuple[State, int]]


def _journal(home: Path) -> Published:
    found: Published = []
    with (home / "journal").open("rb") as journal:
        while True:
            try:
                found.append(pickle.load(journal))  # noqa: S301  # our own
            except EOFError:
                return found


def _states(
    trees: Sequence[Tree], first: Sequence[Mapping[str, Version]], published: Published
) -> list[State]:
    """All that was ever true: what was at first, then each publish of the desk over the archive."""
    archive, desk = (
        {folder: frozenset(each) for folder, each in tree.readers.items()} for tree in trees
    )
    begun = State(ALWAYS, ALWAYS, ChainMap(first[1], first[0]), archive | desk)
    return [
        begun,
        *(
            State(each.narrow, each.flip, ChainMap(each.live, first[0]), archive | each.readers)
            for each, _ in published
        ),
    ]


def _totals(published: Published) -> Row:
    return {
        "publishes": len(published),
        "of them made again": sum(again > 0 for _, again in published),
        "edited": 8 * len(published),
        "deleted": 2 * len(published),
        "added": 2 * len(published),
        "rights taken": len(published),
        "rights given": len(published),
    }


if __name__ == "__main__":
    if sys.argv[1:3] == ["work", "build"]:
        measure.answer(lambda: _build(Path(sys.argv[3])))
    elif sys.argv[1:3] == ["work", "publish"]:
        _publish(Path(sys.argv[3]))
    else:
        arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
        arguments.add_argument("--chunks", type=int, default=100_000)
        arguments.add_argument("--rate", type=float, default=50.0)
        arguments.add_argument("--clients", type=int, default=2)
        given = arguments.parse_args()
        sys.exit(main(given.chunks, given.rate, given.clients))
