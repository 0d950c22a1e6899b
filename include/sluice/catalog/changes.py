"""Changes that sources have told of, until a run has drained them: doorbells, never payloads.

A change is noted before its source hears that it was. A run reads what the rows are by then, and
marks the changes it heard of with its load; once that load is live they are forgotten. A run that
is killed in between leaves them to the next.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa

from sluice.model import SourceChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """A change as whoever saw it writes it down."""

    key: str | None  # the row's; None: of all rows, or only their permissions
    op: Literal["upsert", "delete", "all", "acl"]
    position: str | None = None  # in the source's own stream
    changed_at: datetime | None = None


def note(connection: sa.Connection, source: str, changes: Sequence[Noted]) -> None:
    """Write changes down, in their order."""
    connection.execute(
        sa.text(
            """
            INSERT INTO sluice.change (source, key, op, position, changed_at)
            SELECT :source, key, op, position, changed_at
            FROM unnest(CAST(:keys AS text[]), CAST(:ops AS text[]), CAST(:positions AS text[]),
                        CAST(:times AS timestamptz[]))
                WITH ORDINALITY AS w(key, op, position, changed_at, ordinal)
            ORDER BY ordinal
            """
        ),
        {
            "source": source,
            "keys": [each.key for each in changes],
            "ops": [each.op for each in changes],
            "positions": [each.position for each in changes],
            "times": [each.changed_at for each in changes],
        },
    )


def waiting(connection: sa.Connection, source: str) -> list[SourceChange]:
    """The changes that no load has heard of, oldest first."""
    rows = connection.execute(
        sa.text(
            "SELECT change_id, key, op, changed_at FROM sluice.change"
            " WHERE source = :source AND load_id IS NULL ORDER BY change_id"
        ),
        {"source": source},
    )
    return [SourceChange(**row._mapping) for row in rows]


def any_waiting(connection: sa.Connection, source: str) -> bool:
    """Whether there is a change that no load has heard of."""
    return bool(
        connection.execute(
            sa.text(
                "SELECT EXISTS (SELECT FROM sluice.change"
                " WHERE source = :source AND load_id IS NULL)"
            ),
            {"source": source},
        ).scalar_one()
    )


def landed(connection: sa.Connection, source: str, change_ids: Sequence[int], load_id: str) -> None:
    """Mark the changes that a committed load has heard of."""
    connection.execute(
        sa.text(
            "UPDATE sluice.change SET load_id = :load"
            " WHERE source = :source AND change_id = ANY(:ids)"
        ),
        {"source": source, "load": load_id, "ids": list(change_ids)},
    )


def forget(connection: sa.Connection, source: str, load_ids: Collection[str]) -> None:
    """Drop the changes that these loads heard of: they are live."""
    connection.execute(
        sa.text("DELETE FROM sluice.change WHERE source = :source AND load_id = ANY(:loads)"),
        {"source": source, "loads": list(load_ids)},
    )
