"""Following a table: its changes are noted in the catalog, and a bell is rung."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from datetime import datetime
from threading import Event

from sluice.catalog import Catalog, changes, streams
from sluice.catalog.changes import Noted
from sluice.errors import SluiceError
from sluice.sources import replication
from sluice.sources.replication.setup import Place
from sluice.sources.replication.stream import Changes

_log = logging.getLogger(__name__)
_LONGEST = 30.0  # seconds between two attempts


def watch(catalog: Catalog, where: Place, ring: Callable[[], None], stop: Event) -> None:
    """Follow a table until ``stop`` is set, whatever happens to its server or to ours.

    What cannot be followed is tried again, less and less often, and what is wrong is noted where
    ``sluice status`` finds it: nobody is here to whom it could be raised.

    Args:
        catalog: where changes are noted.
        where: the table and its slot, which is made if it is not there.
        ring: called after changes were noted.
        stop: set it to end.
    """
    pause = 1.0
    while not stop.is_set():
        started = time.monotonic()
        try:
            _follow(catalog, where, ring, stop)
        except Exception as error:  # noqa: BLE001  # whatever it is, the table is to be followed
            said = str(error) if isinstance(error, SluiceError) else type(error).__name__
            _log.warning("%s: not followed: %s", where.source, said, exc_info=error)
            _note_trouble(catalog, where, said)
        if time.monotonic() - started > _LONGEST:
            pause = 1.0
        stop.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311  # so that two do not meet again
        pause = min(pause * 2, _LONGEST)


def _follow(catalog: Catalog, where: Place, ring: Callable[[], None], stop: Event) -> None:
    def renewing() -> None:
        with catalog.begin() as connection:
            streams.begin_anew(connection, where.source)

    replication.ensure(where, renewing)
    with catalog.begin() as connection:
        known = streams.known(connection, where.source)
        if not known:  # what came before the slot is in no stream
            changes.note(connection, where.source, [Noted(key=None, op="all")])
            streams.note(connection, where.source, position="0/0")
    if not known:
        ring()

    def note(found: Changes, position: int, at: datetime | None) -> None:
        written = f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
        with catalog.begin() as connection:
            changes.note(
                connection,
                where.source,
                [Noted(key=key, op=op, position=written, changed_at=at) for key, op in found],
            )
            streams.note(connection, where.source, position=written)
        ring()

    replication.follow(where, note, stop)


def look_after(catalog: Catalog, where: Place) -> None:
    """Note how far behind the slot is, and what somebody has to see to."""
    try:
        found = replication.health(where)
    except SluiceError as error:
        _note_trouble(catalog, where, str(error))
        return
    with catalog.begin() as connection:
        streams.note(
            connection,
            where.source,
            behind=found.behind,
            trouble=found.trouble,
        )


def _note_trouble(catalog: Catalog, where: Place, said: str) -> None:
    try:
        with catalog.begin() as connection:
            streams.note(connection, where.source, trouble=said)
    except SluiceError:
        _log.warning("%s: nor can it be noted", where.source)
