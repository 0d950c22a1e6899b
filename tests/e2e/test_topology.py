"""The distributed deployment as plain processes: two workers that share nothing, one of them dies.

One story, told once: everything rises as docker-compose.yml says, the sample company and the Rust
RFCs are ingested, and while the RFCs are being published the worker at work is killed. The tests
look at what was seen on the way and at what is there in the end.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import sqlalchemy as sa
from livestack import PROJECT, Operator
from rfcs import RFCS, Corpus, make_corpus
from sluice.api.services import Services
from sluice.catalog import Catalog
from sluice.ingest import open_pipeline, run
from sluice.keys import Keys
from sluice.model import Principal
from sluice.ports import Source
from sluice.sources import Files
from sluice.stack.client import DagRun
from topology import Topology, topology

pytestmark = pytest.mark.timeout(1500)

Seen = TypeVar("Seen")
PATIENCE = 300.0  # seconds
SAMPLE = ("permissions", "handbook", "helpdesk")
TICKETS = 527
COMPANY = "user:{}@junipervale.example"
QUESTION = "How much notice do we give before a salary review, and what is the budget?"


@dataclass(frozen=True)
class Story:
    """What was seen while it happened."""

    topology: Topology
    runs: Mapping[str, DagRun]  # by DAG
    hosts: frozenset[str]  # that the first tries of all tasks ran on
    log: str  # of a task, as the API server shows it
    stranger: int  # the status that its worker answers whoever has no key with
    corpus: Corpus
    rfcs: DagRun
    publishes: list[dict[str, Any]]  # the tries of the task that was killed
    taken_over: float  # seconds from the kill to the next try
    finished: float  # seconds from the kill to the end of the run


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Everything up, ingested, one worker killed, and the other one done with its work."""
    data = PROJECT.parent / "shared" / "data"
    if not data.is_dir():
        pytest.skip("skipped: no shared/data beside the project")
    folder = tmp_path_factory.mktemp("topology")
    corpus = make_corpus(data, folder)
    dags = folder / "dags"
    dags.mkdir()
    for path in (PROJECT / "dags").glob("*.py"):
        (dags / path.name).symlink_to(path)
    (dags / "rust_rfcs.py").write_text(corpus.dag_file())
    started = time.monotonic()
    with topology(folder, dags) as stack, contextlib.ExitStack() as opened:
        stack.rise()
        told = {name: round(seconds, 1) for name, seconds in stack.seconds.items()}
        _tell(f"up in {time.monotonic() - started:.1f} s: {told}")
        airflow = Operator(stack.url, "admin", stack.secret("airflow_login").split('"')[3])
        opened.callback(airflow.close)
        airflow._http.timeout = httpx.Timeout(120.0)  # eleven programs have just started
        airflow.sign_in()
        begun = {name: _begin(airflow, name) for name in SAMPLE}
        done = {name: _wait(lambda: _over(airflow, name, begun[name])) for name in SAMPLE}  # noqa: B023  # called at once
        _tell(f"sample company in {time.monotonic() - started:.1f} s from nothing")
        log = _first_workers_log(airflow, done)
        served = f"http://127.0.0.1:{stack.ports['logs']}/log/"
        stranger = httpx.get(f"{served}dag_id=handbook/", trust_env=False).status_code
        rfcs, taken_over, finished = _kill_in_mid_publish(stack, airflow)
        publishes = airflow.tries("rust_rfcs", rfcs.run_id, "publish")
        runs = {**done, "rust_rfcs": rfcs}
        hosts = frozenset(
            airflow.tries(name, dag_run.run_id, task)[0]["hostname"]
            for name, dag_run in runs.items()
            for task in dag_run.tasks
        )
        yield Story(
            stack, runs, hosts, log, stranger, corpus, rfcs, publishes, taken_over, finished
        )


def _kill_in_mid_publish(stack: Topology, airflow: Operator) -> tuple[DagRun, float, float]:
    team = _begin(airflow, "rust_team")
    _wait(lambda: _over(airflow, "rust_team", team))
    begun = _begin(airflow, "rust_rfcs")
    catalog = Catalog(stack.secret("sluice_catalog_url"), "main")
    half_built = "SELECT count(*) FROM sluice.generation WHERE state = 'building'"
    _wait(lambda: _ask(catalog, half_built)[0][0] or None, every=0.02)
    (publish,) = airflow.tries("rust_rfcs", begun, "publish")
    victim = stack.parts[f"worker-{publish['hostname'][-1]}"]
    victim.kill()
    killed = time.monotonic()
    assert _ask(catalog, half_built)[0][0] > 0, "it was too late: nothing was half built any more"
    _wait(lambda: airflow.tries("rust_rfcs", begun, "publish")[1:] or None)
    taken_over = time.monotonic() - killed
    over = _wait(lambda: _over(airflow, "rust_rfcs", begun))
    finished = time.monotonic() - killed
    _tell(f"{victim.name} killed: taken over after {taken_over:.1f} s, done after {finished:.1f} s")
    catalog.close()
    return over, taken_over, finished


def test_every_service_of_the_file_runs_and_is_well(story: Story) -> None:
    """All but the killed worker, by the health checks that the file gives them."""
    (killed,) = {each["hostname"][-1] for each in story.publishes[:1]}
    for name, part in story.topology.parts.items():
        if name != f"worker-{killed}":
            assert part.healthy(), name


def test_both_workers_took_part(story: Story) -> None:
    """Tasks ran on both, and each wrote into folders of its own."""
    assert story.hosts == {"127.0.0.1", "127.0.0.2"}
    assert {run.state for run in story.runs.values()} == {"success"}


def test_a_killed_workers_task_is_taken_over_by_the_other(story: Story) -> None:
    """In mid-publish: another try, on the other worker, within two minutes, and it ends well."""
    first, *others = story.publishes
    assert story.rfcs.state == "success"
    assert others[-1]["state"] == "success"
    assert others[-1]["hostname"] != first["hostname"]
    assert story.taken_over < 120


def test_the_catalog_is_as_one_process_would_have_made_it(story: Story, tmp_path: Path) -> None:
    """Same documents, contents, permissions and numbers of chunks; every ticket is there too."""
    settings = story.topology.settings(tenant="alone", index="lance")
    alone = open_pipeline(settings)
    sources: list[Source] = [
        Files(name="rust_rfcs", url=str(story.corpus.folder)),
        Files(name="handbook", url=str(PROJECT / "include" / "sample" / "handbook")),
    ]
    for source in sources:
        run(alone, source, f"{source.name}:alone")
        here = _state(story.topology, "main", source.name)
        assert here == _state(story.topology, "alone", source.name)
        assert len(here) > 60
    alone.close()
    assert len(_state(story.topology, "main", "rust_rfcs")) == RFCS
    assert len(_state(story.topology, "main", "helpdesk")) == TICKETS


def test_weaviate_holds_what_the_catalog_says_and_nothing_twice(story: Story) -> None:
    """Each live generation's chunks, all of them, once; nothing of the killed try is left."""
    services = Services(story.topology.settings(index="weaviate"))
    placed = {int(generation): int(chunks) for generation, chunks in _ask(services.catalog, PLACED)}
    left = "SELECT state, count(*) FROM sluice.generation GROUP BY state"
    states = {str(state) for state, _ in _ask(services.catalog, left)}
    assert states <= {"live", "collected"}
    assert services.serving.collection.backend == "weaviate"
    assert dict(services.serving.index.count(placed)) == placed
    assert services.serving.index.size() == sum(placed.values())
    services.close()


def test_every_way_in_gives_the_same_answer(story: Story) -> None:
    """Both retrieval processes, the one port before them, and the API inside Airflow."""
    catalog = Catalog(story.topology.secret("sluice_catalog_url"), "main")
    key = Keys(catalog).create("topology", [Principal.parse("domain:junipervale.example")])
    catalog.close()
    ports = story.topology.ports
    for name in ("peter.novak", "maya.cohen"):
        body = {"query": QUESTION, "as": COMPANY.format(name), "k": 10}
        answers = [
            httpx.post(
                f"http://127.0.0.1:{ports[each]}/sluice/v1/search",
                headers={"Authorization": f"Bearer {key}"},
                json=body,
                timeout=60,
            ).json()["hits"]
            for each in ("retrieval-1", "retrieval-2", "proxy", "api-server")
        ]
        assert answers[0]
        assert all(each == answers[0] for each in answers)


def test_a_log_is_read_where_it_lies(story: Story) -> None:
    """The API server has no such file: it asked the worker, with the key that both know."""
    assert f"http://127.0.0.1:{story.topology.ports['logs']}/log/" in story.log
    assert "Pre Execute" in story.log
    assert story.stranger == 403
    api_server = story.topology.parts["api-server"].folder / "logs"
    assert list(api_server.rglob("*.log")) == []


PLACED = """
SELECT p.generation, p.chunk_count
FROM sluice.placement p JOIN sluice.document d ON d.live_generation = p.generation
"""
STATE = """
SELECT d.document_id, d.content_hash, d.meta_hash, a.key, a.hash, p.chunk_count
FROM sluice.document d
JOIN sluice.acl a USING (acl_id)
LEFT JOIN sluice.placement p ON p.generation = d.live_generation
WHERE d.source = :source AND d.deleted_at IS NULL
ORDER BY d.document_id
"""


def _state(stack: Topology, tenant: str, source: str) -> list[tuple[Any, ...]]:
    catalog = Catalog(stack.secret("sluice_catalog_url"), tenant)
    try:
        return _ask(catalog, STATE, source=source)
    finally:
        catalog.close()


def _ask(catalog: Catalog, statement: str, **values: Any) -> list[tuple[Any, ...]]:
    with catalog.begin() as connection:
        return [tuple(row) for row in connection.execute(sa.text(statement), values)]


def _begin(airflow: Operator, dag_id: str) -> str:
    """Start a run as soon as Airflow knows the DAG; return the run's id."""
    _wait(lambda: airflow.unpause(dag_id) or None)
    airflow.ensure_run(dag_id)
    return _wait(lambda: airflow.latest(dag_id)).run_id


def _over(airflow: Operator, dag_id: str, run_id: str) -> DagRun | None:
    found = airflow.run(dag_id, run_id)
    return found if found is not None and found.finished else None


def _first_workers_log(airflow: Operator, runs: Mapping[str, DagRun]) -> str:
    """What the API server shows of a task that ran on the worker whose log server it can ask."""
    for name, dag_run in runs.items():
        for task in dag_run.tasks:
            if airflow.tries(name, dag_run.run_id, task)[0]["hostname"] == "127.0.0.1":
                return airflow.log(name, dag_run.run_id, task)
    return ""


def _wait(look: Callable[[], Seen | None], every: float = 0.3) -> Seen:
    deadline = time.monotonic() + PATIENCE
    while (found := look()) is None:
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(every)
    return found


def _tell(line: str) -> None:
    sys.stdout.write(f"\n{line}, load {os.getloadavg()[0]:.1f}\n")
