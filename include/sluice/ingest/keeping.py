"""Keeping stores and catalog in step: what goes, what was lost, what nobody knows of."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sluice.catalog import Catalog, documents, embeddings, placements
from sluice.collections import Opened
from sluice.errors import IndexUnavailable
from sluice.ingest.progress import Progress
from sluice.ingest.writing import miscounted

_log = logging.getLogger(__name__)
_ALL = 2**31 - 1  # more generations than one source has
_PROBED = 100  # of the newest generations, and as many by chance
_A_PAGE = 10_000  # generations counted at a time
_LOOKS, _PAUSE = 4, 0.25  # until sizes agree; seconds between


def collect(catalog: Catalog, receiving: Sequence[Opened], source: str, progress: Progress) -> int:
    """Remove from every index what no reader can reach: replaced, deleted, or half built.

    Args:
        catalog: knows what that is.
        receiving: the collection that serves first. Another that cannot be reached keeps its
            chunks, which the gate holds back, until :func:`sweep`.
        source: whose generations.
        progress: told of the boundary.

    Returns:
        How many generations were removed.

    Raises:
        IndexUnavailable: the collection that serves cannot be written.
    """
    with catalog.begin() as connection:
        generations = documents.unfinished(connection, source)
    if not generations:
        return 0
    serving, *others = receiving
    serving.index.delete(generations.keys())
    for each in others:
        try:
            each.index.delete(generations.keys())
        except IndexUnavailable as error:
            _log.warning("not collected there: %s: %s", each.collection.name, error)
    progress.reached("collect: deleted")
    with catalog.begin() as connection:
        documents.collected(connection, generations.keys())
    return len(generations)


def lost(catalog: Catalog, opened: Opened, source: str) -> frozenset[int]:
    """The live generations of ``source`` that the collection does not hold whole.

    A store is believed that is as large as the catalog says and holds the newest of them: one that
    came back from a backup lacks just those. Else every generation of the source is counted:
    something is lost, or someone is in the middle of writing.
    """
    chosen = opened.collection.collection_id
    with catalog.begin() as connection:
        size = placements.size(connection, chosen)
        missing = placements.missing(connection, chosen, limit=_ALL, source=source)
        probe = placements.probe(connection, chosen, _PROBED, source)
    if opened.index.size() == size and not miscounted(opened.index, probe):
        return frozenset(missing)
    with catalog.begin() as connection:
        expected = placements.expected(connection, chosen, source)
    return frozenset(missing).union(miscounted(opened.index, expected))


def adds_up(catalog: Catalog, opened: Opened) -> bool:
    """Whether the store is as large as it should be and holds the newest of what it should.

    Cheap, also while runs publish: what is on its way in or out is counted. It may move on while it
    is, so this looks again.
    """
    chosen = opened.collection.collection_id
    for _ in range(_LOOKS):
        with catalog.begin() as connection:
            settled = placements.settled(connection, chosen)
            moving = placements.moving(connection)
            probe = placements.probe(connection, chosen, _PROBED)
        size = opened.index.size()
        whole = not miscounted(opened.index, probe)
        if whole and size == settled + sum(opened.index.count(moving).values()):
            return True
        time.sleep(_PAUSE)
    return False


def sweep(catalog: Catalog, opened: Opened) -> int:
    """Remove chunks that nobody knows of from a store; return of how many generations.

    They are left where a store could not be reached, or came back from a backup or a dead node. A
    number is registered before any store hears of it, so one that is being built is known.
    """
    held = opened.index.generations()
    with catalog.begin() as connection:
        orphans = placements.orphans(connection, held)
    opened.index.delete(orphans)
    return len(orphans)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a store was found to hold of what it should."""

    generations: int  # live ones, counted
    lost: tuple[int, ...]  # live, and not there whole
    orphans: int  # generations that were there and nobody knew of; they are gone now


def check(catalog: Catalog, opened: Opened) -> Checked:
    """Count every live generation that the collection should hold; note which it does not.

    Those are then missing there like any other: the next run of their source builds them again
    where questions are answered, and elsewhere they are written again before it comes to that.
    """
    chosen = opened.collection.collection_id
    orphans = sweep(catalog, opened)
    counted, lost, after = 0, list[int](), 0
    while True:
        with catalog.begin() as connection:
            expected = placements.page(connection, chosen, after=after, limit=_A_PAGE)
        if not expected:
            return Checked(generations=counted, lost=tuple(lost), orphans=orphans)
        counted, after = counted + len(expected), max(expected)
        wrong = _not_whole(catalog, opened, expected)
        with catalog.begin() as connection:
            placements.forget(connection, chosen, wrong)
        lost += sorted(wrong)


def _not_whole(catalog: Catalog, opened: Opened, expected: Mapping[int, int]) -> set[int]:
    """Which of ``expected`` are not there as so many chunks, although they are still live."""
    wrong = miscounted(opened.index, expected)
    with catalog.begin() as connection:  # what was replaced meanwhile was rightly removed
        return placements.still_held(connection, opened.collection.collection_id, wrong)


def bound_cache(catalog: Catalog, megabytes: int | None) -> None:
    """Remove the vectors that were not used for longest, if there are too many; None: never."""
    if megabytes is None:
        return
    with catalog.begin() as connection:
        if embeddings.size(connection) <= megabytes:
            return
        removed = embeddings.bound(connection, megabytes)
    if removed:
        _log.info("%s vectors left the cache, which is bound to %s MB", removed, megabytes)


def optimize(receiving: Sequence[Opened]) -> None:
    """Fold what was written into the indexes of every store that wants it.

    One that is being built is folded when it is complete.

    Raises:
        IndexUnavailable: the collection that serves cannot be written.
    """
    for each in receiving:
        if each.collection.state == "building":
            continue
        try:
            if each.index.wants_optimizing():
                each.index.optimize()
        except IndexUnavailable as error:
            if each.collection.state == "serving":
                raise
            _log.warning("not folded: %s: %s", each.collection.name, error)
