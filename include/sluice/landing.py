"""dlt brings rows into Postgres, at least once: a schema ``landing_<source>`` for each source.

==========  ==========================================================================
rows        the newest version of each row; ``_dlt_load_id`` names the load it came with
listing     every row key of the source, with its ACL key; those that are ``gone`` too
acls        every permission object of the listing
marks       one row a load: how many rows, keys and ACLs it wrote, and how much it knew
_dlt_loads  dlt's own: a load counts from the moment it is here, and not before
==========  ==========================================================================

A whole load replaces listing and ACLs. One of what changed merges into them.

What must hold: a killed run loses and doubles nothing. dlt writes each table in a transaction of
its own, so rows may carry the id of a load that never committed; the next run throws those away
before it starts and reads them again. Rows that left the source are thrown away there too, so that
one which returns unchanged is new. A listing is believed only where the mark of a committed load
counts it, and where no killed run has merged into it; if one has, the next load is a whole one.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.exc import InterfaceError, OperationalError

from sluice.catalog import connect, unavailable
from sluice.errors import CatalogUnavailable, ConfigurationError, SluiceError
from sluice.model import (
    Auth,
    Connection,
    Effect,
    Grant,
    LandedAcl,
    LandedRow,
    Listing,
    Load,
    Principal,
    SourceChange,
    Window,
)
from sluice.ports import Kit, Source

_DLT = {
    "PROVIDERS__ENABLE_AIRFLOW_SECRETS": "false",  # or each setting is looked up in Airflow
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
    "EXTRACT__NEXT_ITEM_MODE": "fifo",  # rows, listing, acls, marks: strictly one after another
    "NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID": "true",
}


@dataclass(frozen=True, slots=True)
class Zone:
    """Where one tenant's rows land: ``url`` is PostgreSQL, as the role that owns the schemas."""

    url: str = field(repr=False)
    tenant: str

    def schema(self, source: str) -> str:
        """The schema of a source: no two tenants share one, whatever they call their sources."""
        if self.tenant == "main":
            return f"landing_{source}"
        return f"landing_{source}_{hashlib.sha256(self.tenant.encode()).hexdigest()[:12]}"


class _Empty:
    """The kit of a source that needs none."""

    def connection(self, name: str) -> Connection:
        raise _without_kit(name)

    def token(self, auth: Auth, rejected: str | None = None) -> str:  # noqa: ARG002  # as above
        raise _without_kit(auth.connection)

    def changes(self) -> Sequence[SourceChange]:
        return ()


def land(
    source: Source,
    zone: Zone,
    window: Window | None = None,
    *,
    kit: Kit | None = None,
    whole: bool = False,
) -> Load:
    """Read ``source`` and commit what is new in it as one load.

    At most one run per source at a time: the caller holds the lock.

    Args:
        source: what is read.
        zone: where it lands.
        window: read again the rows that changed inside it, and leave the cursor alone. The source
            is listed all the same: permissions must not be older than the rows they guard.
        kit: what the reading takes along; a folder or a table needs nothing.
        whole: compare every id, whether or not the source's policy wants that by now.

    Raises:
        SourceUnavailable: the source does not answer; nothing was committed.
        SchemaDrift: the source lost what it cannot be read without; nothing was committed.
        CatalogUnavailable: PostgreSQL does not answer.
    """
    for name, value in _DLT.items():
        os.environ[name] = value
    import dlt

    schema = zone.schema(source.name)
    with _transaction(zone) as connection:
        whole = _prepare(connection, schema, source.policy.reconcile) or whole
    with tempfile.TemporaryDirectory(prefix="sluice-landing-") as scratch:
        # A fresh folder each time: dlt would finish a stale package there instead of reading.
        pipeline = dlt.pipeline(
            source.name,
            pipelines_dir=scratch,
            destination=dlt.destinations.postgres(credentials=_psycopg2(zone.url)),
            dataset_name=schema,
        )
        try:
            resources = source.resources(window, kit or _Empty(), whole=whole)
            info = pipeline.run(resources, loader_file_format="csv")
        except Exception as error:
            if (ours := _in_our_words(error)) is None:
                raise
            raise ours from error
    load_id = info.loads_ids[-1]
    with _transaction(zone) as connection:
        count = _run(connection, schema, _COUNT, load=load_id).scalar_one()
    return Load(
        source=source.name,
        load_id=load_id,
        rows=count,
        listing=listing(zone, source.name, [load_id]),
    )


def pending(zone: Zone, source: str, published: Collection[str]) -> list[str]:
    """Return the committed loads of ``source`` that are not ``published``, oldest first."""
    schema = zone.schema(source)
    with _transaction(zone) as connection:
        exists = connection.execute(
            sa.text("SELECT to_regclass(:name)"), {"name": f"{schema}._dlt_loads"}
        ).scalar_one()
        if exists is None:
            return []
        return list(_run(connection, schema, _PENDING, known=list(published)).scalars())


def rows(zone: Zone, source: str, load_ids: Collection[str]) -> Iterator[LandedRow]:
    """Yield the rows that came with committed ``load_ids``, by key, a thousand in memory."""
    yield from _stream(zone, source, _ROWS, loads=list(load_ids))


def rows_by_key(zone: Zone, source: str, keys: Collection[str]) -> Iterator[LandedRow]:
    """Yield the newest committed version of the rows called ``keys``; absent ones are left out."""
    yield from _stream(zone, source, _ROWS_BY_KEY, keys=list(keys))


def listing(
    zone: Zone, source: str, load_ids: Sequence[str], also: Collection[str] = ()
) -> Listing | None:
    """Return what the source held as of the last of ``load_ids``, or None if that is not proven.

    Where all of them are of what changed, that is what changed and what left, and no more.

    It is proven while the tables hold exactly as many keys and ACLs of that load as its mark
    counted, and nothing of a load that never committed; the next load replaces them, and from then
    on only its own listing can be had.

    Args:
        zone: where it landed.
        source: whose.
        load_ids: committed loads, oldest first; at least one.
        also: keys that are wanted whether or not they changed.
    """
    schema, newest = zone.schema(source), load_ids[-1]
    with _transaction(zone, "REPEATABLE READ") as connection:
        mark = _run(connection, schema, _MARK, load=newest).one_or_none()
        if mark is None:
            return None
        counted = _run(connection, schema, _HELD, load=newest).one()
        if (counted.listing, counted.acls) != (mark.listing, mark.acls) or counted.unproven:
            return None
        loads, wanted = list(load_ids), list(also)
        every = _run(connection, schema, _ANY_WHOLE, loads=loads).scalar_one()
        keys, gone = {}, set()
        for row in _run(connection, schema, _LISTING, every=every, loads=loads, also=wanted):
            if row.gone:
                gone.add(row.row_key)
            else:
                keys[row.row_key] = row.acl_key
        # Of what changed, the ACLs of this load alone: others may be newer in the catalog.
        found = _run(connection, schema, _ACLS, loads=None if mark.whole else loads)
        acls = {row.acl_key: _acl(row) for row in found}
        since = _run(connection, schema, _SINCE, loads=loads).scalar_one()
    return Listing(
        acl_keys=keys,
        acls=acls,
        observed_at=mark.observed_at if mark.whole else since,
        whole=mark.whole,
        current=mark.current,
        gone=None if every else frozenset(gone),
    )


_COMMITTED = "SELECT load_id FROM {schema}._dlt_loads WHERE status = 0"
_COUNT = "SELECT count(*) FROM {schema}.rows WHERE _dlt_load_id = :load"
_PENDING = """
SELECT load_id FROM {schema}._dlt_loads
WHERE status = 0 AND NOT load_id = ANY(:known) ORDER BY inserted_at, load_id
"""
_ROWS = """
SELECT row_key, _dlt_load_id AS load_id, record FROM {schema}.rows
WHERE _dlt_load_id = ANY(:loads) AND _dlt_load_id IN ({committed}) ORDER BY row_key
"""
_ROWS_BY_KEY = """
SELECT row_key, _dlt_load_id AS load_id, record FROM {schema}.rows
WHERE row_key = ANY(:keys) AND _dlt_load_id IN ({committed}) ORDER BY row_key
"""
_MARK = """
SELECT listing, acls, observed_at, coalesce(whole, true) AS whole,
       coalesce(current, true) AS current FROM {schema}.marks
WHERE _dlt_load_id = :load AND _dlt_load_id IN ({committed})
"""
_HELD = """
SELECT (SELECT count(*) FROM {schema}.listing WHERE _dlt_load_id = :load) AS listing,
       (SELECT count(*) FROM {schema}.acls WHERE _dlt_load_id = :load) AS acls,
       EXISTS (SELECT FROM {schema}.listing WHERE NOT _dlt_load_id IN ({committed}))
       OR EXISTS (SELECT FROM {schema}.acls WHERE NOT _dlt_load_id IN ({committed})) AS unproven
"""
_SINCE = "SELECT min(observed_at) FROM {schema}.marks WHERE _dlt_load_id = ANY(:loads)"
_ANY_WHOLE = """
SELECT bool_or(coalesce(whole, true)) FROM {schema}.marks WHERE _dlt_load_id = ANY(:loads)
"""
_LISTING = """
SELECT row_key, acl_key, gone IS TRUE AS gone FROM {schema}.listing
WHERE :every OR _dlt_load_id = ANY(:loads) OR row_key = ANY(:also)
"""
_ACLS = """
SELECT acl_key, grants, error FROM {schema}.acls
WHERE CAST(:loads AS varchar[]) IS NULL OR _dlt_load_id = ANY(:loads)
"""
_WANTS_WHOLE = """
SELECT NOT EXISTS (SELECT FROM {schema}.marks WHERE whole IS NOT FALSE AND observed_at > :since
                   AND _dlt_load_id IN ({committed}))
    OR EXISTS (SELECT FROM {schema}.listing WHERE NOT _dlt_load_id IN ({committed}))
    OR EXISTS (SELECT FROM {schema}.acls WHERE NOT _dlt_load_id IN ({committed}))
"""

_TABLES = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE IF NOT EXISTS {schema}.rows (
    row_key varchar PRIMARY KEY,
    record jsonb NOT NULL,
    content_hash varchar NOT NULL,
    _dlt_load_id varchar NOT NULL
);
CREATE INDEX IF NOT EXISTS rows_by_load ON {schema}.rows (_dlt_load_id);
CREATE TABLE IF NOT EXISTS {schema}.listing (
    row_key varchar PRIMARY KEY,
    acl_key varchar,
    gone boolean,
    _dlt_load_id varchar NOT NULL
);
ALTER TABLE {schema}.listing ADD COLUMN IF NOT EXISTS gone boolean;
CREATE TABLE IF NOT EXISTS {schema}.acls (
    acl_key varchar PRIMARY KEY,
    grants jsonb NOT NULL,
    error varchar,
    _dlt_load_id varchar NOT NULL
);
CREATE TABLE IF NOT EXISTS {schema}.marks (
    rows bigint NOT NULL,
    listing bigint NOT NULL,
    acls bigint NOT NULL,
    observed_at timestamptz NOT NULL,
    whole boolean,
    current boolean,
    _dlt_load_id varchar NOT NULL
);
ALTER TABLE {schema}.marks ADD COLUMN IF NOT EXISTS whole boolean;
ALTER TABLE {schema}.marks ADD COLUMN IF NOT EXISTS current boolean;
"""
_NEVER_COMMITTED = "DELETE FROM {schema}.rows WHERE NOT _dlt_load_id IN ({committed})"
_LEFT = """
DELETE FROM {schema}.rows AS r
USING (SELECT listing, acls, _dlt_load_id FROM {schema}.marks
       WHERE _dlt_load_id IN ({committed}) ORDER BY observed_at DESC LIMIT 1) AS m
WHERE NOT EXISTS (SELECT FROM {schema}.listing AS l
                  WHERE l.row_key = r.row_key AND l.gone IS NOT TRUE)
  AND m.listing = (SELECT count(*) FROM {schema}.listing AS l
                   WHERE l._dlt_load_id = m._dlt_load_id)
"""


def _prepare(connection: sa.Connection, schema: str, reconcile: timedelta) -> bool:
    """Make the tables, and leave only rows that are committed and still in the source.

    Returns:
        Whether every id has to be compared: it is long ago, or a killed run has left a listing that
        nobody can vouch for.
    """
    _run(connection, schema, _TABLES)
    begun = connection.execute(
        sa.text("SELECT to_regclass(:name)"), {"name": f"{schema}._dlt_loads"}
    ).scalar_one()
    if begun is None:
        _run(connection, schema, "TRUNCATE {schema}.rows")
        return True
    _run(connection, schema, _NEVER_COMMITTED)
    _run(connection, schema, _LEFT)
    since = datetime.now(UTC) - reconcile
    return bool(_run(connection, schema, _WANTS_WHOLE, since=since).scalar_one())


def _acl(row: Any) -> LandedAcl:
    grants = frozenset(
        Grant(
            Principal(line["principal"]),
            Effect(line["effect"]),
            datetime.fromisoformat(line["expires_at"]) if line["expires_at"] else None,
        )
        for line in row.grants
    )
    return LandedAcl(key=row.acl_key, grants=grants, error=row.error)


def _stream(zone: Zone, source: str, query: str, **values: Any) -> Iterator[LandedRow]:
    with _transaction(zone) as connection:
        streaming = connection.execution_options(yield_per=1000)
        for row in _run(streaming, zone.schema(source), query, **values):
            yield LandedRow(key=row.row_key, load_id=row.load_id, record=row.record)


def _run(connection: sa.Connection, schema: str, query: str, **values: Any) -> sa.CursorResult[Any]:
    quoted = sql.Identifier(schema).as_string(None)
    committed = _COMMITTED.format(schema=quoted)
    return connection.execute(sa.text(query.format(schema=quoted, committed=committed)), values)


@contextmanager
def _transaction(zone: Zone, isolation: Any = "READ COMMITTED") -> Iterator[sa.Connection]:
    engine = connect(zone.url)
    try:
        with (
            engine.connect().execution_options(isolation_level=isolation) as connection,
            connection.begin(),
        ):
            yield connection
    except (OperationalError, InterfaceError) as error:
        raise unavailable(error) from error
    finally:
        engine.dispose()


def _psycopg2(url: str) -> str:
    return sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _without_kit(connection: str) -> ConfigurationError:
    return ConfigurationError(
        "was opened without the connection that it is signed in to by",
        subject=connection,
        cure="Run it by its DAG, which knows Airflow's connections",
    )


def _in_our_words(error: Exception) -> SluiceError | None:
    """What made dlt fail, if it is something that we have a word for."""
    import psycopg2
    from dlt.destinations.exceptions import DestinationConnectionError

    for cause in _causes(error):
        if isinstance(cause, SluiceError):
            return cause
        if isinstance(cause, psycopg2.OperationalError | DestinationConnectionError):
            reason = str(cause).strip().splitlines()[0]
            return CatalogUnavailable(
                f"the landing zone does not answer: {reason}",
                cure="Check that PostgreSQL runs (`sluice status`) and try again",
            )
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
