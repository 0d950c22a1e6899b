"""Access tokens, sealed; the data keys that seal them; consents that are under way."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa


@dataclass(frozen=True, slots=True)
class Sealed:
    """Something sealed by a source's data key."""

    key_version: int
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DataKey:
    """A source's data key, as it is stored."""

    source: str
    version: int
    key_id: str  # of the master key
    wrapped: bytes


def lock(connection: sa.Connection, source: str) -> None:
    """Wait to be the only one who gets tokens for ``source``, in any process, until the end.

    The lock lives in the server and goes with the connection, so a killed worker frees it. It is
    held while a server elsewhere is asked: that idleness must not end the transaction.
    """
    connection.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    connection.execute(
        sa.text(
            "SELECT pg_advisory_xact_lock(hashtextextended("
            "current_setting('sluice.tenant') || chr(29) || :source, 0))"
        ),
        {"source": source},
    )


def held(connection: sa.Connection, source: str) -> Sealed | None:
    """The source's token; None where there is none."""
    row = connection.execute(
        sa.text("SELECT key_version, sealed FROM sluice.token WHERE source = :source"),
        {"source": source},
    ).one_or_none()
    return Sealed(row.key_version, bytes(row.sealed)) if row else None


def stamp(connection: sa.Connection, source: str) -> datetime | None:
    """When the source's token was got; None where there is none."""
    found: datetime | None = connection.execute(
        sa.text("SELECT rotated_at FROM sluice.token WHERE source = :source"), {"source": source}
    ).scalar_one_or_none()
    return found


def store(
    connection: sa.Connection,
    source: str,
    token: Sealed,
    expires_at: datetime | None,
    scopes: tuple[str, ...],
) -> None:
    """Put a token in the place of the one there was; nobody has to sign in any more."""
    connection.execute(
        sa.text(
            """
            INSERT INTO sluice.token AS t (source, key_version, sealed, expires_at, scopes)
            VALUES (:source, :version, :sealed, :expires_at, :scopes)
            ON CONFLICT (tenant_id, source) DO UPDATE SET key_version = excluded.key_version,
                sealed = excluded.sealed, expires_at = excluded.expires_at,
                scopes = excluded.scopes, rotations = t.rotations + 1, rotated_at = now()
            """
        ),
        {
            "source": source,
            "version": token.key_version,
            "sealed": token.sealed,
            "expires_at": expires_at,
            "scopes": list(scopes),
        },
    )
    connection.execute(
        sa.text("UPDATE sluice.source SET sign_in = NULL WHERE source = :source"),
        {"source": source},
    )


def reseal(connection: sa.Connection, source: str, token: Sealed) -> None:
    """Put the same token, sealed by another data key, in its own place."""
    connection.execute(
        sa.text(
            "UPDATE sluice.token SET key_version = :version, sealed = :sealed"
            " WHERE source = :source"
        ),
        {"source": source, "version": token.key_version, "sealed": token.sealed},
    )


def forget(connection: sa.Connection, source: str) -> None:
    """Drop the source's token."""
    connection.execute(
        sa.text("DELETE FROM sluice.token WHERE source = :source"), {"source": source}
    )


def wants_sign_in(connection: sa.Connection, source: str, why: str) -> None:
    """Note that somebody has to sign in to the source again."""
    connection.execute(
        sa.text("UPDATE sluice.source SET sign_in = :why WHERE source = :source"),
        {"source": source, "why": why},
    )


def data_key(connection: sa.Connection, source: str, version: int | None = None) -> DataKey | None:
    """A source's data key; without a ``version`` the newest."""
    row = connection.execute(
        sa.text(
            "SELECT source, version, key_id, wrapped FROM sluice.data_key WHERE source = :source"
            " AND (CAST(:version AS integer) IS NULL OR version = :version)"
            " ORDER BY version DESC LIMIT 1"
        ),
        {"source": source, "version": version},
    ).one_or_none()
    return _data_key(row) if row else None


def data_keys(connection: sa.Connection) -> list[DataKey]:
    """Every data key; locked, so that nobody makes another meanwhile."""
    rows = connection.execute(
        sa.text(
            "SELECT source, version, key_id, wrapped FROM sluice.data_key"
            " ORDER BY source, version FOR UPDATE"
        )
    )
    return [_data_key(row) for row in rows]


def store_data_key(connection: sa.Connection, key: DataKey) -> None:
    """Keep a data key, or the same one wrapped anew."""
    connection.execute(
        sa.text(
            """
            INSERT INTO sluice.data_key (source, version, key_id, wrapped)
            VALUES (:source, :version, :key_id, :wrapped)
            ON CONFLICT (tenant_id, source, version) DO UPDATE
                SET key_id = excluded.key_id, wrapped = excluded.wrapped, wrapped_at = now()
            """
        ),
        {
            "source": key.source,
            "version": key.version,
            "key_id": key.key_id,
            "wrapped": key.wrapped,
        },
    )


def drop_older_keys(connection: sa.Connection, source: str, version: int) -> None:
    """Drop the data keys before ``version``: nothing is sealed with them any more."""
    connection.execute(
        sa.text("DELETE FROM sluice.data_key WHERE source = :source AND version < :version"),
        {"source": source, "version": version},
    )


def begin_consent(
    connection: sa.Connection, state_hash: bytes, source: str, sealed: Sealed, until: datetime
) -> None:
    """Keep what a consent that was asked for will need; those that were forgotten go."""
    connection.execute(sa.text("DELETE FROM sluice.consent WHERE until < now()"))
    connection.execute(
        sa.text(
            "INSERT INTO sluice.consent (state_hash, source, key_version, sealed, until)"
            " VALUES (:state_hash, :source, :version, :sealed, :until)"
        ),
        {
            "state_hash": state_hash,
            "source": source,
            "version": sealed.key_version,
            "sealed": sealed.sealed,
            "until": until,
        },
    )


def take_consent(connection: sa.Connection, state_hash: bytes) -> tuple[str, Sealed] | None:
    """Return a consent's source and what was kept, once; None if there is none or it is too old."""
    row = connection.execute(
        sa.text(
            "DELETE FROM sluice.consent WHERE state_hash = :state_hash AND until > now()"
            " RETURNING source, key_version, sealed"
        ),
        {"state_hash": state_hash},
    ).one_or_none()
    return (row.source, Sealed(row.key_version, bytes(row.sealed))) if row else None


def _data_key(row: Any) -> DataKey:
    return DataKey(
        source=row.source, version=row.version, key_id=row.key_id, wrapped=bytes(row.wrapped)
    )
