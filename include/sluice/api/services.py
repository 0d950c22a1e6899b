"""What answering needs, opened when first used and kept: catalog, keys, index, embedder."""

from __future__ import annotations

import asyncio
from functools import cached_property, partial

from sluice.access import Access
from sluice.audit import Audit
from sluice.catalog import Catalog, open_catalog, placements
from sluice.catalog import collections as rows
from sluice.collections import Collections, Opened
from sluice.embedding import open_embedder
from sluice.errors import IndexUnavailable
from sluice.keys import Keys
from sluice.metering import Metered
from sluice.retrieve import Retriever
from sluice.settings import Settings

_LOOKED_FOR = 10  # generations; the flip of one may fall between two looks


class Services:
    """The question side of one tenant.

    What cannot be opened raises, and is tried again on the next use: a server that started before
    its catalog or its index recovers by itself.
    """

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop | None = None):
        """``loop`` is a server's running event loop: what can be asynchronous then works on it."""
        self.settings = settings
        self._loop = loop

    @cached_property
    def catalog(self) -> Catalog:
        """The catalog, as a role that row level security binds.

        Raises:
            ConfigurationError: its URL is not set, or its role would bypass the tenants' walls.
            CatalogUnavailable: it does not answer.
        """
        return open_catalog(self.settings)

    @cached_property
    def keys(self) -> Keys:
        """The agents' keys."""
        return Keys(self.catalog)

    @cached_property
    def collections(self) -> Collections:
        """Where chunks live."""
        return Collections(self.settings, self.catalog, loop=self._loop)

    @property
    def serving(self) -> Opened:
        """The collection that answers questions, as of now; made by the first ingest, never here.

        Raises:
            IndexUnavailable: there is none yet.
            CatalogUnavailable: the catalog does not say.
        """
        return self.collections.serving()

    @cached_property
    def retriever(self) -> Retriever:
        """The way from a question to an answer."""
        return Retriever(
            Access(self.catalog, self.settings.scope_cap),
            self.collections.serving,
            Audit(self.catalog),
            partial(Metered, self.catalog),
            dense_weight=self.settings.dense_weight,
            max_question=self.settings.max_question,
            max_hits=self.settings.max_hits,
        )

    def check_embedder(self) -> None:
        """Return if questions can be embedded.

        Raises:
            ConfigurationError: the model cannot be loaded.
            CatalogUnavailable: the catalog does not say which one it is.
        """
        with self.catalog.begin() as connection:
            found = rows.serving(connection)
        open_embedder(found.embedder if found else self.settings.embedder, self.settings.endpoints)

    def check_index(self) -> None:
        """Return if the index can be read and holds some of what is live, where anything is.

        Raises:
            IndexUnavailable: it cannot, or holds nothing of it.
        """
        serving = self.serving
        serving.index.ping()
        with self.catalog.begin() as connection:
            newest = placements.newest(connection, serving.collection.collection_id, _LOOKED_FOR)
        if newest and not any(serving.index.count(newest).values()):
            raise IndexUnavailable(
                "it holds nothing of what the catalog says is live",
                subject=f"{serving.collection.backend} {serving.collection.name}",
                cure="Check SLUICE_HOME or SLUICE_WEAVIATE_URL; if the index is lost, run every "
                "source's DAG: that builds it again",
            )

    def close(self) -> None:
        """Give every connection back."""
        if "collections" in self.__dict__:
            self.collections.close()
        if "catalog" in self.__dict__:
            self.catalog.close()
