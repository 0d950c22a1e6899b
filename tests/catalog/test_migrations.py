"""A catalog of an earlier release becomes one of this release, and serves on."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
import sluice.catalog
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from conftest import PASSWORD, as_role
from sluice.catalog import Catalog, collections, connect, placements
from sluice.catalog.migrate import migrate
from sluice.stack import postgres

OWNER = "an_administrator"
BEFORE = """
INSERT INTO sluice.generation (generation, document_id, source, native_id, run_id, state, recipe,
    title, text, uri, acl_key, content_hash, meta_hash, chunk_count)
VALUES (1, 's:a', 's', 'a', 'r', 'collected', 'x', 'T', '', 'u', '/', 'h', 'h', 1),
       (2, 's:a', 's', 'a', 'r', 'live', 'x', 'T', 'text', 'u', '/', 'h', 'h', 3),
       (3, 's:b', 's', 'b', 'r', 'retired', 'x', 'T', 'text', 'u', '/', 'h', 'h', 2)
"""


def upgrade(connection: sa.Connection, revision: str) -> None:
    """Bring a catalog to a revision of its schema."""
    config = Config()
    folder = Path(sluice.catalog.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


@pytest.fixture
def old(server: postgres.Server) -> str:
    """The URL of a catalog in its first shape, whose owner is no superuser."""
    name = f"old_{uuid.uuid4().hex[:8]}"
    engine = connect(server.url())
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.execute(
            sa.text("SELECT 1 FROM pg_roles WHERE rolname = :owner"), {"owner": OWNER}
        ).scalar():
            connection.execute(
                sa.text(f"CREATE ROLE {OWNER} LOGIN CREATEROLE PASSWORD '{PASSWORD}'")
            )
        connection.execute(sa.text(f"CREATE DATABASE {name} OWNER {OWNER}"))
    engine.dispose()
    migrate(server.url(name), app_password=PASSWORD, landing_password=PASSWORD)  # makes the roles
    url = as_role(server.url(name), OWNER)
    engine = connect(server.url(name))
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA sluice CASCADE"))
        connection.execute(sa.text(f"CREATE SCHEMA sluice AUTHORIZATION {OWNER}"))
        connection.execute(sa.text(f"SET LOCAL ROLE {OWNER}"))
        upgrade(connection, "0001")
    engine.dispose()
    return url


def test_what_was_indexed_before_there_were_collections_serves_on(
    old: str, server: postgres.Server
) -> None:
    """Its table is the serving collection of each tenant that has documents, and placed whole."""
    for tenant in ("one", "two"):
        catalog = Catalog(as_role(old, "sluice_app"), tenant)
        with catalog.begin() as connection:
            connection.execute(sa.text(BEFORE))
        catalog.close()
    engine = connect(old)
    with engine.begin() as connection:
        upgrade(connection, "head")
    engine.dispose()
    for tenant, known in (("one", True), ("two", True), ("three", False)):
        catalog = Catalog(as_role(old, "sluice_app"), tenant)
        with catalog.begin() as connection:
            serving = collections.serving(connection)
            assert (serving is not None) is known
            if serving:
                assert serving.name == "chunks-wordllama-l2-supercat-256-256-a1-v1"
                assert placements.expected(connection, serving.collection_id) == {2: 3}
                assert placements.size(connection, serving.collection_id) == 5
            assert len(collections.installation(connection)) == 8
        catalog.close()


def test_a_tenant_sees_no_collection_of_another(old: str, server: postgres.Server) -> None:
    """Row level security binds the new tables as it does the old, for their owner too."""
    test_what_was_indexed_before_there_were_collections_serves_on(old, server)
    engine = connect(old)
    with engine.begin() as connection:
        for table in ("collection", "placement", "generation"):
            assert connection.execute(sa.text(f"SELECT count(*) FROM sluice.{table}")).scalar() == 0
    engine.dispose()
