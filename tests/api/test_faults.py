"""What happens between question and answer when something is pulled away in between."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from serving import Site, open_site
from sluice.api.guard import AT_A_TIME
from sluice.catalog import connect
from sluice.catalog.migrate import APP_ROLE, migrate
from sluice.settings import Settings
from sluice.stack import postgres
from world import ADA, SOURCE

PASSWORD = "made-up-for-tests"
ASK = {"query": "kettle", "as": str(ADA)}


@contextlib.contextmanager
def held_up(agent: httpx.Client, admin_url: str) -> Iterator[Future[httpx.Response]]:
    """A question that has passed its key check and waits for the grants, which are locked."""
    engine = connect(admin_url)
    with (
        ThreadPoolExecutor(1) as elsewhere,
        contextlib.suppress(sa.exc.OperationalError),
        engine.connect() as connection,
    ):
        connection.execute(sa.text("LOCK TABLE sluice.acl_grant IN ACCESS EXCLUSIVE MODE"))
        asked = elsewhere.submit(agent.post, "/v1/search", json=ASK)
        waiting = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        while not connection.execute(waiting).scalar():
            assert not asked.done(), asked.result().text
            time.sleep(0.01)
        yield asked
    engine.dispose()


def test_a_key_revoked_in_mid_flight_gets_no_answer(site: Site, database: str) -> None:
    """Revoked after its check and before the answer: 401, and not a word of the page."""
    key = site.services.keys.create("short-lived", [ADA])
    headers = {"X-API-Key": key}
    with httpx.Client(base_url=site.url, headers=headers, trust_env=False, timeout=30) as agent:
        with held_up(agent, database) as asked:
            site.services.keys.revoke(key.split("_")[1])
        response = asked.result(20)
    assert response.status_code == 401
    assert "kettle" not in response.text


def test_a_right_revoked_in_mid_flight_counts(site: Site, database: str) -> None:
    """Permissions that ceased to hold while the question was under way allow nothing."""
    with held_up(site.agent, database) as asked:
        site.world.age(SOURCE, timedelta(seconds=1), timedelta(hours=1))
    assert asked.result(20).json()["hits"] == []
    site.world.age(SOURCE, None, timedelta(0))
    assert len(site.agent.post("/v1/search", json=ASK).json()["hits"]) == 1


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[tuple[postgres.Server, Path]]:
    """A PostgreSQL server that this test may stop, already a catalog."""
    directory = tmp_path / "pg"
    try:
        server = postgres.start(directory, PASSWORD, port=0, durable=False)
        migrate(server.url(), app_password=PASSWORD, landing_password=PASSWORD)
        yield server, tmp_path / "home"
    finally:
        postgres.remove(directory)


def test_a_catalog_that_goes_away_is_a_503_and_comes_back(
    own_server: tuple[postgres.Server, Path],
) -> None:
    """Stopped in mid-request it costs that request and those after it, and nothing else."""
    server, home = own_server
    url = sa.make_url(server.url()).set(username=APP_ROLE).render_as_string(False)
    with open_site(Settings(home=home, catalog_url=url)) as site:
        assert site.agent.post("/v1/search", json=ASK).status_code == 200
        with held_up(site.agent, server.url()) as asked:
            postgres.stop(server.directory)
            started = time.monotonic()
            assert asked.result(20).status_code == 503
        for ask in (
            lambda: site.agent.post("/v1/search", json=ASK),
            lambda: site.agent.get(
                "/v1/documents/wiki:x", headers={"X-Sluice-On-Behalf-Of": str(ADA)}
            ),
        ):
            response = ask()
            assert response.status_code == 503
            assert response.json()["error"]["message"] == "the catalog does not answer"
        assert site.agent.get("/healthz/ready").json()["catalog"] is False
        assert time.monotonic() - started < 10
        assert site.agent.get("/healthz").status_code == 200
        postgres.start(server.directory, PASSWORD, port=server.port, durable=False)
        assert site.agent.post("/v1/search", json=ASK).status_code == 200
        assert site.agent.get("/healthz/ready").status_code == 200


@contextlib.contextmanager
def crowd(site: Site, database: str, number: int) -> Iterator[list[Future[httpx.Response]]]:
    """So many questions that wait for the catalog; they are answered when the body has ended."""
    engine = connect(database)
    with ThreadPoolExecutor(number) as people:
        with engine.connect() as connection:
            connection.execute(sa.text("LOCK TABLE sluice.acl_grant IN ACCESS EXCLUSIVE MODE"))
            asked = [people.submit(site.agent.post, "/v1/search", json=ASK) for _ in range(number)]
            yield asked
        done = {each.result(30).status_code for each in asked}
    engine.dispose()
    assert {200} <= done <= {200, 429}  # one may have come after somebody else


def test_more_than_can_be_worked_on_is_refused_at_once(site: Site, database: str) -> None:
    """How the process is may be asked all the same; when it is over, everybody may ask."""
    with crowd(site, database, AT_A_TIME) as asked:
        refused = _refused(site)
        assert refused.headers["Retry-After"] == "1"
        assert refused.json()["error"]["code"] == "overloaded"
        assert httpx.get(f"{site.url}/healthz", trust_env=False).status_code == 200
        assert all(each.result().status_code == 429 for each in asked if each.done())
    assert site.agent.post("/v1/search", json=ASK).status_code == 200


def _refused(site: Site) -> httpx.Response:
    """The answer to one who comes when as many are there as can be worked on."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with contextlib.suppress(httpx.TimeoutException):
            return site.agent.post("/v1/search", json=ASK, timeout=0.5)
    raise AssertionError("nobody was refused")
