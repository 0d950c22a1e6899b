"""The databases, in a server of one's own: made, found again, and refused in one line."""

from __future__ import annotations

import uuid
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from sluice.errors import StackError
from sluice.settings import Settings
from sluice.stack import database, postgres
from sluice.stack.home import Home


def settings(tmp_path: Path, url: str | None) -> Settings:
    """Settings that name an external database."""
    return Settings(home=tmp_path / "home", database_url=url)


def test_everything_is_made_in_a_server_of_ones_own(
    tmp_path: Path, server: postgres.Server
) -> None:
    """An administrator who is no superuser suffices; a second time changes nothing."""
    name = f"d{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'p%w@d' CREATEDB CREATEROLE")
        connection.execute(f"CREATE DATABASE {name} OWNER {name}")
    url = sa.make_url(server.url(name)).set(username=name, password="p%w@d")
    given = settings(tmp_path, url.render_as_string(False))
    home = Home(given.home)
    for _ in range(2):
        databases = database.start(given, home)
        database.create(databases, home.open())
        tickets = database.seed_helpdesk(databases.helpdesk)
    assert tickets >= 500
    with psycopg.connect(databases.airflow) as connection:
        assert connection.info.dbname == "airflow"
        [owner] = connection.execute(
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'airflow'"
        ).fetchall()
        assert owner == (connection.info.user,)
    with psycopg.connect(server.url(), autocommit=True) as connection:
        for made in ("airflow", "helpdesk", name):
            connection.execute(f"DROP DATABASE {made} WITH (FORCE)")
        for role in ("sluice_airflow", "sluice_helpdesk", name):
            connection.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize("url", ["nonsense", "mysql://root@localhost/x", "postgresql://localhost"])
def test_a_url_of_something_else_is_refused(tmp_path: Path, url: str) -> None:
    """What is no PostgreSQL database is named with the form that is wanted."""
    given = settings(tmp_path, url)
    with pytest.raises(StackError, match=r"SLUICE_DATABASE_URL: .*postgresql://"):
        database.start(given, Home(given.home))


def test_a_wrong_password_is_one_clear_line(tmp_path: Path, server: postgres.Server) -> None:
    """What the server says, and the setting to check."""
    given = settings(tmp_path, server.url().replace(server.password, "wrong"))
    home = Home(given.home)
    with pytest.raises(StackError, match=r"password authentication failed.*SLUICE_DATABASE_URL"):
        database.create(database.start(given, home), home.open())


def test_a_home_belongs_to_one_database(tmp_path: Path, server: postgres.Server) -> None:
    """Another database under the same home would find an index and keys that are not its own."""
    given = settings(tmp_path, server.url("one"))
    database.start(given, Home(given.home))
    other = settings(tmp_path, server.url("two"))
    with pytest.raises(StackError, match="was set up with another database"):
        database.start(other, Home(other.home))
