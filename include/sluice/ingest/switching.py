"""Which collection serves: another one, the one before, and the end of one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from sluice.catalog import Catalog, collections
from sluice.collections import Collections, Opened
from sluice.errors import (
    AlreadyRunning,
    BadInput,
    ConfigurationError,
    IndexUnavailable,
    NotFound,
)
from sluice.ingest.filling import Filled, Told, fill, untold
from sluice.ingest.keeping import adds_up
from sluice.ingest.pipeline import DOCUMENTS_A_BATCH
from sluice.ingest.progress import Progress
from sluice.model import Collection

_log = logging.getLogger(__name__)


@contextmanager
def alone(catalog: Catalog) -> Iterator[None]:
    """Be the only one who makes, fills, changes or drops collections while the body works.

    Raises:
        AlreadyRunning: someone else does.
    """
    with catalog.begin() as lock:
        if not collections.lock(lock):
            raise AlreadyRunning(
                "another migration, rollback or drop is at work",
                subject="index",
                cure="Wait for it: `sluice index list` shows how far it is",
            )
        yield


def serve(
    catalog: Catalog,
    to: Opened,
    *,
    batch: int = DOCUMENTS_A_BATCH,
    progress: Progress | None = None,
    told: Told = untold,
) -> Filled:
    """Let ``to`` answer questions from now on, after it was given what it lacks.

    The change is one transaction that waits for publishes which are flipping; what they made live
    is then given to ``to`` first. Those that come after it build for ``to``, or are made again.

    Returns:
        What had to be written.

    Raises:
        IndexUnavailable: ``to`` cannot be read or written; the other one serves on.
    """
    progress = progress or Progress()
    chosen = to.collection.collection_id
    filled = Filled()
    while True:
        filled += fill(catalog, to, batch=batch, progress=progress, told=told)
        progress.reached("serve: filled")
        with catalog.begin() as connection:
            if collections.serve(connection, chosen) is not None:
                break
    progress.reached("serve: serves")
    announce(to)
    progress.reached("serve: announced")
    return filled


def announce(serving: Opened) -> None:
    """Point the alias at what serves: for people who look, so it is no error if it cannot be."""
    try:
        serving.index.announce()
    except IndexUnavailable as error:
        _log.warning("the alias is as it was: %s", error)


def rollback(
    catalog: Catalog, opened: Collections, *, progress: Progress | None = None
) -> Collection:
    """Let the collection serve that served before, and keep the one that serves; return it.

    It received everything that was published since, so there is usually nothing to be done first:
    then it serves at once, on the catalog's word, and only then is it looked at. If it turns out
    to have lost something, the other one serves again while that is mended.
    The caller holds :func:`alone`.

    Raises:
        NotFound: none is kept.
        IndexUnavailable: the kept one cannot be read or written; the other one serves on.
    """
    with catalog.begin() as connection:
        before = collections.previous(connection)
    if before is None:
        raise NotFound(
            "no collection is kept, so there is none to go back to", cure="See `sluice index list`"
        )
    progress = progress or Progress()
    with catalog.begin() as connection:
        left = collections.serve(connection, before.collection_id)
    if left is not None:
        progress.reached("rollback: serves")
        if _whole(catalog, opened, before, left):
            announce(opened.open(before))
            return before
    serve(catalog, opened.open(before), progress=progress)
    return before


def _whole(catalog: Catalog, opened: Collections, serving: Collection, left: int) -> bool:
    """Whether what serves since a moment ago is as large as it should be; if not, ``left`` serves.

    Raises:
        IndexUnavailable, ConfigurationError: it cannot be read. ``left`` serves.
    """
    whole = False
    try:
        whole = adds_up(catalog, opened.open(serving))
    finally:
        if not whole:
            with catalog.begin() as connection:
                back = collections.serve(connection, left)
            if back is None:
                _log.warning("collection %s lacks what was published meanwhile, so it waits", left)
    return whole


def drop(catalog: Catalog, opened: Collections, collection_id: int) -> Collection:
    """Remove a collection that does not serve, for good; one that was half removed, the rest.

    The caller holds :func:`alone`.

    Raises:
        NotFound: there is no such collection.
        BadInput: it serves.
        IndexUnavailable: it counts no more, but its store could not be removed.
    """
    with catalog.begin() as connection:
        found = collections.find(connection, collection_id)
    if found is None:
        raise NotFound(
            "no such collection", subject=str(collection_id), cure="See `sluice index list`"
        )
    with catalog.begin() as connection:
        dropped = collections.drop(connection, collection_id)
    if not dropped:
        raise BadInput(
            "it serves, so it cannot be dropped",
            subject=f"collection {collection_id}",
            cure="Let another one serve first: `sluice index migrate` or `rollback`",
        )
    try:
        opened.open(found).index.drop()
    except (IndexUnavailable, ConfigurationError) as error:
        raise IndexUnavailable(
            f"nothing uses it any more, but its store could not be removed ({error.happened})",
            subject=f"collection {collection_id}",
            cure="Run the same command again when it can",
        ) from error
    return found
