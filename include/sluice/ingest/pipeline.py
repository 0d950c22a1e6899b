"""What the stages work with, opened when first needed, and the lock they work under."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.auth import Consent, Tokens, Vault
from sluice.catalog import Catalog, open_catalog, runs
from sluice.crypto import MasterKeys
from sluice.errors import AlreadyRunning, CatalogUnavailable, LoadHeld, SluiceError, StillEmbedding
from sluice.ingest.kit import Connections, Kit, no_connections
from sluice.landing import Zone
from sluice.model import Policy
from sluice.ports import Source
from sluice.settings import Settings

if TYPE_CHECKING:
    from sluice.collections import Collections

LOCK_PATIENCE = 900.0  # seconds to wait for another run of the same source
DOCUMENTS_A_BATCH = 500  # bounds memory, and what a kill makes us do again


class Pipeline:
    """The catalog, the collections and the landing zone of one tenant.

    Collections are opened on first use: extracting needs none.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        batch: int = DOCUMENTS_A_BATCH,
        connections: Connections = no_connections,
    ):
        self.settings = settings
        self._connections = connections
        self.batch = batch
        self.catalog = open_catalog(settings)
        self.zone = Zone(settings.require("landing_url"), settings.tenant)

    @cached_property
    def collections(self) -> Collections:
        """Where chunks go."""
        from sluice.collections import Collections  # numpy, which extracting need not pay

        return Collections(self.settings, self.catalog)

    @cached_property
    def tokens(self) -> Tokens:
        """Where access tokens are kept.

        Raises:
            ConfigurationError: there is no master key to seal them with.
        """
        return Tokens(self.catalog, open_vault(self.settings, self.catalog))

    def kit(self, source: str) -> Kit:
        """What a reading of ``source`` takes along."""
        return Kit(self.catalog, source, self._connections, lambda: self.tokens)

    @property
    def suites(self) -> Path:
        """Where the expectation suites are."""
        return self.settings.suites

    def close(self) -> None:
        """Give back every connection."""
        if "collections" in self.__dict__:
            self.collections.close()
        self.catalog.close()


def open_pipeline(settings: Settings, connections: Connections = no_connections) -> Pipeline:
    """Compose a pipeline from the settings, and the connections that sources are signed in to by.

    Raises:
        ConfigurationError: a URL is not set, or the catalog's role would bypass the tenants' walls.
        CatalogUnavailable: it does not answer.
    """
    return Pipeline(settings, connections=connections)


def open_vault(settings: Settings, catalog: Catalog) -> Vault:
    """What seals the secrets of sources.

    Raises:
        ConfigurationError: there is no master key to seal them with.
    """
    return Vault(catalog, MasterKeys.parse(settings.require("master_keys")))


def open_consent(settings: Settings, connections: Connections) -> Consent:
    """Who asks people for consent; errors as in :func:`open_vault` and :func:`open_catalog`."""
    catalog = open_catalog(settings)
    vault = open_vault(settings, catalog)
    return Consent(catalog, vault, Tokens(catalog, vault), connections)


def register(pipeline: Pipeline, source: Source) -> None:
    """Make a source known before its first run."""
    with pipeline.catalog.begin() as connection:
        runs.ensure_source(connection, source.name, source.kind, source.policy)


@contextmanager
def exclusive(
    pipeline: Pipeline,
    name: str,
    kind: str,
    policy: Policy,
    run_id: str,
    patience: float = LOCK_PATIENCE,
    part: str | None = None,
) -> Iterator[None]:
    """Hold the source's lock and keep its run's record while the body works.

    Args:
        pipeline: what to work with.
        name: the source's, or a directory's.
        kind: of the source.
        policy: of the source.
        run_id: names the run.
        patience: seconds to wait for another run.
        part: of the source, which has runs and a lock of its own; None: its content.

    Raises:
        AlreadyRunning: another run held the lock for all of ``patience`` seconds.
    """
    catalog = pipeline.catalog
    whose = name if part is None else runs.part_of(name, part)
    deadline = time.monotonic() + patience
    while True:
        with catalog.begin() as lock:
            if runs.lock_source(lock, whose):
                with catalog.begin() as connection:
                    runs.ensure_source(connection, name, kind, policy)
                with _recorded(catalog, whose, run_id):
                    yield
                return
        if time.monotonic() >= deadline:
            raise AlreadyRunning(
                "another run of this source is at work",
                subject=name,
                cure="Wait for it; nothing is lost, the next run takes up what is left",
            )
        time.sleep(0.5)


@contextmanager
def _recorded(catalog: Catalog, whose: str, run_id: str) -> Iterator[None]:
    with catalog.begin() as connection:
        runs.begin(connection, run_id, whose)
    try:
        yield
    except BaseException as error:  # Ctrl-C and a full disk too: no run that ended looks running
        if isinstance(error, StillEmbedding):
            raise
        state: runs.RunState = "held" if isinstance(error, LoadHeld) else "failed"
        with suppress(CatalogUnavailable), catalog.begin() as connection:
            runs.finish(connection, run_id, state, _said(error))
        raise


def _said(error: BaseException) -> str:
    """What a run's record says; of a stranger only its name, since it may quote what it read."""
    if isinstance(error, SluiceError):
        return str(error)
    return f"unexpected {type(error).__name__}: see the log of its task"
