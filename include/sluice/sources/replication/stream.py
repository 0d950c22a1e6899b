"""Reads a slot: has each change noted, and only then tells the server that it may forget it.

A stream that is killed anywhere is sent again what it had not confirmed, and notes it twice, which
is harmless: what is noted is that a row is to be read.

A transaction is sent when its commit is on disk, which is a moment before others see it (longer,
where the server waits for a standby). Whoever read the row in that moment would read the old one,
so nothing is noted before it can be seen.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime
from threading import Event
from typing import Any

from sluice.errors import SourceUnavailable
from sluice.sources.replication.pgoutput import Begin, Commit, Decoder, Op
from sluice.sources.replication.setup import Place

_NOTE = 10_000  # changes that are noted at once; a transaction may have any number
_LOOK = 0.5  # seconds between two looks at whether to stop, when nothing comes
_CONFIRM = 5.0  # seconds between two confirmations, when nothing comes

Changes = Sequence[tuple[str | None, Op]]
Note = Callable[[Changes, int, datetime | None], None]  # changes, position, time of the commit


def follow(where: Place, note: Note, stop: Event) -> None:
    """Note what changes until ``stop`` is set.

    Args:
        where: the table and its slot, which is there.
        note: writes changes down, durably, before it returns.
        stop: set it to end.

    Raises:
        SourceUnavailable: the server went away, or another reader has the slot.
        SchemaDrift: the table has lost its key column.
    """
    import psycopg2
    from psycopg2.extras import LogicalReplicationConnection

    connection = None
    try:
        connection = psycopg2.connect(
            where.url, connection_factory=LogicalReplicationConnection, connect_timeout=5
        )
        cursor = connection.cursor()
        cursor.start_replication(
            slot_name=where.slot,
            decode=False,
            options={"proto_version": "1", "publication_names": f'"{where.publication}"'},
        )
        decoder = Decoder(where.table, where.schema, where.key, frozenset(where.acl_tables))
        with closing(psycopg2.connect(where.url, connect_timeout=5)) as beside:
            beside.autocommit = True
            _read(cursor, decoder, note, lambda xid: _wait_until_seen(beside, xid), stop)
    except psycopg2.Error as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SourceUnavailable(
            f"its changes cannot be followed: {said}",
            subject=where.source,
            cure="Nothing is lost: the server keeps them until they are read",
        ) from None
    finally:
        if connection is not None:
            connection.close()


def _read(
    cursor: Any,
    decoder: Decoder,
    note: Note,
    wait_until_seen: Callable[[int], None],
    stop: Event,
) -> None:
    pending: dict[tuple[str | None, Op], None] = {}  # in order, each once
    inside: Begin | None = None  # the transaction of which not everything has been read
    confirmed = time.monotonic()
    while not stop.is_set():
        message = cursor.read_message()
        if message is None:
            if inside is None and time.monotonic() - confirmed > _CONFIRM:
                # All that was sent is noted; what else the log holds is none of ours.
                cursor.send_feedback(flush_lsn=cursor.wal_end, force=True)
                confirmed = time.monotonic()
            select.select([cursor.connection], [], [], _LOOK)
            continue
        found = decoder.decode(bytes(message.payload))
        if isinstance(found, Begin):
            inside = found
        elif isinstance(found, Commit):
            if pending and inside is not None:
                wait_until_seen(inside.xid)
                note([*pending], found.lsn, found.at)
                pending = {}
            cursor.send_feedback(flush_lsn=found.lsn, force=True)
            inside, confirmed = None, time.monotonic()
        else:
            pending.update(dict.fromkeys(found))
            if len(pending) >= _NOTE and inside is not None:
                wait_until_seen(inside.xid)
                note([*pending], message.data_start, None)
                pending = {}


def _wait_until_seen(connection: Any, xid: int) -> None:
    """Return when a new snapshot shows what the transaction ``xid`` did."""
    with connection.cursor() as cursor:
        while True:
            cursor.execute(_SEEN, {"xid": xid})
            if cursor.fetchone()[0]:
                return
            time.sleep(0.002)


# The stream has 32 bits of a transaction's number; the whole one is that nearest to the newest.
_SEEN = """
WITH s AS (SELECT pg_current_snapshot() AS snapshot),
     n AS (SELECT snapshot, pg_snapshot_xmax(snapshot)::text::bigint AS newest FROM s),
     f AS (SELECT snapshot, newest, newest - newest %% 4294967296 + %(xid)s AS xid FROM n)
SELECT pg_visible_in_snapshot(
    (CASE WHEN xid > newest + 2147483648 THEN xid - 4294967296
          WHEN xid < newest - 2147483648 THEN xid + 4294967296
          ELSE xid END)::text::xid8, snapshot) FROM f
"""
