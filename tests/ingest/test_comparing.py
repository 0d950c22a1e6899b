"""A collection that is not as it should be never begins to serve, and says what is wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from moving import migrate, migration, publish, write
from sluice.catalog import samples
from sluice.collections import Opened
from sluice.errors import ComparisonFailed
from sluice.index.lance import LanceIndex
from sluice.ingest import Pipeline
from sluice.ingest.migrating import Migration
from sluice.ingest.recall import bands, measure
from sluice.model import Candidate, IndexedChunk

Spoil = Callable[[IndexedChunk], IndexedChunk]


@pytest.fixture
def built(pages: Pipeline) -> Migration:
    """A migration whose collection is complete, and not compared yet."""
    move = migration(pages)
    move.build()
    return move


def test_a_good_collection_passes(pages: Pipeline, built: Migration) -> None:
    """Counted, read word by word, and asked in scopes of several widths."""
    found = built.compare()
    assert found is not None
    assert (found.generations, found.sampled) == (12, 12)
    assert found.chunks == pages.collections.standing()[1].index.size()
    assert found.recalls and all(each.recall == 1.0 for each in found.recalls)
    assert found.overlap is None  # another model finds other things


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda chunk: replace(chunk, text=chunk.text + "!"), "text of chunk"),
        (lambda chunk: replace(chunk, path=("Elsewhere",)), "path of chunk"),
        (lambda chunk: replace(chunk, acl_id=chunk.acl_id + 1), "acl_id of chunk"),
        (lambda chunk: replace(chunk, terms="other words"), "terms of chunk"),
        (lambda chunk: replace(chunk, vector=np.roll(chunk.vector, 1)), "vector of chunk"),
    ],
    ids=["text", "path", "acl_id", "terms", "vector"],
)
def test_what_differs_word_by_word_is_told(
    pages: Pipeline, built: Migration, spoil: Spoil, said: str
) -> None:
    """Every field but the id can be wrong behind the catalog's back."""
    building = pages.collections.standing()[1]
    chunk = building.index.fetch(building.index.generations())[5]
    building.index.upsert([spoil(chunk)])
    with pytest.raises(ComparisonFailed, match=said) as caught:
        built.compare()
    assert chunk.document_id in str(caught.value) and "sluice index drop" in str(caught.value)
    assert pages.collections.serving().collection.embedder == "local-static"
    assert building.collection.state == "building"


def test_lost_chunks_are_told_and_written_by_the_next_build(
    pages: Pipeline, built: Migration
) -> None:
    """Nothing that is not there whole begins to serve; the same migration mends it."""
    building = pages.collections.standing()[1]
    building.index.delete(sorted(building.index.generations())[:3])
    with pytest.raises(ComparisonFailed, match="3 of 12 documents are not there whole"):
        built.compare()
    assert built.build().documents == 3
    assert built.compare() is not None


def test_strangers_are_removed_before_sizes_are_compared(pages: Pipeline, built: Migration) -> None:
    """Chunks of a generation that the catalog never gave out."""
    building = pages.collections.standing()[1]
    chunk = building.index.fetch(building.index.generations())[0]
    building.index.upsert([replace(chunk, generation=10**12)])
    assert built.compare() is not None
    assert 10**12 not in building.index.generations()


class Forgetful(LanceIndex):
    """A store that loses every other neighbour, as a graph that was cut off would."""

    def search_vector(self, *args: object) -> list[Candidate]:  # type: ignore[override]  # passed on
        return super().search_vector(*args)[::2]  # type: ignore[arg-type]  # passed on


def test_lost_recall_is_measured(pages: Pipeline, tree: Path) -> None:
    """By brute force over the store's own vectors, whatever it says itself."""
    for number in range(8):
        folder = tree / f"team{number}"
        folder.mkdir()
        (folder / ".access.yaml").write_text(f"allow: ['user:u{number}@example.com']\n")
        for page in range(3):
            write(folder, f"t{number}q{page}")
    publish(pages, tree, "r2")
    serving = pages.collections.serving()
    collection = serving.collection
    asked = serving.embedder.embed([f"stationp{n} word" for n in range(5)])
    with pages.catalog.begin() as connection:
        by_acl = samples.by_acl(connection, collection.collection_id)
    assert len(by_acl) == 9
    found = bands(by_acl, cap=5000, chance=random.Random(1))
    assert {each.recall for each in measure(pages.catalog, serving, found, asked)} == {1.0}
    bad = Forgetful(
        pages.settings.index_path,
        name=collection.name,
        model=collection.model,
        dimensions=collection.dimensions,
        tenant=pages.catalog.tenant,
    )
    forgetful = Opened(collection, bad, serving.embedder)
    assert all(0.4 < each.recall < 0.6 for each in measure(pages.catalog, forgetful, found, asked))


def test_scopes_are_of_several_widths_and_of_whole_objects() -> None:
    """From one small object to everything, none twice, none beyond the cap."""
    chunks = dict.fromkeys(range(1000), 10) | {5000: 2000}
    found = bands(chunks, cap=400, chance=random.Random(1))
    shares = [each.chunks / sum(chunks.values()) for each in found]
    assert shares == sorted(shares) and len(found) == 4
    assert shares[0] <= 0.003 < shares[1] <= 0.01 < shares[2] <= 0.15 < shares[3]
    assert all(len(each.scope) <= 400 for each in found)
    assert bands({7: 3}, cap=5, chance=random.Random(1))[0].scope == {7}
    assert len(bands({7: 3}, cap=5, chance=random.Random(1))) == 1
    assert bands({}, cap=5, chance=random.Random(1)) == []


def test_a_collection_of_the_same_recipe_gives_the_same_first_tens(pages: Pipeline) -> None:
    """Moved and compared with what it replaces."""
    compared = migrate(pages, embedder="local-static", anew=True)
    assert compared is not None and compared.overlap == 1.0
