"""A collection is given what it lacks: to begin with, to catch up, to go on after a kill.

What a collection lacks is every live generation that it has no placement of. Each is written again
from what the catalog says of it, with vectors from the cache where it has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import sqlalchemy as sa

from sluice.catalog import Catalog, documents, permissions, placements
from sluice.collections import Opened
from sluice.ingest.ahead import embed_ahead
from sluice.ingest.keeping import adds_up, check
from sluice.ingest.progress import Progress
from sluice.ingest.writing import Version, Writer, Written, batches
from sluice.model import Account, Collection, Document, Policy

_READ = 500  # generations at a time
_LISTED = 50_000  # generations; to find out which are missing, all are looked at


def run_of(collection: Collection) -> str:
    """The run that pays for what a collection is given."""
    return f"index:{collection.collection_id}"


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
        StillEmbedding: a provider works on what it lacks; call again in a while.
        EmbeddingError, BudgetExhausted: what it lacks cannot be embedded.
    """
    writer = Writer(catalog, to, progress, run_of(to.collection))
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
        _embed_ahead(catalog, to, missing, progress)
        for some in batches(missing, batch):
            with catalog.begin() as connection:
                wanted = versions(connection, some)
            held = to.index.count(some)
            to.index.delete([generation for generation, chunks in held.items() if chunks])
            written = writer.write(wanted)
            left = max(0, done.left - len(some))
            done += Filled(documents=len(wanted), left=left, written=written)
            told(done)


def _embed_ahead(catalog: Catalog, to: Opened, missing: Sequence[int], progress: Progress) -> None:
    """Each source's part, so that each pays for its own and says where its texts may go."""
    if to.embedder.host is None:
        return
    with catalog.begin() as connection:
        by_source = documents.by_source(connection, missing)
    for source, generations in by_source.items():
        account = Account(source=source, run_id=run_of(to.collection))
        wanted = partial(_texts, catalog, generations)
        embed_ahead(catalog, to, wanted, Policy(), account, progress)


def _texts(catalog: Catalog, generations: Sequence[int]) -> Iterator[Document]:
    for some in batches(generations, _READ):
        with catalog.begin() as connection:
            found = documents.versions(connection, some)
        yield from found.values()


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
