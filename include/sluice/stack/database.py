"""The databases: an embedded server or the one that ``SLUICE_DATABASE_URL`` names.

sluice     the catalog and the landing schemas (externally: whichever database the URL names)
airflow    Airflow's own, owned by a role of its own
helpdesk   the sample help desk, a source like any other
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
import yaml
from psycopg import sql

from sluice.catalog.migrate import APP_ROLE, LANDING_ROLE, migrate
from sluice.errors import StackError
from sluice.settings import Settings
from sluice.stack import postgres
from sluice.stack.home import PROJECT, Home, Secrets

SAMPLE = PROJECT / "include" / "sample"
_AIRFLOW = "sluice_airflow"
_HELPDESK = "sluice_helpdesk"


_EMBEDDED = "embedded"
_LOCK = 0x51_0C_E1  # one preparation of a server at a time, whoever starts it


@dataclass(frozen=True, slots=True)
class Databases:
    """Where everything is, each as the role that shall use it."""

    administrator: str  # of the catalog's database
    catalog: str
    landing: str
    airflow: str
    helpdesk: str


def start(settings: Settings, home: Home) -> Databases:
    """Start the embedded server, or find the external one; the databases may not be there yet.

    Raises:
        StackError: it does not start, or the home was set up with another one.
    """
    kept = home.open()
    if settings.database_url is not None:
        url = parse("SLUICE_DATABASE_URL", settings.database_url.get_secret_value())
        where, port = f"{url.host}:{url.port or 5432}/{url.database}", 0
    else:
        server = postgres.start(home.postgres, kept.administrator, port=_port(kept.postgres_port))
        url, where, port = sa.make_url(server.url("sluice")), _EMBEDDED, server.port
    if kept.database not in (None, where):
        raise StackError(
            f"was set up with another database ({kept.database})",
            subject=str(home.path),
            cure="Set SLUICE_DATABASE_URL as it was then, or choose another SLUICE_HOME",
        )
    kept = replace(kept, database=where, postgres_port=port)
    home.save(kept)

    def reach(role: str, password: str, database: str | None = url.database) -> str:
        return url.set(username=role, password=password, database=database).render_as_string(False)

    return Databases(
        administrator=url.render_as_string(False),
        catalog=reach(APP_ROLE, kept.app),
        landing=reach(LANDING_ROLE, kept.landing),
        airflow=reach(_AIRFLOW, kept.airflow, "airflow"),
        helpdesk=reach(_HELPDESK, kept.helpdesk, "helpdesk"),
    )


def create(databases: Databases, kept: Secrets) -> None:
    """Create the databases and the roles that own them; running it again changes nothing."""
    embedded = kept.database == _EMBEDDED
    here = sa.make_url(databases.administrator)
    with administrator(here, embedded=embedded) as connection:
        ensure_database(connection, str(here.database))
        for url in (databases.airflow, databases.helpdesk):
            ensure_owned(connection, sa.make_url(url))


def ensure_owned(connection: psycopg.Connection, url: sa.URL) -> None:
    """Make the role that ``url`` names, with the password in it, and its database."""
    _ensure_role(connection, str(url.username), str(url.password))
    ensure_database(connection, str(url.database), owner=url.username)


def ensure_database(connection: psycopg.Connection, name: str, owner: str | None = None) -> None:
    """Make a database, unless it is there."""
    if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
        return
    statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    if owner:
        statement = sql.SQL("{} OWNER {}").format(statement, sql.Identifier(owner))
    connection.execute(statement)


def migrate_catalog(databases: Databases, kept: Secrets) -> None:
    """Bring the catalog to this version."""
    migrate(databases.administrator, app_password=kept.app, landing_password=kept.landing)


def seed_helpdesk(url: str) -> int:
    """Fill the sample help desk, once; return how many tickets it holds."""
    folder = SAMPLE / "helpdesk"
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute((folder / "schema.sql").read_bytes())
        _insert(cursor, "queue_access", yaml.safe_load((folder / "queues.yaml").read_text()))
        for path in sorted(folder.glob("tickets-*.jsonl")):
            _insert(cursor, "ticket", _lines(path))
        cursor.execute("SELECT count(*) FROM ticket")
        counted = cursor.fetchone()
    return int(counted[0]) if counted else 0


def parse(name: str, text: str) -> sa.URL:
    """Read the URL of a PostgreSQL database, as libpq writes it; ``name`` is where it was set.

    Raises:
        StackError: it is the URL of something else.
    """
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        url = sa.make_url("unreadable://")
    if url.get_backend_name() not in {"postgresql", "postgres"} or not url.database:
        raise StackError(
            "is not the URL of a PostgreSQL database",
            subject=name,
            cure="Write it as postgresql://role:password@host:5432/database",
        )
    return url.set(drivername="postgresql")


def _port(last: int) -> int:
    """The port of the last time if nothing has taken it since, else a free one."""
    return last if last and not postgres.listens(last) else 0


@contextmanager
def administrator(url: sa.URL, *, embedded: bool = False) -> Iterator[psycopg.Connection]:
    """Connect to a database that is always there; whoever else does meanwhile waits.

    Raises:
        StackError: the server does not let this role in, or not do what it is about to do.
    """
    where = url.set(database="postgres")
    subject = f"PostgreSQL at {where.host}:{where.port or 5432}"
    try:
        with psycopg.connect(
            where.render_as_string(False), autocommit=True, connect_timeout=5
        ) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
            yield connection
    except psycopg.OperationalError as error:
        raise StackError(
            str(error).strip().splitlines()[0].rpartition("FATAL:  ")[2],
            subject=subject,
            cure="`sluice reset` starts afresh" if embedded else "Check SLUICE_DATABASE_URL",
        ) from None
    except psycopg.errors.InsufficientPrivilege as error:
        raise StackError(
            f"not an administrator: {str(error).strip().splitlines()[0]}",
            subject=subject,
            cure="Name a role in SLUICE_DATABASE_URL that may create roles and databases",
        ) from None


def _ensure_role(connection: psycopg.Connection, role: str, password: str) -> None:
    known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
    statement = sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(
        sql.SQL("ALTER" if known else "CREATE"), sql.Identifier(role), sql.Literal(password)
    )
    connection.execute(statement)
    if not known:  # or an administrator who is no superuser may not give it a database
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(role)))


def _insert(cursor: psycopg.Cursor[Any], table: str, rows: list[dict[str, Any]]) -> None:
    """Insert rows that are not there yet."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join(sql.Placeholder() * len(columns)),
    )
    cursor.executemany(statement, [[row.get(name) for name in columns] for row in rows])


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
