"""Kills a migration at every boundary, runs it again, and asks questions all the while.

A program of its own, since it forks: ``test_kill_migration.py`` runs it and judges its report.

    python kill_migration.py '{"home": …, "catalog_url": …, "landing_url": …, "tenant": …}'
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import sqlalchemy as sa
from kill_ingest import Reader, child, published, run, write_tree
from sluice.catalog import Catalog, placements
from sluice.ingest import Pipeline, Progress
from sluice.ingest.migrating import Migration
from sluice.ingest.switching import alone, drop
from sluice.settings import Settings

EMBEDDERS = ("local-static-64", "local-static")  # by turns: each round goes to the other one


def migrate(settings: Settings, embedder: str, kill_at: int | None) -> int:
    """One whole migration; at boundary number ``kill_at`` the process kills itself, as -9.

    Returns how many texts it embedded.
    """
    reached = 0

    def watch(boundary: str) -> None:
        nonlocal reached
        reached += not boundary.endswith(": begin")  # nothing was done since the boundary before
        if reached == kill_at:
            (settings.home / "killed_at").write_text(boundary)
            os.kill(os.getpid(), signal.SIGKILL)

    pipeline = Pipeline(settings)
    wanted = settings.model_copy(update={"embedder": embedder})
    move = Migration(
        pipeline.catalog, pipeline.collections, wanted, batch=4, progress=Progress(watch)
    )
    with alone(pipeline.catalog):
        built = move.build()
        move.compare()
        filled = built + move.switch()
    pipeline.close()
    return filled.written.embedded


def again(settings: Settings, embedder: str) -> None:
    """The same migration once more: it completes, and embeds only what no cache holds."""
    pipeline = Pipeline(settings)
    before = embedded(pipeline.catalog)
    fresh = migrate(settings, embedder, None)
    assert fresh == embedded(pipeline.catalog) - before, "something was embedded twice"
    check(pipeline, embedder)
    pipeline.close()


def check(pipeline: Pipeline, embedder: str) -> None:
    """What serves holds every live generation whole, and nothing else; drop what is kept."""
    serving, *others = pipeline.collections.standing()
    assert (serving.collection.state, serving.collection.embedder) == ("serving", embedder)
    with pipeline.catalog.begin() as connection:
        live = set(
            connection.execute(
                sa.text("SELECT generation FROM sluice.generation WHERE state = 'live'")
            ).scalars()
        )
        expected = placements.expected(connection, serving.collection.collection_id)
    assert live == expected.keys() == serving.index.generations()
    assert dict(serving.index.count(live)) == expected
    assert [each.collection.state for each in others] == ["kept"]
    for each in others:
        drop(pipeline.catalog, pipeline.collections, each.collection.collection_id)


def embedded(catalog: Catalog) -> int:
    """How many vectors the cache holds."""
    with catalog.begin() as connection:
        counted = connection.execute(sa.text("SELECT count(*) FROM sluice.embedding"))
        return int(counted.scalar_one())


def finish(settings: Settings, tree: Path, embedder: str, edition: int) -> None:
    """Finish a round, and begin the next: edit every page and publish."""
    again(settings, embedder)
    write_tree(tree, edition)
    run(settings, tree, f"r{edition}", None)


def main(config: dict[str, str]) -> None:
    """Kill at boundary 1, 2, 3, … until a migration gets through; print the report as JSON."""
    settings, tree = published(config)
    killed, failures, point, began = [], [], 0, time.monotonic()
    reader = Reader(settings)
    while True:
        embedder = EMBEDDERS[point % 2]
        point += 1
        status = child(lambda: migrate(settings, embedder, point))  # noqa: B023  # at once
        if status == 0:
            break
        killed.append((settings.home / "killed_at").read_text())
        print(f"{time.monotonic() - began:.1f} s: {killed[-1]}", file=sys.stderr)  # noqa: T201  # its log
        if os.WTERMSIG(status) != signal.SIGKILL:
            failures.append(f"the migration killed at {point} ended with {status}")
        if child(lambda: finish(settings, tree, embedder, point + 1)):  # noqa: B023  # at once
            failures.append(f"after boundary {point} ({killed[-1]}) something is wrong")
            break
    seconds = round(time.monotonic() - began, 1)
    report = {"killed": killed, "failures": failures, "seconds": seconds, **reader.end()}
    print(json.dumps(report))  # noqa: T201  # its result


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
