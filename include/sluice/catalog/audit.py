"""The audit log's one statement. The application role may add rows, and nothing else."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import sqlalchemy as sa


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One read, answered or refused. ``docs/audit.md`` says what each column means."""

    trace_id: str
    agent: str
    key_id: str | None
    person: str | None
    action: str
    outcome: str
    question_hash: str | None
    scope_hash: str | None
    acl_version: int | None
    returned: int
    denied: int
    generations: list[int]
    documents: list[str]


def insert(connection: sa.Connection, row: AuditRow) -> None:
    """Add one row."""
    connection.execute(
        sa.text(
            """
            INSERT INTO sluice.audit_event
                (trace_id, agent, key_id, person, action, outcome, question_hash, scope_hash,
                 acl_version, returned, denied, generations, documents)
            VALUES (:trace_id, :agent, :key_id, :person, :action, :outcome, :question_hash,
                    :scope_hash, :acl_version, :returned, :denied,
                    CAST(:generations AS bigint[]), CAST(:documents AS text[]))
            """
        ),
        asdict(row),
    )
