"""A tree of pages that is moved from one collection to another, and how it is looked at."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sluice import ingest
from sluice.api.services import Services
from sluice.catalog import placements
from sluice.collections import Opened
from sluice.ingest import Pipeline, Progress
from sluice.ingest.comparing import Comparison
from sluice.ingest.migrating import Migration
from sluice.ingest.switching import alone
from sluice.model import PUBLIC, Caller, Hit, Policy, Principal, RunSummary
from sluice.sources import Files

CALLER = Caller(agent="test", key_id=None, acts_for=frozenset({PUBLIC}))
ANYONE = Principal.parse("user:anyone@example.com")
ADA = Principal.parse("user:ada@example.com")
SECTIONS, WORDS = 2, 60  # of a page; of a section
OTHER = "local-static-64"  # than the one that new settings name


def write(tree: Path, name: str, edition: int = 1) -> None:
    """A page of long sections, each of which says which page and edition it is of."""
    parts = [
        f"## Part {part} of {name}\n\nstation{name} edition{edition:04d} "
        + " ".join(f"word{name}x{part}x{n}" for n in range(WORDS))
        for part in range(SECTIONS)
    ]
    (tree / f"{name}.md").write_text(f"# Page {name}\n\n" + "\n\n".join(parts) + "\n")


def publish(pipeline: Pipeline, tree: Path, run_id: str, **options: object) -> RunSummary:
    """Run the tree's source; anything may vanish from it."""
    source = Files(name="pages", url=str(tree), policy=Policy(max_loss=1.0))
    return ingest.run(pipeline, source, run_id, **options)  # type: ignore[arg-type]  # passed on


def migration(
    pipeline: Pipeline,
    *,
    to: str = "lance",
    embedder: str = OTHER,
    anew: bool = False,
    progress: Progress | None = None,
) -> Migration:
    """The move to another collection."""
    wanted = pipeline.settings.model_copy(update={"index": to, "embedder": embedder})
    return Migration(
        pipeline.catalog, pipeline.collections, wanted, anew=anew, batch=4, progress=progress
    )


def migrate(pipeline: Pipeline, **how: object) -> Comparison | None:
    """The whole move, as the command makes it."""
    move = migration(pipeline, **how)  # type: ignore[arg-type]  # passed on
    with alone(pipeline.catalog):
        move.build()
        compared = move.compare()
        move.switch()
    return compared


def holds_what_is_live(pipeline: Pipeline, opened: Opened) -> bool:
    """Whether a store holds every live generation whole, and nothing else."""
    with pipeline.catalog.begin() as connection:
        live = set(
            connection.execute(
                sa.text("SELECT generation FROM sluice.generation WHERE state = 'live'")
            ).scalars()
        )
        expected = placements.expected(connection, opened.collection.collection_id)
    index = opened.index
    return (
        live == expected.keys() == index.generations()
        and dict(index.count(live)) == expected
        and index.size() == sum(expected.values())
    )


def ask(services: Services, question: str, person: Principal = ANYONE) -> tuple[Hit, ...]:
    """What a person gets."""
    return services.retriever.search(CALLER, person, question, 20).hits
