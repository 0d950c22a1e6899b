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
    connection.execute(  # else a reading from a clock ahead of ours would be newer than this
        sa.text("UPDATE sluice.source SET acl_observed_at = NULL WHERE source = :source"), chosen
    )
    now = datetime.now(UTC)
    permissions.apply(connection, source, {}, now)
    permissions.replace_directory(connection, source, [], [], now)
    connection.execute(sa.text("DELETE FROM sluice.source WHERE source = :source"), chosen)
