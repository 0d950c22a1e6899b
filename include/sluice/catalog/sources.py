"""Taking a source, or a directory of people, away: what no run of it will ever do."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

from sluice.catalog import documents, permissions, quarantine


def remove(connection: sa.Connection, source: str) -> None:
    """Forget ``source``: its documents become tombstones, and nothing it said of people counts.

    Its runs and generations stay, for the audit log names them. Its chunks are left for collection.

    Args:
        connection: inside a transaction, while this source's lock is held.
        source: the name of a source or of a directory.
    """
    chosen = {"source": source}
    documents.delete(connection, documents.known(connection, source).keys())
    quarantine.resolve(connection, source, quarantine.keys(connection, source))
    for table in ("source", "acl"):  # else what a clock ahead of ours saw would be newer than this
        column = "acl_observed_at" if table == "source" else "observed_at"
        connection.execute(
            sa.text(f"UPDATE sluice.{table} SET {column} = NULL WHERE source = :source"),  # noqa: S608  # constants
            chosen,
        )
    for table in ("account", "address"):
        connection.execute(sa.text(f"DELETE FROM sluice.{table} WHERE source = :source"), chosen)  # noqa: S608  # constants
    permissions.replace_source(connection, source, {}, [], [], datetime.now(UTC))
    connection.execute(sa.text("DELETE FROM sluice.source WHERE source = :source"), chosen)
