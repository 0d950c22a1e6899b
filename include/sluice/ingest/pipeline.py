"""What the stages work with, opened when first needed, and the lock they work under."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

from sluice.catalog import Catalog, runs
from sluice.embedding import open_embedder
from sluice.errors import AlreadyRunning, CatalogUnavailable, LoadHeld, SluiceError
from sluice.landing import Zone
from sluice.model import Policy
from sluice.ports import Embedder, Index
from sluice.settings import Settings

LOCK_PATIENCE = 900.0  # seconds to wait for another run of the same source
DOCUMENTS_A_BATCH = 500  # bounds memory, and what a kill makes us do again


class Pipeline:
    """The catalog, the index, the embedder and the landing zone of one tenant.

    Index and embedder are opened on first use: extracting needs neither.
    """

    def __init__(self, settings: Settings, *, batch: int = DOCUMENTS_A_BATCH):
        self.settings = settings
        self.batch = batch
        self.catalog = Catalog(settings.require("catalog_url"), settings.tenant)
        self.zone = Zone(settings.require("landing_url"), settings.tenant)

    @cached_property
    def embedder(self) -> Embedder:
        """The model that documents and questions are embedded with."""
        return open_embedder(self.settings.embedder)

    @cached_property
    def index(self) -> Index:
        """The index, made if it is not there yet."""
        from sluice.index.lance import LanceIndex  # 3.5 s of imports that extracting need not pay

        index = LanceIndex(
            self.settings.index_path,
            model=self.embedder.model,
            dimensions=self.embedder.dimensions,
            tenant=self.settings.tenant,
        )
        index.ensure()
        return index

    @property
    def suites(self) -> Path:
        """Where the expectation suites are."""
        return self.settings.suites

    def close(self) -> None:
        """Give back every connection."""
        self.catalog.close()


def open_pipeline(settings: Settings) -> Pipeline:
    """Compose a pipeline from the settings.

    Raises:
        ConfigurationError: a URL is not set.
    """
    return Pipeline(settings)


@contextmanager
def exclusive(
    pipeline: Pipeline,
    name: str,
    kind: str,
    policy: Policy,
    run_id: str,
    patience: float = LOCK_PATIENCE,
) -> Iterator[None]:
    """Hold the source's lock and keep its run's record while the body works.

    Raises:
        AlreadyRunning: another run held the lock for all of ``patience`` seconds.
    """
    catalog = pipeline.catalog
    deadline = time.monotonic() + patience
    while True:
        with catalog.begin() as lock:
            if runs.lock_source(lock, name):
                with _recorded(catalog, name, kind, policy, run_id):
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
def _recorded(
    catalog: Catalog, name: str, kind: str, policy: Policy, run_id: str
) -> Iterator[None]:
    with catalog.begin() as connection:
        runs.ensure_source(connection, name, kind, policy.max_acl_age)
        runs.begin(connection, run_id, name)
    try:
        yield
    except BaseException as error:  # Ctrl-C and a full disk too: no run that ended looks running
        state: runs.RunState = "held" if isinstance(error, LoadHeld) else "failed"
        with suppress(CatalogUnavailable), catalog.begin() as connection:
            runs.finish(connection, run_id, state, _said(error))
        raise


def _said(error: BaseException) -> str:
    """What a run's record says; of a stranger only its name, since it may quote what it read."""
    if isinstance(error, SluiceError):
        return str(error)
    return f"unexpected {type(error).__name__}: see the log of its task"
