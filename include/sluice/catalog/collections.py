"""Collections: where chunks live, which of them serves, and which did. See also ``placements``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from sluice.catalog import placements, runs
from sluice.errors import NotFound
from sluice.model import Backend, Collection, CollectionState


def installation(connection: sa.Connection) -> str:
    """Eight hexadecimal digits that tell this catalog from others."""
    return str(connection.execute(sa.text("SELECT sluice.installation()")).scalar_one())


def standing(connection: sa.Connection) -> list[Collection]:
    """Every collection that is not dropped: the serving one first, then the newest first."""
    order = "ORDER BY state = 'serving' DESC, collection_id DESC"
    return _found(connection, f"WHERE state <> 'dropped' {order}")


def serving(connection: sa.Connection) -> Collection | None:
    """The collection that questions are answered from; None before the first ingest."""
    return next((each for each in standing(connection) if each.state == "serving"), None)


def find(connection: sa.Connection, collection_id: int) -> Collection | None:
    """The collection of this number, dropped or not."""
    found = _found(connection, "WHERE collection_id = :id", {"id": collection_id})
    return next(iter(found), None)


def previous(connection: sa.Connection) -> Collection | None:
    """The kept collection that served last."""
    order = "ORDER BY served_at DESC, collection_id DESC LIMIT 1"
    found = _found(connection, f"WHERE state = 'kept' {order}")
    return next(iter(found), None)


def number(connection: sa.Connection) -> int:
    """Which collection of this tenant the next one will be, from 1."""
    return int(
        connection.execute(sa.text("SELECT count(*) + 1 FROM sluice.collection")).scalar_one()
    )


def register(connection: sa.Connection, described: Collection) -> Collection | None:
    """Make a collection known, before anything of it exists; None if someone else was faster.

    Returns:
        It, with the number that it was given.
    """
    row = connection.execute(
        sa.text(
            """
            INSERT INTO sluice.collection
                (backend, name, embedder, model, dimensions, recipe, state, served_at)
            VALUES (:backend, :name, :embedder, :model, :dimensions, :recipe, :state,
                    CASE WHEN :state = 'serving' THEN now() END)
            ON CONFLICT DO NOTHING
            RETURNING collection_id
            """
        ),
        asdict(described),
    ).one_or_none()
    return replace(described, collection_id=int(row.collection_id)) if row else None


def lock(connection: sa.Connection) -> bool:
    """Be the only one who makes, fills or drops collections, until the transaction ends.

    False where another is. The lock goes with the connection, as a source's does.
    """
    return runs.lock_source(connection, "collections/")  # no source has a slash in its name


def hold(connection: sa.Connection) -> int:
    """Keep the collection that serves from changing until the transaction ends; return its id."""
    connection.execute(sa.text(f"SELECT pg_advisory_xact_lock_shared({_SERVING})"))
    return _serving_id(connection)


def serve(connection: sa.Connection, collection_id: int) -> int | None:
    """Let another collection serve, and keep the one that did, in the caller's transaction.

    Waits for publishes that are flipping. None and nothing is changed while a live generation is
    missing in the collection, else the id of the one that served.

    Raises:
        NotFound: there is no such collection, or it was dropped.
    """
    connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_SERVING})"))
    found = find(connection, collection_id)
    if found is None or found.state == "dropped":
        raise NotFound("no such collection, or it was dropped", subject=str(collection_id))
    before = _serving_id(connection)
    if placements.missing(connection, collection_id, limit=1):
        return None
    for state, which in (("kept", before), ("serving", collection_id)):
        connection.execute(
            sa.text(
                "UPDATE sluice.collection SET state = :state, served_at = now()"
                " WHERE collection_id = :id"
            ),
            {"state": state, "id": which},
        )
    return before


# A lock beside the rows: whoever waited for it looks at the rows as they are after the wait.
_SERVING = "hashtextextended(current_setting('sluice.tenant') || chr(31) || 'serving/', 0)"


def _serving_id(connection: sa.Connection) -> int:
    return int(
        connection.execute(
            sa.text("SELECT collection_id FROM sluice.collection WHERE state = 'serving'")
        ).scalar_one()
    )


def drop(connection: sa.Connection, collection_id: int) -> bool:
    """Forget what lives in a collection; its name is never used again. False if it serves."""
    connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_SERVING})"))
    chosen = {"id": collection_id}
    dropped = connection.execute(
        sa.text(
            "UPDATE sluice.collection SET state = 'dropped'"
            " WHERE collection_id = :id AND state <> 'serving'"
        ),
        chosen,
    ).rowcount
    if dropped:
        connection.execute(
            sa.text("DELETE FROM sluice.placement WHERE collection_id = :id"), chosen
        )
    return bool(dropped)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A collection, and what the catalog says is in it."""

    collection_id: int
    state: CollectionState
    backend: Backend
    name: str
    embedder: str
    recipe: str
    created_at: datetime
    served_at: datetime | None  # serving: since then; kept: it served until then
    generations: int  # held whole
    chunks: int
    missing: int  # live generations that it does not hold; 0 of one that was dropped


def accounts(connection: sa.Connection) -> list[Account]:
    """Every collection that there ever was, the oldest first."""
    rows = connection.execute(
        sa.text(
            """
            SELECT collection_id, state, backend, name, embedder, recipe, created_at, served_at,
                   coalesce(generations, 0) AS generations, coalesce(chunks, 0) AS chunks
            FROM sluice.collection LEFT JOIN (
                SELECT collection_id, count(*) AS generations, sum(chunk_count) AS chunks
                FROM sluice.placement GROUP BY collection_id) AS held USING (collection_id)
            ORDER BY collection_id
            """
        )
    ).all()
    return [Account(**row._mapping, missing=_missing(connection, row)) for row in rows]


def _missing(connection: sa.Connection, row: sa.Row[Any]) -> int:
    return 0 if row.state == "dropped" else placements.lacking(connection, row.collection_id)


def _found(
    connection: sa.Connection, which: str, values: Mapping[str, Any] | None = None
) -> list[Collection]:
    rows = connection.execute(
        sa.text(
            "SELECT collection_id, backend, name, embedder, model, dimensions, recipe, state"  # noqa: S608  # constants
            f" FROM sluice.collection {which}"
        ),
        values,
    )
    return [Collection(**row._mapping) for row in rows]
