"""Changes that sources have told of, until a run has drained them: doorbells, never payloads.

A change is noted before its source hears that it was; a run reads what the rows are by then. Those
that are live are forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa

from sluice.model import SourceChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """A change as whoever saw it writes it down."""

    key: str | None  # the row's; None: all of them
    op: Literal["upsert", "delete", "all"]
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


def after(connection: sa.Connection, source: str, change_id: int) -> list[SourceChange]:
    """The changes that were noted after the one called ``change_id``, oldest first."""
    rows = connection.execute(
        sa.text(
            "SELECT change_id, key, op, changed_at FROM sluice.change"
            " WHERE source = :source AND change_id > :after ORDER BY change_id"
        ),
        {"source": source, "after": change_id},
    )
    return [SourceChange(**row._mapping) for row in rows]


def forget(connection: sa.Connection, source: str, up_to: int) -> None:
    """Drop the changes up to ``up_to``: what they told of is live."""
    connection.execute(
        sa.text("DELETE FROM sluice.change WHERE source = :source AND change_id <= :up_to"),
        {"source": source, "up_to": up_to},
    )
