"""A migration under way while sources change and people ask: nobody sees that it happens."""

from __future__ import annotations

import itertools
import random
import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from moving import ADA, ANYONE, OTHER, SECTIONS, ask, holds_what_is_live, migration, publish, write
from sluice.api.services import Services
from sluice.errors import AlreadyRunning
from sluice.ingest import Pipeline, Progress
from sluice.ingest.keeping import check
from sluice.ingest.switching import alone, rollback
from sluice.settings import Settings

EDITED = [f"p{number}" for number in range(11)]


@dataclass
class Truth:
    """What is published for certain, for readers to be judged by."""

    edition: int = 1  # of every edited page, at least
    gone: set[str] = field(default_factory=set)  # pages whose deletion is published
    locked: int = 0  # odd: the page `shy` is Ada's alone, for certain
    stop: bool = False
    wrong: list[str] = field(default_factory=list)
    reads: int = 0
    runs: int = 0


def change(pipeline: Pipeline, tree: Path, truth: Truth) -> None:
    """Edit every page, delete one, add one, and take rights away and give them, over and over."""
    for edition in itertools.count(2):
        if truth.stop:
            return
        for name in EDITED:
            write(tree, name, edition)
        (tree / f"passing{edition - 1}.md").unlink(missing_ok=True)
        write(tree, f"passing{edition}", edition)
        shy = edition % 2 == 0
        rule = "pages:\n  shy.md: {allow: ['user:ada@example.com']}\n" if shy else ""
        if not shy:
            truth.locked += 1  # before anyone may see it again
        (tree / ".access.yaml").write_text(f"allow: [public]\n{rule}")
        while True:
            try:
                publish(pipeline, tree, f"r{edition}-{truth.runs}")
            except AlreadyRunning:  # another collection began to serve: as Airflow, try again
                continue
            finally:
                truth.runs += 1
            break
        truth.edition = edition
        truth.gone.add(f"passing{edition - 1}")
        if shy:
            truth.locked += 1


def read(settings: Settings, truth: Truth, seed: int) -> None:
    """Ask for pages by chance; write down whatever a reader should never see."""
    services, chance = Services(settings), random.Random(seed)
    while not truth.stop:
        name = chance.choice(EDITED)
        before, gone, locked = truth.edition, set(truth.gone), truth.locked
        try:
            hits = ask(services, f"station{name}")
            shy = ask(services, "stationshy")
        except Exception as error:  # noqa: BLE001  # whatever it is, a reader got it
            truth.wrong.append(f"{type(error).__name__}: {error}")
            continue
        truth.reads += 2
        parts = [hit.text for hit in hits if hit.document_id == f"pages:{name}.md"]
        editions = {int(e) for part in parts for e in re.findall(r"edition(\d+)", part)}
        if len(editions) != 1 or len(parts) < SECTIONS or len(set(parts)) != len(parts):
            truth.wrong.append(f"{name}: {len(parts)} parts of editions {editions}")
        elif min(editions) < before:
            truth.wrong.append(f"{name}: edition {editions} after {before}")
        found = {hit.document_id for hit in hits}
        truth.wrong += [f"{each} is deleted" for each in gone if f"pages:{each}.md" in found]
        secret = any(hit.document_id == "pages:shy.md" for hit in shy)
        if secret and locked % 2 == 1 and truth.locked == locked:
            truth.wrong.append("shy.md was seen while it was Ada's alone")
    services.close()


@pytest.mark.timeout(600)
def test_readers_notice_nothing_of_migrations_and_rollbacks(
    pages: Pipeline, settings: Settings, tree: Path
) -> None:
    """Never a missing, doubled, stale or leaked document, and never an error."""
    write(tree, "shy")
    publish(pages, tree, "r1b")
    truth = Truth()
    writer = threading.Thread(target=change, args=(Pipeline(settings, batch=4), tree, truth))
    readers = [
        threading.Thread(target=read, args=(settings, truth, seed), daemon=True)
        for seed in range(2)
    ]
    for each in (writer, *readers):
        each.start()
    slowly = Progress(lambda _boundary: time.sleep(0.05))
    mover = Pipeline(settings, batch=4)
    for embedder in (OTHER, "local-static-128"):
        began = truth.runs
        move = migration(mover, embedder=embedder, progress=slowly)
        with alone(mover.catalog):
            move.build()
            while truth.runs < began + 2 and not truth.wrong:
                time.sleep(0.1)
            move.compare()
            move.switch()
        with alone(mover.catalog):
            rollback(mover.catalog, mover.collections)
            rollback(mover.catalog, mover.collections)
    truth.stop = True
    for each in (writer, *readers):
        each.join(60)
    assert truth.wrong[:5] == []
    assert truth.reads > 50 and truth.runs >= 4
    services = Services(settings)
    assert services.serving.collection.embedder == "local-static-128"
    assert ask(services, "stationshy", ADA)
    assert ask(services, "stationp1", ANYONE)
    for each in mover.collections.standing():
        check(mover.catalog, each)
        assert holds_what_is_live(mover, each)
    services.close()
    mover.close()
