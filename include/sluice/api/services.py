"""What answering needs, opened when first used and kept: catalog, keys, index, embedder."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property

from sluice.access import Access
from sluice.audit import Audit
from sluice.catalog import Catalog, documents
from sluice.embedding import open_embedder
from sluice.errors import CatalogUnavailable, ConfigurationError, IndexUnavailable
from sluice.keys import Keys
from sluice.ports import Embedder, Index
from sluice.retrieve import Retriever
from sluice.settings import Settings

_LOOKED_FOR = 10  # generations; the flip of one may fall between two looks


class Services:
    """The question side of one tenant.

    What cannot be opened raises, and is tried again on the next use: a server that started before
    its catalog or its index recovers by itself.
    """

    def __init__(self, settings: Settings):
        self.settings = settings

    @cached_property
    def catalog(self) -> Catalog:
        """The catalog, as a role that row level security binds.

        Raises:
            ConfigurationError: its URL is not set, or its role would bypass the tenants' walls.
            CatalogUnavailable: it does not answer.
        """
        catalog = Catalog(self.settings.require("catalog_url"), self.settings.tenant)
        try:
            catalog.check()
        except Exception:
            catalog.close()
            raise
        return catalog

    @cached_property
    def keys(self) -> Keys:
        """The agents' keys."""
        return Keys(self.catalog)

    @cached_property
    def embedder(self) -> Embedder:
        """The model that questions are embedded with."""
        return open_embedder(self.settings.embedder)

    @cached_property
    def index(self) -> Index:
        """Where candidates are found; it is made by the first ingest, never here."""
        from sluice.index.lance import LanceIndex  # seconds of imports

        return LanceIndex(
            self.settings.index_path,
            model=self.embedder.model,
            dimensions=self.embedder.dimensions,
            tenant=self.settings.tenant,
        )

    @cached_property
    def retriever(self) -> Retriever:
        """The way from a question to an answer."""
        return Retriever(
            Access(self.catalog, self.settings.scope_cap),
            self.index,
            self.embedder,
            Audit(self.catalog),
            dense_weight=self.settings.dense_weight,
            max_question=self.settings.max_question,
            max_hits=self.settings.max_hits,
        )

    def check_index(self) -> None:
        """Return if the index can be read and holds some of what is live, where anything is.

        Raises:
            IndexUnavailable: it cannot, or holds nothing of it.
        """
        self.index.ping()
        with suppress(CatalogUnavailable, ConfigurationError):  # those are not the index's fault
            with self.catalog.begin() as connection:
                newest = documents.newest(connection, _LOOKED_FOR)
            if newest and not any(self.index.count(newest).values()):
                raise IndexUnavailable(
                    "it holds nothing of what the catalog says is live",
                    subject=str(self.settings.index_path),
                    cure="Check SLUICE_HOME and SLUICE_EMBEDDER; if the index is lost, run every "
                    "source's DAG: that builds it again",
                )

    def close(self) -> None:
        """Give every connection back."""
        if "catalog" in self.__dict__:
            self.catalog.close()
