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
    permissions.replace_source(connection, source, {}, [], [], datetime.now(UTC))
    for statement in _FORGET:
        connection.execute(sa.text(statement), chosen)


_FORGET = (  # whose accounts are whose, what it was signed in to by, what has changed, and itself
    "DELETE FROM sluice.account WHERE source = :source",
    "DELETE FROM sluice.address WHERE source = :source",
    "DELETE FROM sluice.consent WHERE source = :source",
    "DELETE FROM sluice.token WHERE source = :source",
    "DELETE FROM sluice.data_key WHERE source = :source",
    "DELETE FROM sluice.change WHERE source = :source",
    "DELETE FROM sluice.stream WHERE source = :source",
    "DELETE FROM sluice.source WHERE source = :source",
)
