"""The collections of a tenant, opened: an index, and the embedder whose vectors it holds.

The catalog says which collection serves, and every question asks it anew: so when another begins to
serve, index and embedder change together, in every process, from one question to the next. The
settings say only what the first collection is made of; later ones are made by
``sluice index migrate``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from sluice.catalog import Catalog
from sluice.catalog import collections as rows
from sluice.chunking import CHUNKER
from sluice.embedding import open_embedder
from sluice.errors import IndexUnavailable
from sluice.index import name_for, open_index
from sluice.index.analysis import ANALYSIS
from sluice.model import Collection, CollectionState
from sluice.ports import Embedder, Index
from sluice.settings import Settings


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A collection that can be worked with."""

    collection: Collection
    index: Index
    embedder: Embedder


Serving = Callable[[], Opened]  # the collection that answers questions, as of each call


class Collections:
    """Opens each collection once. Safe to share between threads, never across a fork."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
    ):
        """``loop`` is a server's running event loop: what can be asynchronous works on it."""
        self._settings = settings
        self._catalog = catalog
        self._loop = loop
        self._opened: dict[int, Opened] = {}

    def serving(self) -> Opened:
        """The collection that answers questions, as of now.

        Raises:
            IndexUnavailable: there is none: nothing was ever ingested.
            CatalogUnavailable: the catalog does not say.
        """
        with self._catalog.begin() as connection:
            found = rows.serving(connection)
        if found is None:
            raise IndexUnavailable(
                "nothing is there yet", cure="Ingest a source first: that makes the index"
            )
        return self.open(found)

    def standing(self) -> list[Opened]:
        """Every collection that is not dropped, the serving one first."""
        with self._catalog.begin() as connection:
            found = rows.standing(connection)
        return [self.open(each) for each in found]

    def receiving(self) -> list[Opened]:
        """Every collection that is to hold what is published, the serving one first, and made.

        The very first is registered here, as the settings describe it.

        Raises:
            IndexUnavailable: the one that serves cannot be reached.
        """
        found = self.standing()
        if not found:
            self.register(self._settings, "serving")
            found = self.standing()
        found[0].index.ensure()
        return found

    def open(self, collection: Collection) -> Opened:
        """Open one that the catalog knows; nothing is connected to before it is used."""
        opened = self._opened.get(collection.collection_id)
        if opened is None:
            index = open_index(self._settings, collection, loop=self._loop)
            embedder = open_embedder(collection.embedder)
            opened = self._opened.setdefault(
                collection.collection_id, Opened(collection, index, embedder)
            )
        return opened

    def register(self, settings: Settings, state: CollectionState) -> Collection | None:
        """Make a collection known as ``settings`` describe it; None if another came first."""
        embedder = open_embedder(settings.embedder)
        with self._catalog.begin() as connection:
            return rows.register(
                connection,
                backend=settings.index,
                name=name_for(
                    settings,
                    embedder.model,
                    embedder.dimensions,
                    rows.number(connection),
                    rows.installation(connection),
                ),
                embedder=settings.embedder,
                model=embedder.model,
                dimensions=embedder.dimensions,
                recipe=recipe(embedder),
                state=state,
            )

    def close(self) -> None:
        """Give every connection back."""
        for each in self._opened.values():
            each.index.close()
        self._opened.clear()


def recipe(embedder: Embedder) -> str:
    """Name what this release makes chunks, terms and vectors with."""
    return f"{CHUNKER}/a{ANALYSIS}/{embedder.model}"
