"""Makes a PostgreSQL database into a catalog: roles, schema, migrations.

Run as an administrator, once per version; running it again changes nothing. Three roles result:

* the administrator that ran it owns the catalog's tables;
* ``sluice_app`` serves and ingests: it owns nothing, and row level security binds it;
* ``sluice_landing`` owns the ``landing_*`` schemas that dlt writes, and sees no catalog table.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from psycopg import sql

from sluice.catalog import connect

APP_ROLE = "sluice_app"
LANDING_ROLE = "sluice_landing"
_LOCK = 0x51_0C_E0  # one migration at a time, whoever starts it


def migrate(admin_url: str, *, app_password: str, landing_password: str) -> None:
    """Bring the database at ``admin_url`` to this version.

    Args:
        admin_url: a PostgreSQL URL whose role may create roles and schemas.
        app_password: what ``sluice_app`` will log in with.
        landing_password: what ``sluice_landing`` will log in with.
    """
    engine = connect(admin_url)
    try:
        with engine.begin() as connection:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            _ensure_role(connection, APP_ROLE, app_password)
            _ensure_role(connection, LANDING_ROLE, landing_password)
            database = connection.execute(sa.text("SELECT current_database()")).scalar_one()
            _run(connection, "GRANT CREATE ON DATABASE {} TO {}", database, LANDING_ROLE)
            connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS sluice"))
            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def _ensure_role(connection: sa.Connection, role: str, password: str) -> None:
    exists = connection.execute(
        sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}
    ).scalar()
    verb = "ALTER" if exists else "CREATE"
    statement = sql.SQL(
        verb + " ROLE {} LOGIN PASSWORD {} NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE"
    ).format(sql.Identifier(role), sql.Literal(password))
    _execute(connection, statement)


def _run(connection: sa.Connection, template: str, *names: str) -> None:
    _execute(connection, sql.SQL(template).format(*(sql.Identifier(n) for n in names)))


def _execute(connection: sa.Connection, statement: sql.Composed) -> None:
    driver = connection.connection.driver_connection
    assert driver is not None
    connection.exec_driver_sql(statement.as_string(driver).replace("%", "%%"))
