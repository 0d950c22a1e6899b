"""A new collection is built while the old one serves, compared with what is true, and then serves.

Both receive what is published meanwhile. Every step may be killed and called again: what is left to
do is read from the catalog. Until the last one nothing changes for those who ask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import get_args

from sluice.catalog import Catalog
from sluice.catalog import collections as rows
from sluice.collections import Collections, Opened, fits
from sluice.errors import AlreadyRunning, BadInput, IndexUnavailable
from sluice.ingest.comparing import Comparison, compare
from sluice.ingest.filling import Filled, Told, fill, untold
from sluice.ingest.forecast import Forecast, forecast
from sluice.ingest.pipeline import DOCUMENTS_A_BATCH
from sluice.ingest.progress import Progress
from sluice.ingest.switching import announce, serve
from sluice.model import Backend, Collection
from sluice.settings import Settings


class Migration:
    """The move to a collection as ``wanted`` describes it.

    Whoever calls :meth:`build`, :meth:`compare` and :meth:`switch`, in this order, holds
    ``switching.alone``.
    """

    def __init__(
        self,
        catalog: Catalog,
        collections: Collections,
        wanted: Settings,
        *,
        anew: bool = False,
        batch: int = DOCUMENTS_A_BATCH,
        progress: Progress | None = None,
    ):
        """Name the move; nothing happens yet.

        Args:
            catalog: what is true.
            collections: opened by the settings of this process.
            wanted: those settings, or a copy with another index and embedder.
            anew: make another collection although one is there that is as wanted.
            batch: documents held in memory at a time.
            progress: told of every boundary.
        """
        self._catalog = catalog
        self._collections = collections
        self._wanted = wanted
        self._anew = anew
        self._batch = batch
        self._progress = progress or Progress()

    def target(self) -> Collection | None:
        """The collection that is to serve; None if it must be made; the serving one if it is done.

        Raises:
            BadInput: another one, not as wanted, is being built.
            IndexUnavailable: nothing was ever ingested.
            ConfigurationError: there is no such embedder.
        """
        return self._target(anew=self._anew)

    def forecast(self) -> Forecast:
        """What :meth:`build` will take.

        Raises:
            ConfigurationError: there is no such embedder, or nothing says where the backend is.
        """
        target = self.target()
        if target is None:
            self._collections.describe(self._wanted, "building")  # before any work is done
        return forecast(self._catalog, self._wanted, target)

    def build(self, told: Told = untold) -> Filled:
        """Give the target everything that is live, and make it where there is none.

        Raises:
            ConfigurationError: nothing says where the backend is.
            IndexUnavailable: it cannot be written. It stays, and another call goes on.
        """
        to = self._collections.open(self.target() or self._register())
        if to.collection.state == "serving":
            return Filled()
        progress = self._progress
        to.index.ensure()
        progress.reached("build: made")
        filled = fill(self._catalog, to, batch=self._batch, progress=progress, told=told)
        progress.reached("build: filled")
        if to.index.wants_optimizing():
            to.index.optimize()
        progress.reached("build: folded")
        return filled

    def compare(self) -> Comparison | None:
        """Compare what was built with what it should be; None if it serves already.

        Raises:
            ComparisonFailed: it is not as it should be.
            IndexUnavailable: it cannot be read.
        """
        to = self._built()
        if to.collection.state == "serving":
            return None
        return compare(self._catalog, self._collections, to, self._wanted)

    def switch(self, told: Told = untold) -> Filled:
        """Let what was built serve; nothing happens if it does.

        Raises:
            IndexUnavailable: it cannot be read or written; the old one serves on.
        """
        to = self._built()
        if to.collection.state == "serving":
            announce(to)  # whoever switched may have been killed before
            return Filled()
        return serve(self._catalog, to, batch=self._batch, progress=self._progress, told=told)

    def _target(self, *, anew: bool) -> Collection | None:
        with self._catalog.begin() as connection:
            standing = rows.standing(connection)
        if not standing:
            raise IndexUnavailable(
                "nothing is there yet, so there is nothing to migrate",
                cure="Ingest a source first: SLUICE_INDEX and SLUICE_EMBEDDER say into what",
            )
        return chosen(standing, lambda each: fits(each, self._wanted), anew=anew)

    def _register(self) -> Collection:
        made = self._collections.register(self._wanted, "building")
        if made is None:
            raise AlreadyRunning(
                "another migration has just begun", subject="index", cure="See `sluice index list`"
            )
        self._progress.reached("build: registered")
        return made

    def _built(self) -> Opened:
        found = self._target(anew=False)  # what was to be made anew is there by now
        if found is None:
            raise BadInput(
                "nothing was built that could serve", cure="Begin with `sluice index migrate`"
            )
        return self._collections.open(found)


def wanted(settings: Settings, *, to: str | None, embedder: str | None) -> Settings:
    """``settings`` with another backend and another embedding model, where they are given.

    Raises:
        BadInput: there is no such backend. (Opening the embedder says if there is none such.)
    """
    if to is not None and to not in get_args(Backend):
        raise BadInput("no such backend", subject=to, cure="Write lance or weaviate")
    return settings.model_copy(
        update={"index": to or settings.index, "embedder": embedder or settings.embedder}
    )


def chosen(
    standing: Sequence[Collection], wanted: Callable[[Collection], bool], *, anew: bool
) -> Collection | None:
    """Which of ``standing`` collections is to serve next; None: one that must be made.

    The one that is being built, else the one that serves, else the newest kept one, if it is as
    wanted; of the latter two neither, if it is to be made anew.

    Raises:
        BadInput: one is being built that is not as wanted.
    """
    building = next((each for each in standing if each.state == "building"), None)
    if building is not None and not wanted(building):
        raise BadInput(
            f"another migration is unfinished, to {building.backend} with {building.embedder} "
            f"({building.recipe})",
            subject=f"collection {building.collection_id}",
            cure=f"Finish that one first, or give it up: "
            f"`sluice index drop {building.collection_id}`",
        )
    if building is not None or anew:
        return building
    return next((each for each in standing if wanted(each)), None)
