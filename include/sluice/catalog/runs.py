"""Sources, their loads and their runs: what happened, for Airflow's page and ``sluice status``."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any, Literal

import sqlalchemy as sa

from sluice.errors import ConfigurationError
from sluice.model import Policy

LoadState = Literal["validated", "held", "published"]
RunState = Literal["succeeded", "held", "failed"]
PERMISSIONS = "permissions"  # the part of a source that may be read apart from its content


def ensure_source(connection: sa.Connection, source: str, kind: str, policy: Policy) -> None:
    """Make the source known, with the owner's newest policy.

    Raises:
        ConfigurationError: a directory has this name, or is to take the name of a source: the
            policy of one would count for the other.
    """
    known = connection.execute(
        sa.text(
            """
            INSERT INTO sluice.source AS s (source, kind, max_acl_age, machines)
            VALUES (:source, :kind, :max_acl_age, :machines)
            ON CONFLICT (tenant_id, source) DO UPDATE SET kind = excluded.kind,
                max_acl_age = excluded.max_acl_age, machines = excluded.machines
                WHERE (s.kind = 'directory') = (excluded.kind = 'directory')
            """
        ),
        {
            "source": source,
            "kind": kind,
            "max_acl_age": policy.max_acl_age,
            "machines": sorted(policy.machines) if policy.sensitive else None,
        },
    ).rowcount
    if not known:
        raise ConfigurationError(
            "a source and a directory have the same name",
            subject=source,
            cure="Give one of them another name in its DAG file",
        )


def part_of(source: str, part: str) -> str:
    """Whose the runs are that read one part of a source: no source has a slash in its name."""
    return f"{source}/{part}"


def machines(connection: sa.Connection, source: str) -> frozenset[str] | None:
    """The machines that a source's texts may be sent to; None: any. If it is unknown, none."""
    rows = connection.execute(
        sa.text("SELECT machines FROM sluice.source WHERE source = :source"), {"source": source}
    )
    found = rows.scalars().all()
    if not found:
        return frozenset()
    return None if found[0] is None else frozenset(found[0])


def lock_source(connection: sa.Connection, source: str) -> bool:
    """Take the source's lock until the transaction ends; False where another run holds it.

    The lock lives in the server: it goes with the connection, so a killed run frees it. A server
    that ends idle transactions must not end this one, which is idle while the work is done.
    """
    connection.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    return bool(
        connection.execute(
            sa.text(
                "SELECT pg_try_advisory_xact_lock("
                "hashtextextended(current_setting('sluice.tenant') || chr(31) || :source, 0))"
            ),
            {"source": source},
        ).scalar_one()
    )


def columns(connection: sa.Connection, source: str) -> list[dict[str, Any]] | None:
    """The source's columns as the last run saw them."""
    found: list[dict[str, Any]] | None = connection.execute(
        sa.text("SELECT columns FROM sluice.source WHERE source = :source"), {"source": source}
    ).scalar_one_or_none()
    return found


def store_columns(connection: sa.Connection, source: str, now: list[dict[str, Any]]) -> None:
    """Remember the source's columns for the next run to compare with."""
    connection.execute(
        sa.text(
            "UPDATE sluice.source SET columns = CAST(:columns AS jsonb) WHERE source = :source"
        ),
        {"source": source, "columns": json.dumps(now)},
    )


def loads(connection: sa.Connection, source: str, states: Collection[LoadState]) -> set[str]:
    """The source's loads that are in one of ``states``."""
    rows = connection.execute(
        sa.text("SELECT load_id FROM sluice.load WHERE source = :source AND state = ANY(:states)"),
        {"source": source, "states": list(states)},
    )
    return {row.load_id for row in rows}


def overtaken(connection: sa.Connection, source: str, load_ids: Collection[str]) -> bool:
    """Whether another run has published any of these loads."""
    return not loads(connection, source, ["published"]).isdisjoint(load_ids)


def mark_loads(
    connection: sa.Connection, source: str, load_ids: Collection[str], state: LoadState
) -> None:
    """Move loads to ``state``."""
    if load_ids:
        connection.execute(
            sa.text(
                """
                INSERT INTO sluice.load (source, load_id, state) VALUES (:source, :load_id, :state)
                ON CONFLICT (tenant_id, source, load_id) DO UPDATE SET state = excluded.state
                """
            ),
            [{"source": source, "load_id": each, "state": state} for each in load_ids],
        )


def synced(connection: sa.Connection, source: str) -> None:
    """Note that what the source showed is live as of now."""
    connection.execute(
        sa.text("UPDATE sluice.source SET synced_at = now() WHERE source = :source"),
        {"source": source},
    )


def begin(connection: sa.Connection, run_id: str, source: str) -> None:
    """Open a run, or re-open it for a retry."""
    connection.execute(
        sa.text(
            """
            INSERT INTO sluice.run (run_id, source, state, summary)
            VALUES (:run_id, :source, 'running', '{}')
            ON CONFLICT (tenant_id, run_id) DO UPDATE
                SET state = 'running', message = NULL, finished_at = NULL
            """
        ),
        {"run_id": run_id, "source": source},
    )


def note(connection: sa.Connection, run_id: str, summary: Mapping[str, Any]) -> None:
    """Merge ``summary`` into the run's; stage seconds are merged stage by stage."""
    connection.execute(
        sa.text(
            """
            UPDATE sluice.run SET summary = summary || CAST(:summary AS jsonb)
                || jsonb_build_object('stages',
                    coalesce(summary->'stages', '{}') || CAST(:stages AS jsonb))
            WHERE run_id = :run_id
            """
        ),
        {
            "run_id": run_id,
            "summary": json.dumps({k: v for k, v in summary.items() if k != "stages"}),
            "stages": json.dumps(summary.get("stages", {})),
        },
    )


def summary(connection: sa.Connection, run_id: str) -> dict[str, Any]:
    """What the run noted so far."""
    found = connection.execute(
        sa.text("SELECT summary FROM sluice.run WHERE run_id = :run_id"), {"run_id": run_id}
    ).scalar_one_or_none()
    return dict(found or {})


def foresee(connection: sa.Connection, run_id: str, dollars: Decimal) -> None:
    """Note what a run will cost, if it has not been noted: later there is less left to embed."""
    connection.execute(
        sa.text(
            "UPDATE sluice.run SET summary = jsonb_build_object('forecast', CAST(:dollars AS text))"
            " || summary WHERE run_id = :run_id"
        ),
        {"run_id": run_id, "dollars": f"{dollars:f}"},
    )


def forecasts(connection: sa.Connection, run_ids: Collection[str]) -> dict[str, Decimal]:
    """Dollars that each of these runs was to cost, where that was noted."""
    rows = connection.execute(
        sa.text(
            "SELECT run_id, summary->>'forecast' AS forecast FROM sluice.run"
            " WHERE run_id = ANY(:run_ids) AND summary ? 'forecast'"
        ),
        {"run_ids": list(run_ids)},
    )
    return {row.run_id: Decimal(row.forecast) for row in rows}


def finish(
    connection: sa.Connection, run_id: str, state: RunState, message: str | None = None
) -> None:
    """Close the run."""
    connection.execute(
        sa.text(
            "UPDATE sluice.run SET state = :state, message = :message, finished_at = now()"
            " WHERE run_id = :run_id"
        ),
        {"run_id": run_id, "state": state, "message": message},
    )


def store_data_docs(connection: sa.Connection, run_id: str, path: str) -> None:
    """Remember where the run's Data Docs are."""
    connection.execute(
        sa.text("UPDATE sluice.run SET data_docs = :path WHERE run_id = :run_id"),
        {"run_id": run_id, "path": path},
    )
