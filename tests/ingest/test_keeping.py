"""Stores and catalog stay in step, whatever comes back, goes on meanwhile, or waits for a lock."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from moving import ask, holds_what_is_live, migration, publish, write
from sluice.api.services import Services
from sluice.catalog import collections, documents, placements
from sluice.ingest import Pipeline, Progress
from sluice.ingest.switching import alone
from sluice.model import Document
from sluice.settings import Settings


def found(settings: Settings, question: str) -> set[str]:
    """The documents that anyone finds."""
    return {hit.document_id for hit in ask(Services(settings), question)}


def test_an_index_restored_from_before_an_edit_is_given_the_edit_again(
    pages: Pipeline, tree: Path, settings: Settings
) -> None:
    """It is as large as it should be, and holds the old version: the next run finds that out."""
    shutil.copytree(settings.index_path, settings.home / "backup")
    write(tree, "p1", 2)
    publish(pages, tree, "r2")
    shutil.rmtree(settings.index_path)
    shutil.move(settings.home / "backup", settings.index_path)
    assert "pages:p1.md" not in found(settings, "stationp1")
    write(tree, "p3", 2)
    publish(pages, tree, "r3")
    assert "pages:p1.md" in found(settings, "stationp1")


class At(Progress):
    """Does something once, when a boundary is reached."""

    def __init__(self, boundary: str, act: Callable[[], object]):
        super().__init__()
        self._boundary = boundary
        self._acts = iter([act])

    def reached(self, boundary: str) -> None:
        """Act if this is the boundary."""
        if boundary == self._boundary:
            next(self._acts, lambda: None)()


def test_pages_edited_while_a_migration_writes_them_do_not_end_it(
    pages: Pipeline, tree: Path, settings: Settings
) -> None:
    """Between the writing and the counting they are replaced and collected: they are let go."""

    def edit() -> None:
        for number in range(11):
            write(tree, f"p{number}", 2)
        publish(Pipeline(settings), tree, "r2")

    move = migration(pages, progress=At("index: written", edit))
    with alone(pages.catalog):
        move.build()
        move.compare()
        move.switch()
    assert holds_what_is_live(pages, pages.collections.serving())


@pytest.mark.timeout(120)
def test_placing_beside_a_flip_never_deadlocks(pages: Pipeline) -> None:
    """Both lock hundreds of generations, in the order of their numbers."""
    catalog, size = pages.catalog, 400
    with catalog.begin() as connection:
        key = connection.execute(sa.text("SELECT key FROM sluice.acl LIMIT 1")).scalar_one()
        serving = collections.serving(connection)
        assert serving is not None

    def register(edition: int) -> list[int]:
        order = random.Random(edition).sample(range(size), size)
        with catalog.begin() as connection:
            numbers = documents.allocate(connection, size)
            building = [
                documents.Building(
                    generation=generation,
                    document=Document(
                        source="pages",
                        native_id=f"d{each}.md",
                        title="t",
                        text=f"x{edition}",
                        uri="",
                        acl_key=key,
                    ),
                )
                for generation, each in zip(numbers, order, strict=True)
            ]
            documents.register(connection, "r1", "recipe", building)
        return numbers

    live = register(0)
    with catalog.begin() as connection:
        documents.flip(connection, live)
    for edition in range(1, 16):
        fresh, both = register(edition), threading.Barrier(2)

        def place(chosen: list[int], both: threading.Barrier) -> None:
            with catalog.begin() as connection:
                both.wait()
                placements.place(connection, serving.collection_id, dict.fromkeys(chosen, 1))

        placing = threading.Thread(target=place, args=(live, both))
        placing.start()
        with catalog.begin() as connection:
            both.wait()
            documents.flip(connection, fresh)
        placing.join()
        live = fresh
