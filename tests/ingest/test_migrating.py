"""A collection is built beside the one that serves, and takes its place: nobody notices."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from moving import OTHER, ask, holds_what_is_live, migrate, migration, publish, write
from sluice.api.services import Services
from sluice.errors import (
    AlreadyRunning,
    BadInput,
    ComparisonFailed,
    ConfigurationError,
    IndexUnavailable,
)
from sluice.ingest import Pipeline, Progress
from sluice.ingest.migrating import Migration, chosen
from sluice.ingest.switching import alone
from sluice.model import Collection, CollectionState
from sluice.settings import Settings
from world import a_collection


def test_a_migration_changes_index_and_embedder_together(pages: Pipeline) -> None:
    """A process that was open all the while answers from the new one, with the new model."""
    services = Services(pages.settings)
    before = ask(services, "kettle")
    assert services.serving.embedder.dimensions == 256
    migrate(pages)
    assert services.serving.embedder.dimensions == 64
    assert ask(services, "kettle")[0].document_id == before[0].document_id
    new, old = pages.collections.standing()
    assert (old.collection.state, new.collection.state) == ("kept", "serving")
    assert new.collection.embedder == OTHER
    assert holds_what_is_live(pages, new) and holds_what_is_live(pages, old)
    services.close()


def test_what_is_as_wanted_is_left_alone(pages: Pipeline) -> None:
    """The serving one is the target; anew makes another of the same kind."""
    first = pages.collections.serving().collection
    move = migration(pages, embedder="local-static")
    assert move.target() == first
    assert (move.build().documents, move.compare(), move.switch().documents) == (0, None, 0)
    compared = migrate(pages, embedder="local-static", anew=True)
    second = pages.collections.serving()
    assert second.collection.collection_id != first.collection_id
    assert second.collection.recipe == first.recipe and second.collection.name != first.name
    assert holds_what_is_live(pages, second)
    assert compared is not None and compared.overlap == 1.0


def test_going_back_by_migrating_takes_the_one_that_is_kept(pages: Pipeline) -> None:
    """It is as wanted, and holds everything: nothing is built."""
    first = pages.collections.serving().collection.collection_id
    migrate(pages)
    back = migration(pages, embedder="local-static")
    assert back.forecast().documents == 0
    with alone(pages.catalog):
        assert back.build().documents == 0
        assert back.compare() is not None
        back.switch()
    assert pages.collections.serving().collection.collection_id == first


def test_both_receive_what_is_published_meanwhile(pages: Pipeline, tree: Path) -> None:
    """An edit, a deletion and a new page between building and switching: nothing is built twice."""
    move = migration(pages)
    assert move.build().documents == 12
    write(tree, "p1", 2)
    write(tree, "fresh")
    (tree / "p2.md").unlink()
    publish(pages, tree, "r2")
    assert move.compare() is not None
    assert move.switch().documents == 0
    for each in pages.collections.standing():
        assert holds_what_is_live(pages, each)


def test_a_publish_that_began_before_and_ends_after_loses_nothing(
    pages: Pipeline, tree: Path
) -> None:
    """It built for a collection that no longer serves, so it is made again for the new one."""

    def meanwhile(boundary: str) -> None:
        if boundary == "plan: end" and pages.collections.serving().collection.embedder != OTHER:
            migrate(pages)

    write(tree, "p1", 2)
    (tree / "p2.md").unlink()
    with pytest.raises(AlreadyRunning, match="not in the collection that serves"):
        publish(pages, tree, "r2", progress=Progress(meanwhile))
    services = Services(pages.settings)
    assert {"pages:p2.md"} <= {each.document_id for each in ask(services, "stationp2")}
    publish(pages, tree, "r2")
    assert "edition0002" in ask(services, "stationp1")[0].text
    assert not any(each.document_id == "pages:p2.md" for each in ask(services, "stationp2"))
    for each in pages.collections.standing():
        assert holds_what_is_live(pages, each)
    services.close()


def test_a_deletion_that_began_before_leaves_nothing_in_the_new_one(
    pages: Pipeline, tree: Path
) -> None:
    """It builds nothing, so it goes through; and it collects from what was made meanwhile too."""

    def meanwhile(boundary: str) -> None:
        if boundary == "flip: begin":
            migrate(pages)

    (tree / "p2.md").unlink()
    publish(pages, tree, "r2", progress=Progress(meanwhile))
    assert pages.collections.serving().collection.embedder == OTHER
    for each in pages.collections.standing():
        assert holds_what_is_live(pages, each)


@pytest.mark.parametrize("at", ["build", "kept"])
def test_a_collection_out_of_reach_makes_nobody_wait(pages: Pipeline, tree: Path, at: str) -> None:
    """What serves stays fresh; the other one catches up before it serves."""
    if at == "build":
        migration(pages).build()
        lagging = pages.collections.standing()[1]
    else:
        migrate(pages)
        lagging = pages.collections.standing()[1]
    folder = pages.settings.index_path / pages.catalog.tenant
    store = folder / f"{lagging.collection.name}.lance"
    store.rename(folder / "away")
    write(tree, "p1", 2)
    (tree / "p2.md").unlink()
    publish(pages, tree, "r2")
    services = Services(pages.settings)
    assert "edition0002" in ask(services, "stationp1")[0].text
    shutil.rmtree(store, ignore_errors=True)
    (folder / "away").rename(store)
    assert not holds_what_is_live(pages, lagging)
    compared = migrate(pages, embedder=lagging.collection.embedder)
    assert compared is not None
    assert pages.collections.serving().collection.name == lagging.collection.name
    assert "edition0002" in ask(services, "stationp1")[0].text
    assert holds_what_is_live(pages, pages.collections.serving())
    services.close()


def test_a_worker_that_was_not_told_where_the_new_one_is_publishes_on(
    pages: Pipeline, settings: Settings, tree: Path
) -> None:
    """Only who migrates knows Weaviate's address so far: ingest must not stop for that."""
    knowing = settings.model_copy(
        update={"index": "weaviate", "weaviate_url": "http://127.0.0.1:9", "weaviate_timeout": 0.2}
    )
    elsewhere = Pipeline(knowing)
    with pytest.raises(IndexUnavailable):
        migration(elsewhere, to="weaviate").build()
    assert [each.collection.backend for each in elsewhere.collections.standing()] == [
        "lance",
        "weaviate",
    ]
    write(tree, "p1", 2)
    assert publish(pages, tree, "r2").changed == 1
    assert [each.collection.backend for each in pages.collections.standing()] == ["lance"]
    elsewhere.close()


def test_nothing_is_registered_that_cannot_be_opened(pages: Pipeline) -> None:
    """No address of Weaviate, no such model: one line, and all is as it was."""
    with pytest.raises(ConfigurationError, match="SLUICE_WEAVIATE_URL"):
        migration(pages, to="weaviate").build()
    with pytest.raises(ConfigurationError, match="no such embedder"):
        migration(pages, embedder="nobodys").build()
    assert len(pages.collections.standing()) == 1


def test_without_anything_ingested_there_is_nothing_to_migrate(pipeline: Pipeline) -> None:
    """The settings alone say what the first collection is made of."""
    with pytest.raises(IndexUnavailable, match="Ingest a source first"):
        migration(pipeline).target()


def test_a_second_migration_is_refused(pages: Pipeline) -> None:
    """The lock is free again when its holder is gone."""
    with alone(pages.catalog), pytest.raises(AlreadyRunning), alone(pages.catalog):
        pass
    with alone(pages.catalog):
        pass


def test_two_migrations_that_both_believe_to_be_alone_harm_nothing(
    pages: Pipeline, settings: Settings
) -> None:
    """A lock goes with its connection, and its holder may not have noticed. Each is tried again."""
    move = migration(pages)
    move.build()
    building = pages.collections.standing()[1].collection
    with pages.catalog.begin() as connection:
        connection.execute(
            sa.text("DELETE FROM sluice.placement WHERE collection_id = :id"),
            {"id": building.collection_id},
        )
    other = Pipeline(settings)

    def run(each: Migration) -> None:
        for left in reversed(range(5)):
            try:
                each.build()
                each.compare()
                each.switch()
            except (IndexUnavailable, ComparisonFailed):  # the other one took its chunks for old
                if not left:
                    raise

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, (move, migration(other))))
    assert pages.collections.serving().collection.collection_id == building.collection_id
    assert holds_what_is_live(pages, pages.collections.serving())
    other.close()


def test_an_unfinished_migration_is_finished_or_given_up_first(pages: Pipeline) -> None:
    """Another wish is refused with the way out; the same wish goes on."""
    migration(pages).build()
    with pytest.raises(BadInput, match="sluice index drop"):
        migration(pages, embedder="local-static-128").target()
    building = migration(pages).target()
    assert building is not None and building.state == "building"
    assert migration(pages, anew=True).target() == building


def test_what_an_interrupted_build_left_behind_is_replaced(pages: Pipeline) -> None:
    """Chunks that no placement speaks of may be of another release: they go before ours come."""
    move = migration(pages)
    move.build()
    building = pages.collections.standing()[1]
    held = building.index.fetch(building.index.generations())
    generation = held[0].generation
    building.index.upsert([replace(held[0], ordinal=99, text="of another chunker")])
    with pages.catalog.begin() as connection:
        connection.execute(
            sa.text("DELETE FROM sluice.placement WHERE collection_id = :id AND generation = :g"),
            {"id": building.collection.collection_id, "g": generation},
        )
    assert move.build().documents == 1
    assert holds_what_is_live(pages, building)


def collection(number: int, state: CollectionState, recipe: str) -> Collection:
    """A collection of a recipe."""
    return a_collection(collection_id=number, recipe=recipe, state=state)


def test_which_collection_is_to_serve_next() -> None:
    """The one that is being built, else the serving one, else a kept one, else a new one."""
    serving, kept = collection(3, "serving", "a"), collection(2, "kept", "b")
    older, building = collection(1, "kept", "b"), collection(4, "building", "b")

    def pick(wish: str, *standing: Collection, anew: bool = False) -> Collection | None:
        return chosen(standing, lambda each: each.recipe == wish, anew=anew)

    assert pick("a", serving, kept, older) == serving
    assert pick("b", serving, kept, older) == kept
    assert pick("c", serving, kept, older) is None
    assert pick("a", serving, kept, anew=True) is None
    assert pick("b", serving, kept, anew=True) is None
    assert pick("b", serving, building, kept, anew=True) == building
    with pytest.raises(BadInput):
        pick("a", serving, building, kept)
