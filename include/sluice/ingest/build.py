"""Documents become generations, in every collection that receives.

Generations stay ``building`` until the flip. Their numbers are registered before any index hears of
them, so that a killed run leaves nothing that nobody knows of.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sluice.catalog import Catalog, documents
from sluice.collections import Opened
from sluice.errors import SluiceError
from sluice.ingest.plan import Build
from sluice.ingest.progress import Progress
from sluice.ingest.writing import Version, Writer, batches
from sluice.model import Document

_log = logging.getLogger(__name__)
_READ = 500  # documents at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What building did: the new generations and what they cost where questions are answered."""

    generations: tuple[int, ...] = ()
    chunks: int = 0
    embedded: int = 0

    def __add__(self, other: Built) -> Built:
        return Built(
            generations=self.generations + other.generations,
            chunks=self.chunks + other.chunks,
            embedded=self.embedded + other.embedded,
        )


def to_build(catalog: Catalog, builds: Sequence[Build]) -> Iterator[Document]:
    """The documents of ``builds``, in order; those not read again come from the catalog."""
    for some in batches(builds, _READ):
        absent = [each.document_id for each in some if each.document is None]
        with catalog.begin() as connection:
            stored = documents.stored(connection, absent)
        for each in some:
            yield each.document or replace(stored[each.document_id], acl_key=each.acl_key)


class Builder:
    """Writes generations for one run."""

    def __init__(
        self,
        catalog: Catalog,
        receiving: Sequence[Opened],
        *,
        run_id: str,
        batch: int,
        progress: Progress,
    ):
        """``receiving`` has the collection that serves first: without that one nothing is built."""
        self._catalog = catalog
        self._run_id = run_id
        self._size = batch
        self._progress = progress
        self._recipe = receiving[0].collection.recipe
        self._serving = Writer(catalog, receiving[0], progress, run_id)
        # Their time and boundaries are not this run's.
        self._others = [(each, Writer(catalog, each, Progress(), run_id)) for each in receiving[1:]]
        self.left_behind: set[int] = set()  # ids of collections that could not be written

    def build(self, builds: Sequence[Build], acl_ids: dict[str, int]) -> Built:
        """Write a generation for each of ``builds``, in batches, and prove that each is whole.

        A collection that does not serve and cannot be written is left behind: it lacks placements,
        and whoever wants it to serve gives it what it lacks first.

        Raises:
            IndexUnavailable: the collection that serves cannot be written.
        """
        built = Built()
        for batch in batches(builds, self._size):
            with self._progress.stage("index"):
                versions = self._register(batch, acl_ids)
                self._progress.reached("index: registered")
            written = self._serving.write(versions)
            self._write_others(versions)
            built += Built(
                generations=tuple(each.generation for each in versions),
                chunks=written.chunks,
                embedded=written.embedded,
            )
        return built

    def _register(self, batch: Sequence[Build], acl_ids: dict[str, int]) -> list[Version]:
        chosen = list(to_build(self._catalog, batch))
        with self._catalog.begin() as connection:
            numbers = documents.allocate(connection, len(chosen))
            building = [
                documents.Building(generation=number, document=document)
                for number, document in zip(numbers, chosen, strict=True)
            ]
            documents.register(connection, self._run_id, self._recipe, building)
        return [
            Version(
                generation=each.generation,
                document=each.document,
                acl_id=acl_ids[each.document.acl_key],
            )
            for each in building
        ]

    def _write_others(self, versions: Sequence[Version]) -> None:
        for opened, writer in list(self._others):
            try:
                writer.write(versions)
            except SluiceError as error:
                _log.warning("left behind: %s: %s", opened.collection.name, error)
                self._others.remove((opened, writer))
                self.left_behind.add(opened.collection.collection_id)
