"""The collections of a tenant, opened: an index, and the embedder whose vectors it holds.

The catalog says which collection serves, and every question asks it anew: so when another begins to
serve, index and embedder change together, in every process, from one question to the next. The
settings say only what the first collection is made of; later ones are made by
``sluice index migrate``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from sluice.catalog import Catalog
from sluice.catalog import collections as rows
from sluice.chunking import CHUNKER
from sluice.embedding import open_embedder
from sluice.errors import ConfigurationError, IndexUnavailable
from sluice.index import name_for, open_index
from sluice.index.analysis import ANALYSIS
from sluice.index.rows import ABSENT
from sluice.model import Collection, CollectionState
from sluice.ports import Embedder, Index
from sluice.settings import Settings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A collection that can be worked with."""

    collection: Collection
    index: Index
    embedder: Embedder

    def dense_weight(self, chosen: float | None) -> float:
        """The vector list's weight in rank fusion: the ``chosen`` one, or what suits the model."""
        return self.embedder.dense_weight if chosen is None else chosen


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
            raise IndexUnavailable("nothing is there yet", cure=ABSENT)
        return self.open(found)

    def standing(self) -> list[Opened]:
        """Every collection that is not dropped, the serving one first.

        One that does not serve, and of which the settings do not say where it is, is left out.

        Raises:
            ConfigurationError: the settings do not say where the one that serves is.
        """
        with self._catalog.begin() as connection:
            found = rows.standing(connection)
        opened = (self._within_reach(each) for each in found)
        return [each for each in opened if each is not None]

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
            embedder = open_embedder(collection.embedder, self._settings.endpoints)
            opened = self._opened.setdefault(
                collection.collection_id, Opened(collection, index, embedder)
            )
        if opened.collection != collection:  # it began to serve, or ended
            opened = replace(opened, collection=collection)
            self._opened[collection.collection_id] = opened
        return opened

    def _within_reach(self, collection: Collection) -> Opened | None:
        try:
            return self.open(collection)
        except ConfigurationError as error:
            if collection.state == "serving":
                raise
            _log.warning("left behind: %s: %s", collection.name, error)
            return None

    def register(self, settings: Settings, state: CollectionState) -> Collection | None:
        """Make a collection known as ``settings`` describe it; None if another came first.

        Raises:
            ConfigurationError: there is no such embedder, or nothing says where the backend is.
        """
        described = self.describe(settings, state)
        with self._catalog.begin() as connection:
            return rows.register(connection, described)

    def describe(self, settings: Settings, state: CollectionState) -> Collection:
        """The next collection, were it made as ``settings`` say. Its number is 0: it has none.

        Raises:
            ConfigurationError: there is no such embedder, or nothing says where the backend is.
        """
        embedder = open_embedder(settings.embedder, settings.endpoints)
        with self._catalog.begin() as connection:
            number, installation = rows.number(connection), rows.installation(connection)
        described = Collection(
            collection_id=0,
            backend=settings.index,
            name=name_for(settings, embedder.model, embedder.dimensions, number, installation),
            embedder=settings.embedder,
            model=embedder.model,
            dimensions=embedder.dimensions,
            recipe=recipe(embedder),
            state=state,
        )
        open_index(self._settings, described).close()  # a client of its own, never used
        return described

    def close(self) -> None:
        """Give every connection back."""
        for each in self._opened.values():
            each.index.close()
        self._opened.clear()


def fits(collection: Collection, settings: Settings) -> bool:
    """Whether a collection is what ``settings`` describe, made as this release makes one.

    How Weaviate lays it out does not count: nothing remembers what was asked for.

    Raises:
        ConfigurationError: there is no such embedder.
    """
    made = (collection.backend, collection.embedder, collection.recipe)
    return made == (
        settings.index,
        settings.embedder,
        recipe(open_embedder(settings.embedder, settings.endpoints)),
    )


def recipe(embedder: Embedder) -> str:
    """Name what this release makes chunks, terms and vectors with."""
    return f"{CHUNKER}/a{ANALYSIS}/{embedder.model}"
