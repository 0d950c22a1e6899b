"""A collection is built beside the one that serves, compared, and takes its place: nobody notices."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from sluice import ingest
from sluice.api.services import Services
from sluice.catalog import placements
from sluice.collections import Opened
from sluice.ingest import Pipeline, Progress
from sluice.ingest.migrating import Migration
from sluice.ingest.switching import alone
from sluice.model import PUBLIC, Caller, Hit, Policy, Principal
from sluice.sources import Files

CALLER = Caller(agent="test", key_id=None, acts_for=frozenset({PUBLIC}))
ANYONE = Principal.parse("user:anyone@example.com")
ADA = Principal.parse("user:ada@example.com")
OTHER = "local-static-64"


def source(tree: Path) -> Files:
    """The tree as a source; anything may vanish from it."""
    return Files(name="pages", url=str(tree), policy=Policy(max_loss=1.0))


def write(tree: Path, name: str, edition: int, sections: int = 2) -> None:
    """A page of long sections, each of which says which page and edition it is of."""
    parts = [
        f"## Part {part}\n\nstation{name} edition{edition:04d} "
        + " ".join(f"word{name}x{part}x{n}" for n in range(150))
        for part in range(sections)
    ]
    (tree / f"{name}.md").write_text(f"# Page {name}\n\n" + "\n\n".join(parts) + "\n")


@pytest.fixture
def filled(pipeline: Pipeline, tree: Path) -> Pipeline:
    """A pipeline whose first collection serves twelve pages."""
    for number in range(11):
        write(tree, f"p{number}", 1)
    ingest.run(pipeline, source(tree), "r1")
    return pipeline


def migration(
    pipeline: Pipeline,
    *,
    embedder: str = OTHER,
    anew: bool = False,
    progress: Progress | None = None,
) -> Migration:
    """The move to a collection of another embedder."""
    wanted = pipeline.settings.model_copy(update={"embedder": embedder})
    return Migration(
        pipeline.catalog, pipeline.collections, wanted, anew=anew, batch=4, progress=progress
    )


def migrate(pipeline: Pipeline, **how: object) -> Opened:
    """The whole move; return what serves."""
    move = migration(pipeline, **how)  # type: ignore[arg-type]  # passed on
    with alone(pipeline.catalog):
        move.build()
        move.compare()
        move.switch()
    return pipeline.collections.serving()


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
    return services.retriever.search(CALLER, person, question, 10).hits


def test_a_migration_changes_index_and_embedder_together(filled: Pipeline) -> None:
    """A process that was open all the while answers from the new one, with the new model."""
    services = Services(filled.settings)
    before = ask(services, "kettle")
    assert services.serving.embedder.dimensions == 256
    opened = migrate(filled)
    assert opened.collection.embedder == OTHER
    assert services.serving.embedder.dimensions == 64
    assert [each.document_id for each in ask(services, "kettle")][0] == before[0].document_id
    assert holds_what_is_live(filled, opened)
    old, new = sorted(filled.collections.standing(), key=lambda each: each.collection.collection_id)
    assert (old.collection.state, new.collection.state) == ("kept", "serving")
    services.close()


def test_what_is_as_wanted_is_left_alone(filled: Pipeline) -> None:
    """The serving one is the target; anew makes another of the same kind."""
    move = migration(filled, embedder="local-static")
    assert move.target() == filled.collections.serving().collection
    assert (move.build().documents, move.compare(), move.switch().documents) == (0, None, 0)
    first = filled.collections.serving().collection
    second = migrate(filled, embedder="local-static", anew=True)
    assert second.collection.collection_id != first.collection_id
    assert second.collection.recipe == first.recipe and second.collection.name != first.name
    assert holds_what_is_live(filled, second)
