"""What may be asked in a minute, what was asked, and who waits for a turn.

An operator's limits and their buckets are a tenant's, as everything is. An endpoint's pace is not:
its limits are those of a key, and whoever uses the key shares them.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from sluice.catalog.costs import EACH, Level
from sluice.model import Limit, Quota

LEASE = 2.0  # seconds; who waits and has not looked for so long is dead

_NOW = "extract(epoch FROM clock_timestamp())::float8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A limit as an operator set it."""

    level: Level
    name: str  # of the source, model, team …; EACH: whichever has no limit of its own
    requests: int | None  # a minute; None: any
    tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """The moments, in seconds since 1970, at which a limit is free again in full."""

    requests_full: float = 0.0
    tokens_full: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What is known of an endpoint."""

    now: float  # by the database's clock
    bucket: Bucket
    requests: int | None = None  # a minute, as it said itself
    tokens: int | None = None
    paused: float = 0.0  # seconds in which it takes nothing
    turn: int = 0  # how many tokens the source had had that went last


def settings(connection: sa.Connection) -> list[Setting]:
    """Every limit that an operator set."""
    rows = connection.execute(
        sa.text("SELECT level, name, requests, tokens FROM sluice.rate_limit ORDER BY level, name")
    )
    return [Setting(**row) for row in rows.mappings()]


def set_limit(connection: sa.Connection, setting: Setting) -> None:
    """Allow so much a minute from now on."""
    connection.execute(
        sa.text(
            """
            INSERT INTO sluice.rate_limit (level, name, requests, tokens)
            VALUES (:level, :name, :requests, :tokens)
            ON CONFLICT (tenant_id, level, name) DO UPDATE
                SET requests = :requests, tokens = :tokens
            """
        ),
        asdict(setting),
    )


def remove_limit(connection: sa.Connection, level: Level, name: str) -> bool:
    """Allow anything again; False where there was no such limit."""
    return bool(
        connection.execute(
            sa.text("DELETE FROM sluice.rate_limit WHERE level = :level AND name = :name"),
            {"level": level, "name": name},
        ).rowcount
    )


def own(connection: sa.Connection, names: Mapping[Level, str]) -> list[Limit]:
    """The limits that count for someone, in the order in which their buckets are locked.

    Args:
        connection: a tenant's.
        names: of them, on each level.
    """
    known = {(each.level, each.name): each for each in settings(connection)}
    return [
        Limit(name=f"{level} {name}", requests=each.requests, tokens=each.tokens)
        for level, name in sorted(names.items())
        if (each := known.get((level, name)) or known.get((level, EACH)))
    ]


def bucket(connection: sa.Connection, name: str) -> Bucket:
    """A limit's bucket, locked until the transaction ends."""
    connection.execute(
        sa.text("INSERT INTO sluice.rate_bucket (name) VALUES (:name) ON CONFLICT DO NOTHING"),
        {"name": name},
    )
    row = connection.execute(
        sa.text(
            "SELECT requests_full, tokens_full FROM sluice.rate_bucket WHERE name = :name"
            " FOR UPDATE"
        ),
        {"name": name},
    ).one()
    return Bucket(requests_full=row.requests_full, tokens_full=row.tokens_full)


def fill(connection: sa.Connection, name: str, now: Bucket) -> None:
    """Note what was asked of a limit."""
    connection.execute(
        sa.text(
            "UPDATE sluice.rate_bucket SET requests_full = :requests_full,"
            " tokens_full = :tokens_full WHERE name = :name"
        ),
        {"name": name, **asdict(now)},
    )


def pace(connection: sa.Connection, endpoint: str, *, locked: bool) -> Pace:
    """What is known of an endpoint.

    Args:
        connection: any tenant's.
        endpoint: and model.
        locked: until the transaction ends, so that nobody else takes a turn meanwhile.
    """
    if locked:
        connection.execute(
            sa.text("INSERT INTO sluice.pace (endpoint) VALUES (:endpoint) ON CONFLICT DO NOTHING"),
            {"endpoint": endpoint},
        )
    row = connection.execute(
        sa.text(
            f"SELECT {_NOW} AS now, * FROM sluice.pace WHERE endpoint = :endpoint"  # noqa: S608  # constants
            f"{' FOR UPDATE' * locked}"
        ),
        {"endpoint": endpoint},
    ).one_or_none()
    if row is None:
        return Pace(now=0.0, bucket=Bucket())
    return Pace(
        now=row.now,
        bucket=Bucket(requests_full=row.requests_full, tokens_full=row.tokens_full),
        requests=row.requests,
        tokens=row.tokens,
        paused=max(row.paused_until - row.now, 0.0),
        turn=row.turn,
    )


def go(connection: sa.Connection, endpoint: str, now: Bucket) -> None:
    """Note that a request went."""
    connection.execute(
        sa.text(
            "UPDATE sluice.pace SET requests_full = :requests_full, tokens_full = :tokens_full"
            " WHERE endpoint = :endpoint"
        ),
        {"endpoint": endpoint, **asdict(now)},
    )


def heard(connection: sa.Connection, endpoint: str, quota: Quota) -> None:
    """Note what an endpoint says. It may know of others; what we know of is not forgotten."""
    connection.execute(
        sa.text(
            f"""
            INSERT INTO sluice.pace AS known
                (endpoint, requests, tokens, requests_full, tokens_full, paused_until)
            VALUES (:endpoint, :requests, :tokens, {_NOW} + :requests_full, {_NOW} + :tokens_full,
                {_NOW} + :pause)
            ON CONFLICT (endpoint) DO UPDATE SET
                requests = coalesce(excluded.requests, known.requests),
                tokens = coalesce(excluded.tokens, known.tokens),
                requests_full = greatest(known.requests_full, excluded.requests_full),
                tokens_full = greatest(known.tokens_full, excluded.tokens_full),
                paused_until = greatest(known.paused_until, excluded.paused_until)
            """  # noqa: S608  # a constant
        ),
        {"endpoint": endpoint, **asdict(quota)},
    )


def stand(
    connection: sa.Connection, endpoint: str, ticket: uuid.UUID, source: str, turn: int
) -> dict[str, int]:
    """Join the queue of an endpoint, or stay in it; return the tokens each who waits has had.

    Args:
        connection: one that holds the endpoint's lock.
        endpoint: and model.
        ticket: of the request.
        source: whose it is, over all tenants.
        turn: how many tokens the source had had that went last. Who comes back has had as many.
    """
    place = {"endpoint": endpoint, "source": source}
    connection.execute(
        sa.text(
            f"DELETE FROM sluice.waiting WHERE endpoint = :endpoint AND looked < {_NOW} - :lease"  # noqa: S608  # a constant
        ),
        {"endpoint": endpoint, "lease": LEASE},
    )
    connection.execute(
        sa.text(
            """
            INSERT INTO sluice.share AS known (endpoint, source, served)
            VALUES (:endpoint, :source, :turn)
            ON CONFLICT (endpoint, source) DO UPDATE SET served = greatest(known.served, :turn)
            WHERE NOT EXISTS (SELECT FROM sluice.waiting
                              WHERE endpoint = :endpoint AND source = :source)
            """
        ),
        {**place, "turn": turn},
    )
    connection.execute(
        sa.text(
            f"INSERT INTO sluice.waiting (ticket, endpoint, source, looked)"  # noqa: S608  # a constant
            f" VALUES (:ticket, :endpoint, :source, {_NOW})"
            f" ON CONFLICT (ticket) DO UPDATE SET looked = {_NOW}"
        ),
        {**place, "ticket": ticket},
    )
    rows = connection.execute(
        sa.text(
            "SELECT source, served FROM sluice.share WHERE endpoint = :endpoint AND source IN"
            " (SELECT source FROM sluice.waiting WHERE endpoint = :endpoint)"
        ),
        {"endpoint": endpoint},
    )
    return {row.source: row.served for row in rows}


def leave(connection: sa.Connection, ticket: uuid.UUID) -> None:
    """Leave the queue."""
    connection.execute(
        sa.text("DELETE FROM sluice.waiting WHERE ticket = :ticket"), {"ticket": ticket}
    )


def serve(
    connection: sa.Connection, endpoint: str, ticket: uuid.UUID, source: str, tokens: int
) -> None:
    """Leave the queue with a turn, which counts for the source."""
    leave(connection, ticket)
    place = {"endpoint": endpoint, "source": source, "tokens": tokens}
    connection.execute(
        sa.text(
            "UPDATE sluice.pace SET turn = (SELECT served FROM sluice.share"
            " WHERE endpoint = :endpoint AND source = :source) WHERE endpoint = :endpoint"
        ),
        place,
    )
    connection.execute(
        sa.text(
            "UPDATE sluice.share SET served = served + :tokens"
            " WHERE endpoint = :endpoint AND source = :source"
        ),
        place,
    )
