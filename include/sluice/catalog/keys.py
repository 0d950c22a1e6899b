"""Agents' keys, as they are stored: a digest each, never a secret."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from sluice.model import Principal

_LIVE = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What may be shown of a key."""

    key_id: str
    agent: str
    team: str | None
    acts_for: tuple[Principal, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What a presented key is compared with."""

    agent: str
    team: str | None
    acts_for: frozenset[Principal]
    secret_hash: bytes
    live: bool


def insert(
    connection: sa.Connection,
    key_id: str,
    agent: str,
    secret_hash: bytes,
    acts_for: Collection[Principal],
    expires_at: datetime | None,
    team: str | None,
) -> None:
    """Store a new key."""
    connection.execute(
        sa.text(
            """
            INSERT INTO sluice.api_key (key_id, agent, team, secret_hash, acts_for, expires_at)
            VALUES (:key_id, :agent, :team, :secret_hash, :acts_for, :expires_at)
            """
        ),
        {
            "key_id": key_id,
            "agent": agent,
            "team": team,
            "secret_hash": secret_hash,
            "acts_for": sorted(str(each) for each in acts_for),
            "expires_at": expires_at,
        },
    )


def find(connection: sa.Connection, key_id: str) -> Stored | None:
    """The key with this id; whether it is live is said by the database's clock."""
    row = connection.execute(
        sa.text(
            f"SELECT agent, team, acts_for, secret_hash, {_LIVE} AS live"  # noqa: S608  # a constant
            " FROM sluice.api_key WHERE key_id = :key_id"
        ),
        {"key_id": key_id},
    ).one_or_none()
    if row is None:
        return None
    return Stored(
        agent=row.agent,
        team=row.team,
        acts_for=frozenset(Principal(each) for each in row.acts_for),
        secret_hash=bytes(row.secret_hash),
        live=row.live,
    )


def hold(connection: sa.Connection, key_id: str) -> bool:
    """Whether the key is live; while it is, it cannot be revoked until this transaction ends."""
    found = connection.execute(
        sa.text(
            f"SELECT 1 FROM sluice.api_key WHERE key_id = :key_id AND {_LIVE}"  # noqa: S608  # a constant
            " FOR SHARE"
        ),
        {"key_id": key_id},
    ).scalar()
    return found is not None


def every(connection: sa.Connection) -> list[Key]:
    """All keys, the oldest first."""
    rows = connection.execute(
        sa.text(
            "SELECT key_id, agent, team, acts_for, created_at, expires_at, revoked_at"
            " FROM sluice.api_key ORDER BY created_at, key_id"
        )
    )
    return [
        Key(
            key_id=row.key_id,
            agent=row.agent,
            team=row.team,
            acts_for=tuple(Principal(each) for each in row.acts_for),
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
        )
        for row in rows
    ]


def revoke(connection: sa.Connection, key_id: str) -> bool:
    """End a key; False where there is none. Ending it again changes nothing."""
    return bool(
        connection.execute(
            sa.text(
                "UPDATE sluice.api_key SET revoked_at = coalesce(revoked_at, now())"
                " WHERE key_id = :key_id"
            ),
            {"key_id": key_id},
        ).rowcount
    )
