"""Who may read what, as it is asked. Every function here belongs inside one snapshot.

A permission object is readable if an unexpired allow names one of the reader's principals and no
unexpired deny does, by the database's clock, and if its source's permissions are fresh enough.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from sluice.model import PUBLIC, Principal, SourceFreshness


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """How new the permissions are that this snapshot shows."""

    acl_version: int
    stale_directory: str | None  # one that is older than its policy allows


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveDocument:
    """What the catalog says of a document that is not deleted."""

    document_id: str
    generation: int
    acl_id: int
    source: str
    title: str
    uri: str
    updated_at: datetime | None
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Allow:
    """An unexpired allow."""

    acl_id: int
    acl_key: str
    principal: Principal
    expires_at: datetime | None


def version(connection: sa.Connection) -> Version:
    """The number of the last change of permissions, and a directory that is too old to trust."""
    row = connection.execute(
        sa.text(
            """
            SELECT coalesce((SELECT version FROM sluice.acl_version), 0) AS acl_version,
                   (SELECT min(source) FROM sluice.source
                    WHERE kind = 'directory' AND max_acl_age IS NOT NULL
                      AND (acl_observed_at IS NULL OR acl_observed_at < now() - max_acl_age))
                   AS stale_directory
            """
        )
    ).one()
    return Version(acl_version=int(row.acl_version), stale_directory=row.stale_directory)


def principals(
    connection: sa.Connection, people: Iterable[Principal]
) -> dict[Principal, frozenset[Principal]]:
    """Everything each person comes under.

    That is the person, ``public``, the e-mail's domain, every account mapped to the person, and
    every group that contains any of these, directly or through other groups.
    """
    found: dict[Principal, set[Principal]] = {
        each: {each, PUBLIC} | ({each.domain} if each.domain else set()) for each in people
    }
    pairs = [(str(person), str(each)) for person, own in found.items() for each in own]
    rows = connection.execute(
        sa.text(
            """
            WITH RECURSIVE own(person, principal) AS (
                SELECT * FROM unnest(CAST(:people AS text[]), CAST(:principals AS text[]))
            ), under(person, principal) AS (
                SELECT person, principal FROM own
                UNION
                SELECT o.person, i.account FROM own o
                    JOIN sluice.identity i ON i.person = o.principal
                    WHERE o.principal = o.person AND i.counts
                UNION
                SELECT u.person, m.parent FROM under u
                    JOIN sluice.membership m ON m.member = u.principal
            )
            SELECT person, principal FROM under
            """
        ),
        {"people": [person for person, _ in pairs], "principals": [own for _, own in pairs]},
    )
    for row in rows:
        found[Principal(row.person)].add(Principal(row.principal))
    return {person: frozenset(own) for person, own in found.items()}


def readable(
    connection: sa.Connection,
    under: Mapping[Principal, frozenset[Principal]],
    *,
    among: Collection[int] | None = None,
    limit: int | None = None,
) -> dict[Principal, frozenset[int]]:
    """The permission objects that each person may read, given what the person comes under.

    Args:
        connection: inside the snapshot that ``under`` was read in.
        under: by person.
        among: look at these objects alone.
        limit: at most so many pairs of person and object, whichever come first.
    """
    found: dict[Principal, set[int]] = {person: set() for person in under}
    # The fewer tables are joined, the less a planner without statistics can do wrong: right after
    # a first ingest there are none.
    rows = connection.execute(
        sa.text(
            """
            SELECT p.person, g.acl_id
            FROM unnest(CAST(:people AS text[]), CAST(:principals AS text[]))
                AS p(person, principal)
            JOIN sluice.acl_grant g ON g.principal = p.principal
            WHERE (g.expires_at IS NULL OR g.expires_at > now())
              AND (CAST(:among AS bigint[]) IS NULL OR g.acl_id = ANY(CAST(:among AS bigint[])))
              AND g.acl_id <> ALL(CAST(:hidden AS bigint[]))
            GROUP BY p.person, g.acl_id
            HAVING bool_and(g.effect = 'allow')
            LIMIT CAST(:limit AS bigint)
            """
        ),
        {
            "people": [str(person) for person, own in under.items() for _ in own],
            "principals": [str(each) for own in under.values() for each in own],
            "among": None if among is None else list(among),
            "hidden": _hidden(connection),
            "limit": limit,
        },
    )
    for row in rows:
        found[Principal(row.person)].add(int(row.acl_id))
    return {person: frozenset(ids) for person, ids in found.items()}


def _hidden(connection: sa.Connection) -> list[int]:
    """The permission objects of sources whose permissions are too old to trust; mostly none."""
    rows = connection.execute(
        sa.text(
            """
            SELECT acl_id FROM sluice.acl WHERE source IN
                (SELECT source FROM sluice.source WHERE max_acl_age IS NOT NULL
                 AND (acl_observed_at IS NULL OR acl_observed_at < now() - max_acl_age))
            """
        )
    )
    return [int(row.acl_id) for row in rows]


def staleness(connection: sa.Connection, acl_ids: Collection[int]) -> timedelta | None:
    """The age of the oldest permissions that a reader of these objects depends on.

    Those are every directory's and those of the objects' sources. None: some were never observed.
    """
    row = connection.execute(
        sa.text(
            """
            SELECT coalesce(max(now() - acl_observed_at), interval '0') AS age,
                   bool_or(acl_observed_at IS NULL) AS unknown
            FROM sluice.source WHERE kind = 'directory' OR source IN
                (SELECT source FROM sluice.acl WHERE acl_id = ANY(:ids))
            """
        ),
        {"ids": list(acl_ids)},
    ).one()
    return None if row.unknown else row.age


def freshness(connection: sa.Connection, acl_ids: Collection[int]) -> list[SourceFreshness]:
    """How fresh each source is that one of these objects belongs to, by name.

    It says nothing that depends on a document, since its reader may not know of them all.
    """
    rows = connection.execute(
        sa.text(
            """
            SELECT source, synced_at, acl_observed_at, sign_in IS NOT NULL AS needs_sign_in
            FROM sluice.source
            WHERE source IN (SELECT source FROM sluice.acl WHERE acl_id = ANY(:ids))
            ORDER BY source
            """
        ),
        {"ids": list(acl_ids)},
    )
    return [
        SourceFreshness(
            source=row.source,
            in_step_at=row.synced_at,
            permissions_at=row.acl_observed_at,
            needs_sign_in=row.needs_sign_in,
        )
        for row in rows
    ]


def documents(connection: sa.Connection, document_ids: Collection[str]) -> dict[str, LiveDocument]:
    """Those of the documents that are live and that something guards, by id."""
    rows = connection.execute(
        sa.text(
            """
            SELECT document_id, live_generation AS generation, acl_id, source, title, uri,
                   updated_at, run_id
            FROM sluice.document
            WHERE document_id = ANY(:ids) AND deleted_at IS NULL
              AND live_generation IS NOT NULL AND acl_id IS NOT NULL
            """
        ),
        {"ids": list(document_ids)},
    )
    return {row.document_id: LiveDocument(**row._mapping) for row in rows}


def text(connection: sa.Connection, generation: int) -> str:
    """The whole text of a generation, in Markdown."""
    found: str = connection.execute(
        sa.text("SELECT text FROM sluice.generation WHERE generation = :generation"),
        {"generation": generation},
    ).scalar_one()
    return found


def allows(
    connection: sa.Connection, acl_ids: Collection[int], under: Collection[Principal]
) -> list[Allow]:
    """The unexpired allows of these objects that name one of ``under``."""
    rows = connection.execute(
        sa.text(
            """
            SELECT g.acl_id, a.key, g.principal, g.expires_at
            FROM sluice.acl_grant g JOIN sluice.acl a ON a.acl_id = g.acl_id
            WHERE g.acl_id = ANY(:ids) AND g.principal = ANY(:principals) AND g.effect = 'allow'
              AND (g.expires_at IS NULL OR g.expires_at > now())
            """
        ),
        {"ids": list(acl_ids), "principals": [str(each) for each in under]},
    )
    return [
        Allow(
            acl_id=int(row.acl_id),
            acl_key=row.key,
            principal=Principal(row.principal),
            expires_at=row.expires_at,
        )
        for row in rows
    ]


def steps(
    connection: sa.Connection, person: Principal, under: Collection[Principal]
) -> list[tuple[Principal, Principal]]:
    """Each single step by which the person comes under something: from, to."""
    rows = connection.execute(
        sa.text(
            """
            SELECT person AS low, account AS high FROM sluice.identity
            WHERE person = :person AND counts
            UNION
            SELECT member, parent FROM sluice.membership WHERE member = ANY(:under)
            """
        ),
        {"person": str(person), "under": [str(each) for each in under]},
    )
    stored = [(Principal(row.low), Principal(row.high)) for row in rows]
    given = [(person, each) for each in (person.domain, PUBLIC) if each]
    return given + stored
