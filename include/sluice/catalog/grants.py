"""The lines of ACLs: which there are, which there should be, and the way from one to the other.

What must change is decided here, not in SQL; only lines that differ are written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from sluice.model import Effect, Grant, settle

Line = tuple[int, str, str]  # acl_id, principal, effect
Lines = dict[Line, datetime]  # until when; FOREVER where nothing ends it

FOREVER = datetime.max.replace(tzinfo=UTC)


def held(connection: sa.Connection, source: str) -> Lines:
    """Every line of the source, as it is."""
    rows = connection.execute(
        sa.text(
            """
            SELECT g.acl_id, g.principal, g.effect, g.expires_at
            FROM sluice.acl a JOIN sluice.acl_grant g ON g.acl_id = a.acl_id
            WHERE a.source = :source
            """
        ),
        {"source": source},
    )
    return {(int(row.acl_id), row.principal, row.effect): row.expires_at or FOREVER for row in rows}


def shown(acls: Mapping[str, frozenset[Grant]], ids: Mapping[str, int]) -> Lines:
    """The lines of ``acls``, by ACL key, as they should be; of objects without an id, none."""
    return {
        (ids[key], str(grant.principal), grant.effect.value): grant.expires_at or FOREVER
        for key, grants in acls.items()
        if key in ids
        for grant in settle(grants)
    }


def narrowed(before: Lines, wanted: Lines, listed: Collection[int]) -> Lines:
    """What is left of ``before`` once every right that ``wanted`` lacks is taken away.

    Args:
        before: lines as they are.
        wanted: lines as they should be.
        listed: the objects that ``wanted`` speaks of; others keep their lines.
    """
    left: Lines = {}
    for line, until in before.items():
        acl_id, _, effect = line
        if acl_id not in listed:
            left[line] = until
        elif effect == Effect.DENY:
            left[line] = max(until, wanted.get(line, until))
        elif line in wanted:
            left[line] = min(until, wanted[line])
    for line, until in wanted.items():
        if line[2] == Effect.DENY:
            left.setdefault(line, until)
    return left


def write(connection: sa.Connection, before: Lines, after: Lines) -> bool:
    """Turn the lines ``before`` into ``after``; say whether they differ."""
    gone = sorted(before.keys() - after.keys())
    new = sorted(line for line, until in after.items() if before.get(line) != until)
    if gone:
        connection.execute(
            sa.text(
                """
                DELETE FROM sluice.acl_grant g
                USING unnest(CAST(:acl_ids AS bigint[]), CAST(:principals AS text[]),
                             CAST(:effects AS text[])) AS w(acl_id, principal, effect)
                WHERE g.acl_id = w.acl_id AND g.principal = w.principal AND g.effect = w.effect
                """
            ),
            _columns(gone),
        )
    if new:
        expiries = [None if after[line] == FOREVER else after[line] for line in new]
        connection.execute(
            sa.text(
                """
                INSERT INTO sluice.acl_grant (acl_id, principal, effect, expires_at)
                SELECT * FROM unnest(CAST(:acl_ids AS bigint[]), CAST(:principals AS text[]),
                                     CAST(:effects AS text[]), CAST(:expiries AS timestamptz[]))
                ON CONFLICT (tenant_id, acl_id, principal, effect)
                DO UPDATE SET expires_at = excluded.expires_at
                """
            ),
            {**_columns(new), "expiries": expiries},
        )
    return bool(gone or new)


def _columns(lines: Sequence[Line]) -> dict[str, Any]:
    return {
        "acl_ids": [acl_id for acl_id, _, _ in lines],
        "principals": [principal for _, principal, _ in lines],
        "effects": [effect for _, _, effect in lines],
    }
