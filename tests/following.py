"""A PostgreSQL table that is followed, in a database of its own, and what has landed of it."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from sluice import landing
from sluice.catalog import Catalog, changes, streams
from sluice.ingest.kit import Kit, no_connections
from sluice.ingest.watching import watch
from sluice.landing import Zone
from sluice.sources import Replication, SqlTable
from sluice.sources.replication import Place, names, place

TABLE = """
CREATE TABLE note (id bigint PRIMARY KEY, title text NOT NULL, body text, room text NOT NULL);
ALTER TABLE note ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE TABLE access (room text, principal text, PRIMARY KEY (room, principal));
INSERT INTO access VALUES ('hall', 'public'), ('attic', 'user:ada@example.com');
"""
PATIENCE = 30.0  # seconds


@dataclass
class Followed:
    """The table, its source, and where it lands."""

    source: SqlTable
    catalog: Catalog
    zone: Zone
    url: str  # of the table's database

    @property
    def where(self) -> Place:
        return place(self.source.address, names(self.source))

    def execute(self, statement: str, *values: Any) -> None:
        """One transaction at the source."""
        with psycopg.connect(self.url) as connection:
            connection.execute(statement, values)  # type: ignore[call-overload]  # made up here

    def kit(self) -> Kit:
        """What a reading of it takes along."""
        return Kit(self.catalog, self.source.name, no_connections, lambda: None)  # type: ignore[arg-type,return-value]  # it has no tokens

    def land(self) -> None:
        """Land what was noted."""
        kit = self.kit()
        kit.landed(landing.land(self.source, self.zone, kit=kit).load_id)

    def landed(self) -> dict[str, dict[str, Any]]:
        """Records by key of everything that is listed, as of the newest load."""
        pending = landing.pending(self.zone, self.source.name, [])
        listing = landing.listing(self.zone, self.source.name, pending)
        assert listing is not None, "the newest load proves no listing"
        rows = landing.rows_by_key(self.zone, self.source.name, list(listing.acl_keys))
        found = {row.key: dict(row.record) for row in rows}
        assert found.keys() == listing.acl_keys.keys()
        return found

    def table(self) -> dict[str, dict[str, Any]]:
        """The table itself, likewise."""
        with psycopg.connect(self.url) as connection:
            cursor = connection.execute("SELECT * FROM note")
            names = [each.name for each in cursor.description or ()]
            rows = [dict(zip(names, row, strict=True)) for row in cursor]
        return {str(row["id"]): {**row, "_problems": []} for row in rows}

    def noted(self) -> int:
        """How many changes wait."""
        with self.catalog.begin() as connection:
            return len(changes.waiting(connection, self.source.name))

    def settle(self) -> None:
        """Land until everything that was committed before this has landed."""
        marker = str(uuid.uuid4().int % 10**12)
        self.execute("INSERT INTO note VALUES (%s, 'marker', '', 'hall')", marker)
        wait_until(lambda: self._has(marker))
        self.execute("DELETE FROM note WHERE id = %s", marker)
        wait_until(lambda: not self._has(marker))

    def _has(self, key: str) -> bool:
        if self.noted():
            self.land()
        return key in self.landed()


@contextmanager
def followed(server_url: Callable[[str], str], catalog: Catalog, zone: Zone) -> Iterator[Followed]:
    """Make the table; drop it, its slot and its database at the end."""
    name = f"f{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    variable = f"URL_{name.upper()}"
    os.environ[variable] = server_url(name)
    try:
        with psycopg.connect(server_url(name)) as connection:
            connection.execute(TABLE)
        source = SqlTable(
            name=name,
            url_env=variable,
            table="note",
            key="id",
            title="title",
            text=("body",),
            acl_column="room",
            acl_query="SELECT room, principal FROM access",
            changes=Replication(acl_tables=("access",)),
        )
        yield Followed(source, catalog, zone, server_url(name))
    finally:
        del os.environ[variable]
        with psycopg.connect(server_url("postgres"), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
                " WHERE database = %s AND active",
                [name],
            )
            time.sleep(0.1)
            connection.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                " WHERE database = %s",
                [name],
            )
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def watching(table: Followed) -> Iterator[list[float]]:
    """Follow the table in a thread; yields the times at which the bell was rung."""
    rings: list[float] = []
    stop = threading.Event()
    thread = threading.Thread(
        target=watch,
        args=[table.catalog, table.where, lambda: rings.append(time.monotonic()), stop],
    )
    thread.start()
    try:
        wait_until(lambda: rings or not _begun_anew(table))
        yield rings
    finally:
        stop.set()
        thread.join()


def _begun_anew(table: Followed) -> bool:
    """Whether the stream has no place yet."""
    with table.catalog.begin() as connection:
        return not streams.known(connection, table.source.name)


def wait_until(true: Callable[[], Any]) -> None:
    """Wait, but not for ever."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
