"""What every test may ask for: a real PostgreSQL, and a catalog of its own in it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import weaviate_server
from sluice.catalog import Catalog, connect
from sluice.catalog.migrate import migrate
from sluice.landing import Zone
from sluice.stack import postgres
from xdist.scheduler import LoadScopeScheduling

PASSWORD = "made-up-for-tests"

for name in [n for n in os.environ if n.startswith("SLUICE_")]:
    del os.environ[name]  # a developer's own settings must not reach a test


LONGEST = ("tests/e2e/", "tests/faults/", "tests/properties/")


class OneStack(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives the end-to-end tests, which share one stack, to one worker; all others to anyone."""

    def _split_scope(self, nodeid: str) -> str:
        return "stack" if nodeid.startswith("tests/e2e/") else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneStack:
    """Schedule tests over the workers (``--dist=loadgroup`` finds no group with this pytest)."""
    return OneStack(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no worker ends long after the other."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.Server]:
    """A PostgreSQL server that lives as long as the test session."""
    directory = tmp_path_factory.mktemp("pg") / "data"
    try:
        yield postgres.start(directory, PASSWORD, port=0, durable=False)
    finally:
        postgres.remove(directory)


@pytest.fixture(scope="session")
def database(server: postgres.Server) -> str:
    """The administrator's URL of a migrated database, shared by the session."""
    engine = connect(server.url())
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("CREATE DATABASE sluice"))
    engine.dispose()
    migrate(server.url("sluice"), app_password=PASSWORD, landing_password=PASSWORD)
    return server.url("sluice")


def as_role(url: str, role: str) -> str:
    """The same database, logged in to as ``role``."""
    return sa.make_url(url).set(username=role, password=PASSWORD).render_as_string(False)


@pytest.fixture(scope="session")
def weaviate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[weaviate_server.Server]:
    """A Weaviate that lives as long as the session; each test has collections of its own in it."""
    with weaviate_server.start(tmp_path_factory.mktemp("weaviate")) as server:
        yield server


@pytest.fixture
def catalog_url(database: str) -> str:
    """The catalog, as the application role."""
    return as_role(database, "sluice_app")


@pytest.fixture
def landing_url(database: str) -> str:
    """The same database, as the role that owns the landing schemas."""
    return as_role(database, "sluice_landing")


@pytest.fixture
def zone(landing_url: str) -> Zone:
    """The landing zone of the tenant ``main``."""
    return Zone(landing_url, "main")


@pytest.fixture
def new_catalog(catalog_url: str) -> Iterator[Callable[[], Catalog]]:
    """Make catalogs, each of a tenant of its own: tests share a database and see nothing of it."""
    made: list[Catalog] = []

    def make() -> Catalog:
        made.append(Catalog(catalog_url, f"t-{uuid.uuid4().hex[:12]}"))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def catalog(new_catalog: Callable[[], Catalog]) -> Catalog:
    """A catalog with nothing in it, bound as the application is."""
    return new_catalog()


@pytest.fixture
def shared_data() -> Path:
    """Real corpora beside the project; a test that needs them skips where they are absent."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("skipped: no shared/data beside the project")
    return path
