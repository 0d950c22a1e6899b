"""``sluice prepare``: databases and roles for parts that run on machines of their own.

``sluice up`` does the same for one machine, with passwords that it makes. Here every password comes
from the URL that will use it: nothing is written down, and nothing is left to copy.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable

import psycopg
import sqlalchemy as sa

from sluice.catalog import Catalog
from sluice.catalog.migrate import APP_ROLE, LANDING_ROLE, migrate
from sluice.errors import ConfigurationError, StackError
from sluice.settings import Settings, secret
from sluice.stack import airflow, database

Say = Callable[[str], None]


def prepare(settings: Settings, say: Say, *, sample: bool) -> None:
    """Make the databases and the roles that the settings name, and bring them to this version.

    Running it again changes nothing but passwords that changed; of two that run at once, one waits.

    Args:
        settings: the administrator's URL and those of the two roles.
        say: told of each step once it is taken.
        sample: whether to make and fill the sample company's help desk, ``HELPDESK_URL``.

    Raises:
        ConfigurationError: a URL is not set, or names another role.
        StackError: the server refuses, or a migration failed.
    """
    administrator = _url(settings, "database_url")
    catalog = _url(settings, "catalog_url", APP_ROLE)
    landing = _url(settings, "landing_url", LANDING_ROLE)
    metadata = _airflow_url()
    with database.administrator(administrator) as connection:
        database.ensure_database(connection, str(administrator.database))
        migrate(
            administrator.render_as_string(False),
            app_password=str(catalog.password),
            landing_password=str(landing.password),
        )
        say(f"catalog: migrated; {APP_ROLE} and {LANDING_ROLE} may log in")
        say(_airflow(connection, settings, metadata))
        if sample:
            say(_sample(connection))
    _try(settings, landing)
    say("catalog and landing zone: both URLs lead there")


def _url(settings: Settings, setting: str, role: str | None = None) -> sa.URL:
    """The URL in a setting, which must be one of ``role`` with its password."""
    name = f"SLUICE_{setting.upper()}"
    url = database.parse(name, settings.require(setting))
    if role and (url.username != role or not url.password):
        raise ConfigurationError(
            f"is not a URL of the role {role} with its password",
            subject=name,
            cure=f"Write postgresql://{role}:password@host:5432/database; the role is made for you",
        )
    return url


def _airflow_url() -> sa.URL | None:
    """The database that Airflow is set to, in whichever way it was told; None: no PostgreSQL."""
    name = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
    asked = subprocess.run(
        [sys.executable, "-m", "airflow", "config", "get-value", "database", "sql_alchemy_conn"],
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        why = (asked.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise StackError(
            f"Airflow cannot read it: {why}", subject=name, cure="Mend it, or unset it"
        )
    found = (asked.stdout.split() or [""])[-1]
    return database.parse(name, found) if found.startswith("postgres") else None


def _airflow(connection: psycopg.Connection, settings: Settings, url: sa.URL | None) -> str:
    if url is None:
        return "airflow: left alone, AIRFLOW__DATABASE__SQL_ALCHEMY_CONN names no PostgreSQL"
    here = connection.info
    if (url.host, url.port or 5432) == (here.host, here.port) and url.username != here.user:
        database.ensure_owned(connection, url)
    settings.home.mkdir(parents=True, exist_ok=True)
    airflow.migrate(os.environ, settings.home / "migrate.log")
    return f"airflow: database {url.database} is at {airflow.version()}"


def _sample(connection: psycopg.Connection) -> str:
    url = secret("HELPDESK_URL")
    if url is None:
        raise ConfigurationError(
            "is not set", subject="HELPDESK_URL", cure="Set it, or leave --sample away"
        )
    where = database.parse("HELPDESK_URL", url)
    database.ensure_owned(connection, where)
    tickets = database.seed_helpdesk(where.render_as_string(False))
    return f"sample: {tickets} tickets are in the help desk"


def _try(settings: Settings, landing: sa.URL) -> None:
    """Log in as each role, where its URL says."""
    with contextlib.closing(Catalog(settings.require("catalog_url"), settings.tenant)) as catalog:
        catalog.check()
    try:
        psycopg.connect(landing.render_as_string(False), connect_timeout=5).close()
    except psycopg.Error as error:
        raise StackError(
            str(error).strip().splitlines()[0],
            subject="SLUICE_LANDING_URL",
            cure="Let it name the same database as SLUICE_DATABASE_URL",
        ) from None
