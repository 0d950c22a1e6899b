"""A collection is given what it lacks: to begin with, to catch up, to go on after a kill.

What a collection lacks is every live generation that it has no placement of. Each is written again
from what the catalog says of it, with vectors from the cache where it has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from sluice.catalog import Catalog, documents, permissions, placements
from sluice.collections import Opened
from sluice.ingest.keeping import adds_up, check
from sluice.ingest.progress import Progress
from sluice.ingest.writing import Version, Writer, Written, batches
from sluice.model import Document

_RUN = "index:"  # and the number of the collection: the run that pays
_LISTED = 50_000  # generations; to find out which are missing, all are looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """How far filling a collection is."""

    documents: int = 0  # written so far
    left: int = 0  # as was counted at the beginning
    written: Written = field(default_factory=Written)

    def __add__(self, other: Filled) -> Filled:
        return Filled(
            documents=self.documents + other.documents,
            left=other.left,
            written=self.written + other.written,
        )


Told = Callable[[Filled], None]


def untold(_filled: Filled) -> None:
    """Tell nobody."""


def fill(
    catalog: Catalog, to: Opened, *, batch: int, progress: Progress, told: Told = untold
) -> Filled:
    """Give ``to`` every live generation that it lacks, ``batch`` at a time, until it lacks none.

    Args:
        catalog: says what is live, and what it says.
        to: a collection that does not serve: what it holds of a generation without being known to
            is removed before that is written.
        batch: generations held in memory at a time; a kill makes us write so many again.
        progress: told of every boundary.
        told: how far this is, after each batch.

    Raises:
        IndexUnavailable: the collection cannot be written, or does not hold what was written.
    """
    writer = Writer(catalog, to, progress, f"{_RUN}{to.collection.collection_id}")
    chosen = to.collection.collection_id
    if not adds_up(catalog, to):  # something was lost, or was left behind
        check(catalog, to)
        progress.reached("fill: checked")
    with catalog.begin() as connection:
        done = Filled(left=placements.lacking(connection, chosen))
    while True:
        with catalog.begin() as connection:
            missing = placements.missing(connection, chosen, limit=_LISTED)
        if not missing:
            return done
        for some in batches(missing, batch):
            with catalog.begin() as connection:
                wanted = versions(connection, some)
            held = to.index.count(some)
            to.index.delete([generation for generation, chunks in held.items() if chunks])
            written = writer.write(wanted)
            left = max(0, done.left - len(some))
            done += Filled(documents=len(wanted), left=left, written=written)
            told(done)


def versions(connection: sa.Connection, generations: Sequence[int]) -> list[Version]:
    """What the catalog knows of ``generations``, ready to be written; what is gone is left out."""
    found = documents.versions(connection, generations)
    acl_ids = _acl_ids(connection, found)
    return [
        Version(
            generation=generation,
            document=document,
            acl_id=acl_ids[document.source, document.acl_key],
        )
        for generation, document in sorted(found.items())
    ]


def _acl_ids(
    connection: sa.Connection, found: Mapping[int, Document]
) -> dict[tuple[str, str], int]:
    keys: dict[str, set[str]] = {}
    for document in found.values():
        keys.setdefault(document.source, set()).add(document.acl_key)
    return {
        (source, key): acl_id
        for source, wanted in keys.items()
        for key, acl_id in permissions.ensure_acls(connection, source, wanted).items()
    }
