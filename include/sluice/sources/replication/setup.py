"""The publication and the slot of a table: made, checked, and how far behind they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sluice.errors import ConfigurationError, SourceUnavailable

if TYPE_CHECKING:
    from sluice.sources.sql_table import SqlTable

_KEY_TYPES = {"bigint", "integer", "smallint", "text", "character varying", "uuid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which table is followed, and by which slot. ``url`` is PostgreSQL; it may hold a password."""

    source: str
    url: str = field(repr=False)
    schema: str
    table: str
    key: str
    slot: str
    publication: str
    acl_tables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a slot is doing."""

    behind: int  # bytes of the server's log that the slot keeps
    trouble: str | None = None  # what somebody has to see to


def names(source: SqlTable) -> dict[str, Any]:
    """What following ``source`` needs to know, but for the URL: the rest of a :class:`Place`.

    Raises:
        ConfigurationError: it is not one that is followed.
    """
    changes = source.changes
    if changes is None:
        raise ConfigurationError("only a table that has `changes` is followed", subject=source.name)
    name = f"sluice_{source.name}"
    return {
        "source": source.name,
        "schema": source.schema or "public",
        "table": source.table,
        "key": source.key,
        "slot": changes.slot or name,
        "publication": changes.publication or name,
        "acl_tables": list(changes.acl_tables),
    }


def place(address: str, named: Mapping[str, Any]) -> Place:
    """Return the place at ``address``, a SQLAlchemy URL.

    Raises:
        ConfigurationError: it is not PostgreSQL's.
    """
    import sqlalchemy as sa

    url = sa.make_url(address)
    if url.get_backend_name() not in {"postgresql", "postgres"}:
        raise ConfigurationError(
            "only a PostgreSQL table can be followed", subject=str(named["source"])
        )
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return Place(**{**named, "acl_tables": tuple(named["acl_tables"])}, url=plain)


def ensure(where: Place, renewing: Callable[[], object] = lambda: None) -> bool:
    """Make the publication and the slot unless they are there; say whether anything was new.

    A new slot, and one of a table that was not published, sees changes from now on: whoever reads
    it compares every id once.

    Args:
        where: the table, and what its publication and slot are called.
        renewing: called before anything is made, to note that every id is to be compared: whoever
            is killed right after making it must find that out.

    Raises:
        ConfigurationError: the server or the table cannot be followed; the message has the cure.
        SourceUnavailable: the server does not answer.
    """
    with _connected(where) as cursor:
        _check(cursor, where)
        unpublished = _unpublished(cursor, where)
        cursor.execute(
            "SELECT wal_status FROM pg_replication_slots WHERE slot_name = %s", [where.slot]
        )
        found = cursor.fetchone()
        there = found is not None and found[0] != "lost"
        if there and not unpublished:
            return False
        renewing()
        _publish(cursor, where, unpublished)
        if there:
            return True
        if found is not None:
            cursor.execute("SELECT pg_drop_replication_slot(%s)", [where.slot])
        cursor.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [where.slot])
        return True


def health(where: Place) -> Health:
    """How far behind the slot is, and whether it is about to be lost or to fill the disk.

    Raises:
        SourceUnavailable: the server does not answer.
    """
    with _connected(where) as cursor:
        cursor.execute(
            "SELECT wal_status, pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn),"
            " current_setting('max_slot_wal_keep_size') FROM pg_replication_slots"
            " WHERE slot_name = %s",
            [where.slot],
        )
        found = cursor.fetchone()
    if found is None:
        return Health(behind=0, trouble="the slot is gone; it is made anew and every id compared")
    status, behind, keeps = found[0], int(found[1] or 0), found[2]
    if status in {"unreserved", "lost"}:
        return Health(behind=behind, trouble=f"the slot is {status}: it is read too slowly")
    if keeps == "-1" and behind > 2**30:
        return Health(
            behind=behind,
            trouble="the slot keeps more than 1 GB of the source's disk, and nothing limits it: "
            "set max_slot_wal_keep_size there",
        )
    return Health(behind=behind)


def _unpublished(cursor: Any, where: Place) -> list[str]:
    """The tables that the publication does not tell of."""
    cursor.execute(
        "SELECT tablename FROM pg_publication_tables WHERE pubname = %s AND schemaname = %s",
        [where.publication, where.schema],
    )
    told = {name for (name,) in cursor.fetchall()}
    return [each for each in (where.table, *where.acl_tables) if each not in told]


def _publish(cursor: Any, where: Place, tables: list[str]) -> None:
    """Have the publication, which is made if need be, tell of these tables too."""
    from psycopg2 import sql

    publication = sql.Identifier(where.publication)
    cursor.execute("SELECT 1 FROM pg_publication WHERE pubname = %s", [where.publication])
    if cursor.fetchone() is None:
        cursor.execute(sql.SQL("CREATE PUBLICATION {}").format(publication))
    for table in tables:
        name = sql.Identifier(where.schema, table)
        cursor.execute(sql.SQL("ALTER PUBLICATION {} ADD TABLE {}").format(publication, name))


def _check(cursor: Any, where: Place) -> None:
    """Refuse what could not be followed without losing something."""
    cursor.execute("SELECT current_setting('wal_level')")
    if cursor.fetchone()[0] != "logical":
        raise _cannot(where, "the server's wal_level is not logical", "Set it and restart it")
    cursor.execute("SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user")
    if not cursor.fetchone()[0]:
        raise _cannot(where, "the role may not replicate", "ALTER ROLE … REPLICATION")
    cursor.execute(_TABLE, {"schema": where.schema, "table": where.table, "key": where.key})
    found = cursor.fetchone()
    if found is None:
        raise _cannot(where, f"there is no column {where.key} there", "Correct the DAG file")
    kind, unique, identity, told = found
    if kind not in _KEY_TYPES or not unique:
        raise _cannot(
            where,
            f"{where.key} is no unique column of text, whole numbers or UUIDs",
            "Name a column that is, or leave `changes` out",
        )
    cursor.execute(_SILENT, {"schema": where.schema, "tables": list(where.acl_tables)})
    for (silent,) in cursor.fetchall():  # its own writers would be refused
        raise _cannot(
            where,
            f"{silent} has no primary key and no replica identity",
            f"ALTER TABLE {silent} REPLICA IDENTITY FULL",
        )
    if identity != "f" and not told:
        raise _cannot(
            where,
            f"its replica identity does not tell which {where.key} was deleted",
            f"ALTER TABLE {where.table} REPLICA IDENTITY FULL",
        )


_TABLE = """
SELECT format_type(a.atttypid, NULL) AS kind,
       a.attnotnull AND EXISTS (
           SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique
               AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum) AS unique,
       c.relreplident AS identity,
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND a.attnum = ANY(i.indkey)
               AND CASE c.relreplident WHEN 'd' THEN i.indisprimary
                                       WHEN 'i' THEN i.indisreplident END) AS told
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = %(key)s AND NOT a.attisdropped
WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND c.relkind IN ('r', 'p')
"""


_SILENT = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(tables)s) AND NOT CASE c.relreplident
    WHEN 'f' THEN true
    WHEN 'n' THEN false
    WHEN 'd' THEN EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
    ELSE true END
"""


@contextmanager
def _connected(where: Place) -> Iterator[Any]:
    import psycopg2

    connection = None
    try:
        connection = psycopg2.connect(where.url, connect_timeout=5)
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor
    except psycopg2.errors.InsufficientPrivilege as error:
        raise _cannot(where, _line(error), "Let the role do that, or make it by hand") from None
    except psycopg2.Error as error:
        raise SourceUnavailable(
            f"the database refused: {_line(error)}",
            subject=where.source,
            cure="Nothing is lost; it is tried again",
        ) from None
    finally:
        if connection is not None:
            connection.close()


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _cannot(where: Place, why: str, cure: str) -> ConfigurationError:
    return ConfigurationError(
        f"cannot be followed: {why}",
        subject=f"{where.source}: {where.schema}.{where.table}",
        cure=cure,
    )
