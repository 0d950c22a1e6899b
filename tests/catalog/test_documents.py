"""The flip, and what it refuses."""

from __future__ import annotations

import pytest
from sluice.catalog import Catalog, documents
from sluice.errors import AlreadyRunning
from sluice.model import Document
from world import SOURCE, World


def test_a_run_that_lost_its_lock_cannot_flip_what_was_collected(catalog: Catalog) -> None:
    """Its chunks are gone from the index: the version that is live stays so."""
    world = World(catalog)
    before = world.publish("page", "open")
    document = Document(
        source=SOURCE, native_id="page", title="page", text="New.", uri="", acl_key="open"
    )
    with catalog.begin() as connection:
        (number,) = documents.allocate(connection, 1)
        building = documents.Building(generation=number, document=document)
        documents.register(connection, "run-1", "test", [building])
        documents.collected(connection, [number])
    with pytest.raises(AlreadyRunning), catalog.begin() as connection:
        documents.flip(connection, [number])
    with catalog.begin() as connection:
        (known,) = documents.known(connection, SOURCE).values()
    assert known.generation == before.generation
