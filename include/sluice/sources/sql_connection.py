"""The database behind a table: connections, and the table as it is now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from sluice.errors import ConfigurationError, SchemaDrift, SourceUnavailable
from sluice.model import Column

if TYPE_CHECKING:
    from sluice.sources.sql_table import SqlTable

SNAPSHOT = {"postgresql", "mysql", "mariadb"}  # where REPEATABLE READ shows one instant


def columns(source: SqlTable) -> Sequence[Column]:
    """Return the columns of the live table; errors as in :meth:`SqlTable.columns`."""
    with connect(source) as connection:
        try:
            found = sa.inspect(connection).get_columns(source.table, source.schema)
        except sa.exc.NoSuchTableError:
            raise _no_table(source) from None
        return [
            Column(
                name=c["name"], type=_type_name(c["type"]), required=c["name"] in source.required
            )
            for c in found
        ]


@contextmanager
def connect(source: SqlTable) -> Iterator[sa.Connection]:
    """Open one read-only transaction; say in one line what the driver said in many."""
    try:
        engine = sa.create_engine(_url(source.address), poolclass=sa.NullPool)
    except (sa.exc.ArgumentError, ModuleNotFoundError, sa.exc.NoSuchModuleError) as error:
        raise ConfigurationError(
            f"not the URL of a database that can be read here: {type(error).__name__}",
            subject=source.name,
            cure="Write dialect+driver://user:password@host/database and install the driver",
        ) from None
    try:
        with engine.connect() as connection:
            if engine.dialect.name in SNAPSHOT:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            if engine.dialect.name == "postgresql":
                _read_odd_times(connection)
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")  # its driver begins none for a SELECT
            yield connection
    except sa.exc.DBAPIError as error:
        reason = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
        raise SourceUnavailable(
            f"the database refused: {reason[0]}",
            subject=source.name,
            cure="Nothing was changed; the next run reads again",
        ) from error
    finally:
        engine.dispose()


def _url(address: str) -> sa.URL:
    url = sa.make_url(address)
    if url.drivername in {"postgres", "postgresql"}:
        return url.set(drivername="postgresql+psycopg")
    return url


def reflect(connection: sa.Connection, source: SqlTable) -> sa.Table:
    """The table as it is now.

    Raises:
        SchemaDrift: it is gone, or lacks a column that it cannot be read without.
    """

    def as_stored(_: Any, __: Any, column: Any) -> None:
        column["type"] = sa.types.NullType()

    # SQLite's types are promises that rows break: its values are taken as they are stored.
    listeners = [("column_reflect", as_stored)] if connection.dialect.name == "sqlite" else []
    try:
        table = sa.Table(
            source.table,
            sa.MetaData(),
            schema=source.schema,
            autoload_with=connection,
            resolve_fks=False,
            listeners=listeners,
        )
    except sa.exc.NoSuchTableError:
        raise _no_table(source) from None
    if gone := sorted(source.required - set(table.c.keys())):
        raise SchemaDrift(
            f"column {gone[0]} is gone, and the table cannot be read without it",
            subject=f"{source.name}: {table.fullname}",
            cure="Restore it, or name another column in the DAG file",
        )
    return table


def declared_unique(connection: sa.Connection, source: SqlTable) -> bool:
    """Whether the database itself keeps the key unique."""
    inspector = sa.inspect(connection)
    primary = inspector.get_pk_constraint(source.table, source.schema)
    unique = inspector.get_unique_constraints(source.table, source.schema)
    declared = [primary.get("constrained_columns"), *(u["column_names"] for u in unique)]
    return [source.key] in declared


def _read_odd_times(connection: sa.Connection) -> None:
    """Let times that Python cannot hold (infinity, 44 BC) come as text, not as an error."""
    from psycopg import DataError
    from psycopg.types import datetime as loaders

    for name, parent in (
        ("date", loaders.DateLoader),
        ("timestamp", loaders.TimestampLoader),
        ("timestamptz", loaders.TimestamptzLoader),
    ):

        def load(self: Any, raw: Any, parent: Any = parent) -> Any:
            try:
                return parent.load(self, raw)
            except DataError:
                return bytes(raw).decode()

        adapters = connection.connection.driver_connection.adapters  # type: ignore[union-attr]  # psycopg's
        adapters.register_loader(name, type("Lenient", (parent,), {"load": load}))


def _no_table(source: SqlTable) -> SchemaDrift:
    return SchemaDrift(
        "the table is gone",
        subject=f"{source.name}: {source.table}",
        cure="Restore it, or correct the DAG file",
    )


def _type_name(kind: Any) -> str:
    try:
        return str(kind)
    except sa.exc.CompileError:
        return type(kind).__name__
