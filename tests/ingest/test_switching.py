"""Going back to the collection that served before, and the end of one that is not needed."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from moving import (
    ADA,
    ANYONE,
    OTHER,
    WORDS,
    ask,
    holds_what_is_live,
    migrate,
    migration,
    publish,
    write,
)
from sluice.api.services import Services
from sluice.catalog import Catalog, placements
from sluice.catalog import collections as rows
from sluice.collections import Collections
from sluice.errors import BadInput, IndexUnavailable, NotFound
from sluice.ingest import Pipeline, Progress
from sluice.ingest.keeping import check
from sluice.ingest.switching import alone, drop, rollback
from sluice.settings import Settings
from world import a_collection

QUESTIONS = 200


def test_a_rollback_gives_the_very_answers_of_before(pages: Pipeline) -> None:
    """200 recorded questions, every field of every hit; and back again to the new one."""
    services, chance = Services(pages.settings), random.Random(3)
    words = [
        f"word{page}x{chance.randrange(2)}x{n}" for page in ["p1", "p5", "p9"] for n in range(WORDS)
    ]
    questions = [" ".join(chance.sample(words, 3)) for _ in range(QUESTIONS)]
    old = [ask(services, each) for each in questions]
    migrate(pages)
    new = [ask(services, each) for each in questions]
    with alone(pages.catalog):
        assert rollback(pages.catalog, pages.collections).embedder == "local-static"
    assert [ask(services, each) for each in questions] == old
    with alone(pages.catalog):
        assert rollback(pages.catalog, pages.collections).embedder == OTHER
    assert [ask(services, each) for each in questions] == new
    services.close()


def test_the_kept_one_received_everything(pages: Pipeline, tree: Path) -> None:
    """Edits, deletions and permissions since: going back shows the source as it is now."""
    migrate(pages)
    write(tree, "p1", 2)
    (tree / "p2.md").unlink()
    (tree / ".access.yaml").write_text("allow: ['user:ada@example.com']\n")
    publish(pages, tree, "r2")
    with alone(pages.catalog):
        rollback(pages.catalog, pages.collections)
    services = Services(pages.settings)
    assert pages.collections.serving().collection.embedder == "local-static"
    assert "edition0002" in ask(services, "stationp1", ADA)[0].text
    assert not any(each.document_id == "pages:p2.md" for each in ask(services, "stationp2", ADA))
    assert ask(services, "stationp1", ANYONE) == ()
    assert holds_what_is_live(pages, pages.collections.serving())
    services.close()


def test_what_a_kept_store_lost_is_written_again_first(pages: Pipeline) -> None:
    """Its size gives it away as soon as it serves: the other one serves until it is mended."""
    kept = pages.collections.serving()
    migrate(pages)
    some = sorted(kept.index.generations())[:3]
    kept.index.delete(some)
    serving: dict[str, str] = {}

    def look(boundary: str) -> None:
        serving.setdefault(boundary, pages.collections.serving().collection.embedder)

    with alone(pages.catalog):
        rollback(pages.catalog, pages.collections, progress=Progress(look))
    assert serving["rollback: serves"] == "local-static"
    assert serving["fill: checked"] == OTHER
    assert serving["serve: serves"] == "local-static"
    assert holds_what_is_live(pages, pages.collections.serving())


def test_a_kept_store_that_is_gone_does_not_serve(pages: Pipeline) -> None:
    """The other one serves on, and who asked for the rollback is told."""
    kept = pages.collections.serving()
    migrate(pages)
    for folder in pages.settings.index_path.rglob(f"{kept.collection.name}.lance"):
        shutil.rmtree(folder)
    with pytest.raises(IndexUnavailable), alone(pages.catalog):
        rollback(pages.catalog, pages.collections)
    assert pages.collections.serving().collection.embedder == OTHER


def test_what_went_missing_at_the_last_moment_is_given_to_it_first(pages: Pipeline) -> None:
    """Something was published that only the other one received: the switch waits for it."""
    migration(pages).build()
    building = pages.collections.standing()[1]
    late = sorted(building.index.generations())[:2]

    def meanwhile(boundary: str) -> None:
        if boundary == "serve: filled" and late:
            building.index.delete(late)
            with pages.catalog.begin() as connection:
                placements.forget(connection, building.collection.collection_id, late)
            late.clear()

    assert migration(pages, progress=Progress(meanwhile)).switch().documents == 2
    assert holds_what_is_live(pages, pages.collections.serving())
    assert pages.collections.serving().collection.embedder == OTHER


def test_there_must_be_one_to_go_back_to(pages: Pipeline) -> None:
    """One that is being built is none."""
    for _ in range(2):
        with pytest.raises(NotFound, match="no collection is kept"):
            rollback(pages.catalog, pages.collections)
        migration(pages).build()


def test_a_dropped_collection_is_gone_and_missed_by_nobody(pages: Pipeline, tree: Path) -> None:
    """Its store too; runs go on, and dropping it again is no error."""
    first = pages.collections.serving()
    number = first.collection.collection_id
    with pytest.raises(BadInput, match="it serves"):
        drop(pages.catalog, pages.collections, number)
    with pytest.raises(NotFound, match="no such collection"):
        drop(pages.catalog, pages.collections, number + 1000)
    migrate(pages)
    for _ in range(2):
        drop(pages.catalog, pages.collections, number)
        assert len(pages.collections.standing()) == 1
        assert not list(pages.settings.index_path.rglob(f"{first.collection.name}.lance"))
    write(tree, "p1", 2)
    assert publish(pages, tree, "r2").changed == 1
    with pytest.raises(NotFound):
        rollback(pages.catalog, pages.collections)
    again = migration(pages, embedder="local-static")
    assert again.target() is None
    again.build()
    assert pages.collections.standing()[1].collection.name != first.collection.name


def test_a_run_that_was_to_write_to_a_dropped_one_goes_on(pages: Pipeline, tree: Path) -> None:
    """It is left behind, and nothing of its store comes back."""
    first = pages.collections.serving()
    migrate(pages)

    def meanwhile(boundary: str) -> None:
        if boundary == "plan: end":
            other = Collections(pages.settings, pages.catalog)
            drop(pages.catalog, other, first.collection.collection_id)

    write(tree, "p1", 2)
    assert publish(pages, tree, "r2", progress=Progress(meanwhile)).changed == 1
    assert holds_what_is_live(pages, pages.collections.serving())
    left = list(pages.settings.index_path.rglob(f"{first.collection.name}.lance"))
    assert not left


def test_one_whose_store_is_out_of_reach_is_given_up_all_the_same(
    pages: Pipeline, settings: Settings
) -> None:
    """Nobody writes to it any more; what is left of it goes when the store is back."""
    where = {"weaviate_url": "http://127.0.0.1:9", "weaviate_timeout": 0.2}
    told = Pipeline(settings.model_copy(update=where))
    with pytest.raises(IndexUnavailable):
        migration(told, to="weaviate").build()
    building = told.collections.standing()[1].collection
    for each in (pages, told):  # one is not told where it is, the other does not reach it
        with pytest.raises(IndexUnavailable, match="nothing uses it any more"):
            drop(each.catalog, each.collections, building.collection_id)
        assert len(told.collections.standing()) == 1
    told.close()


def test_what_was_marked_dropped_by_a_killed_command_can_be_dropped(pages: Pipeline) -> None:
    """The mark comes first, so that nothing is ever read from half a store."""
    first = pages.collections.serving()
    migrate(pages)
    with pages.catalog.begin() as connection:
        assert rows.drop(connection, first.collection.collection_id)
    assert first.index.size() > 0
    drop(pages.catalog, pages.collections, first.collection.collection_id)
    assert not list(pages.settings.index_path.rglob(f"{first.collection.name}.lance"))


def test_a_store_that_lost_something_is_found_out_and_mended(pages: Pipeline, tree: Path) -> None:
    """What is not whole is told and forgotten, so that the next run builds it again."""
    serving = pages.collections.serving()
    gone = sorted(serving.index.generations())[:2]
    serving.index.delete(gone)
    found = check(pages.catalog, serving)
    assert (found.generations, found.lost, found.orphans) == (12, tuple(gone), 0)
    assert publish(pages, tree, "r2").embedded == 0
    assert holds_what_is_live(pages, serving)
    assert check(pages.catalog, serving).lost == ()


def test_chunks_that_nobody_knows_of_are_removed(pages: Pipeline, settings: Settings) -> None:
    """They came back from a backup, or a deletion never reached the store."""
    serving = pages.collections.serving()
    stray = serving.index.fetch(serving.index.generations())[:2]
    serving.index.upsert([replace(each, generation=10**12 + each.ordinal) for each in stray])
    found = check(pages.catalog, serving)
    assert found.orphans == len({each.ordinal for each in stray}) and found.lost == ()
    assert holds_what_is_live(pages, serving)


def test_a_publish_waits_for_the_switch_and_sees_its_outcome(
    new_catalog: Callable[[], Catalog],
) -> None:
    """Whoever flips while another collection begins to serve is told of that one."""
    catalog = new_catalog()
    with catalog.begin() as connection:
        old = rows.register(connection, a_collection())
        new = rows.register(connection, a_collection(name="other", state="building"))
    assert old is not None and new is not None
    seen: list[int] = []

    def flip() -> None:
        with catalog.begin() as connection:
            seen.append(rows.hold(connection))

    with catalog.begin() as switching:
        assert rows.serve(switching, new.collection_id) == old.collection_id
        waiting = threading.Thread(target=flip)
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive() and not seen
    waiting.join(10)
    assert seen == [new.collection_id]
