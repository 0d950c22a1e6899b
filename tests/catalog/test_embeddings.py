"""The cache of vectors: once a text, no more than allowed, and gone when it has to be."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
import sqlalchemy as sa
from sluice.catalog import Catalog, embeddings
from sluice.model.text import digest

MODEL = "small"
QUARTER = 62_500  # components: a quarter of a megabyte


@pytest.fixture
def cache(catalog: Catalog) -> Catalog:
    """A cache of four vectors of a quarter of a megabyte, the first of which is the oldest."""
    with catalog.begin() as connection:
        embeddings.store(
            connection, MODEL, {digest(str(i)): np.ones(QUARTER, np.float32) for i in range(4)}
        )
    for i in range(4):
        age(catalog, digest(str(i)), 9 - i)
    return catalog


def age(catalog: Catalog, content_hash: str, days: int) -> None:
    """Let a vector not have been used for so long."""
    with catalog.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE sluice.embedding SET used_on = current_date - :days"
                " WHERE content_hash = :hash"
            ),
            {"days": days, "hash": bytes.fromhex(content_hash)},
        )


def kept(catalog: Catalog, names: Iterable[str]) -> set[str]:
    """Which of these texts have a vector."""
    wanted = {digest(each): each for each in names}
    with catalog.begin() as connection:
        return {wanted[each] for each in embeddings.known(connection, MODEL, wanted)}


def test_what_was_not_used_for_longest_goes_first(cache: Catalog) -> None:
    """As many as must go, and no more."""
    with cache.begin() as connection:
        assert embeddings.size(connection) == 1
        assert embeddings.bound(connection, 1) == 0
        embeddings.store(connection, MODEL, {digest("new"): np.ones(QUARTER, np.float32)})
        assert embeddings.bound(connection, 1) == 1
    assert kept(cache, ["0", "1", "2", "3", "new"]) == {"1", "2", "3", "new"}


def test_to_be_used_is_to_be_young_again(cache: Catalog) -> None:
    """A lookup counts, once a day."""
    with cache.begin() as connection:
        assert embeddings.lookup(connection, MODEL, [digest("0")])
        embeddings.store(connection, MODEL, {digest("new"): np.ones(QUARTER, np.float32)})
        embeddings.bound(connection, 1)
    assert kept(cache, ["0", "1", "2", "3", "new"]) == {"0", "2", "3", "new"}


def test_what_a_run_is_about_to_need_stays_however_much_it_is(cache: Catalog) -> None:
    """Vectors of today and yesterday may have been paid for by a run that is not done."""
    age(cache, digest("2"), 1)
    age(cache, digest("3"), 0)
    with cache.begin() as connection:
        assert embeddings.bound(connection, 0) == 2
    assert kept(cache, ["0", "1", "2", "3"]) == {"2", "3"}


def test_somebody_else_who_uses_a_vector_is_not_waited_for(
    cache: Catalog, catalog_url: str
) -> None:
    """Two runs that look for the same vectors in another order never wait for each other."""
    same = Catalog(catalog_url, cache.tenant)
    with cache.begin() as one, same.begin() as other:
        assert len(embeddings.lookup(one, MODEL, [digest("0"), digest("1")])) == 2
        assert len(embeddings.lookup(other, MODEL, [digest("1"), digest("0")])) == 2
    same.close()
