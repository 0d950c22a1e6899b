"""From nothing to two answers, and a stack that is used, hurt and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import httpx
import pytest
from livestack import Outcome, Place, Running
from sluice.stack import sample
from sluice.stack.home import Home
from sluice.stack.processes import Record

pytestmark = pytest.mark.timeout(600)

PETER = "user:peter.novak@junipervale.example"
MAYA = "user:maya.cohen@junipervale.example"
NOTICE = "handbook:people-at-work/salary-reviews.md"
BUDGET = "handbook:people/salary-review-2027-budget.md"


def test_two_people_get_different_correct_answers(first: Outcome) -> None:
    """The support agent learns the notice; the people partner learns the budget as well."""
    hits = {answer["person"]: answer["hits"] for answer in first.stack["answers"]}
    assert list(hits) == [PETER, MAYA]
    assert hits[PETER][0]["document_id"] == NOTICE
    assert all(hit["document_id"] != BUDGET for hit in hits[PETER])
    assert any(hit["document_id"] == BUDGET for hit in hits[MAYA])
    assert hits[MAYA][0]["reason"]["via"][0] == MAYA


def test_up_once_leaves_no_process_behind(first: Outcome) -> None:
    """Everything that was started is gone when the command ends."""
    assert first.left == []


def test_the_phases_are_told_with_their_seconds(first: Outcome) -> None:
    """What took how long is part of the answer, so that a slow start can be explained."""
    assert {"PostgreSQL", "Databases", "API server", "Sample company"} <= set(first.phases)
    load = os.getloadavg()[0]
    sys.stdout.write(f"\nup from nothing: {first.seconds:.1f} s, load {load:.1f}: {first.phases}\n")


def test_a_second_up_resumes_and_answers_the_same(first: Outcome, running: Running) -> None:
    """Nothing is seeded or ingested again, and the answers are the ones of before."""
    assert "Sample company" not in running.outcome.phases
    assert running.outcome.stack["answers"] == first.stack["answers"]
    load = os.getloadavg()[0]
    sys.stdout.write(f"\nup again: {running.outcome.seconds:.1f} s, load {load:.1f}\n")


def test_another_up_is_refused_in_one_line(place: Place, running: Running) -> None:
    """A second `sluice up` of one home, and one of another home on the same port, say why not."""
    second = place.sluice("up", "--once")
    assert second.returncode != 0
    assert second.stderr.count("\n") == 1
    assert "Sluice already runs here" in second.stderr
    other = Place(place.home.with_name("other"), place.dags, place.port).sluice("up", "--once")
    assert other.returncode != 0
    assert other.stderr.count("\n") == 1
    assert f"port {place.port} is taken by" in other.stderr
    assert "SLUICE_PORT=" in other.stderr


def test_the_api_in_airflow_is_alive_and_described(running: Running) -> None:
    """Health and OpenAPI need no key; a search needs one."""
    url = running.place.url
    assert httpx.get(f"{url}/sluice/healthz").status_code == 200
    assert "/v1/search" in httpx.get(f"{url}/sluice/openapi.json").json()["paths"]
    assert httpx.post(f"{url}/sluice/v1/search", json={"query": "x"}).status_code == 401


def test_a_second_run_changes_and_embeds_nothing(running: Running) -> None:
    """Each count of the run is in Airflow; all but ``unchanged`` are zero."""
    run = running.run("handbook")
    assert run.state == "success"
    counts = running.airflow.result("handbook", run.run_id, "publish")
    assert counts["unchanged"] >= 60
    for name in ("new", "changed", "acl_only", "metadata_only", "deleted", "quarantined"):
        assert counts[name] == 0, name
    assert counts["embedded"] == 0


def test_data_docs_are_for_whoever_is_signed_in(running: Running) -> None:
    """The link on ``validate`` opens with Airflow's login, and leads nowhere without it."""
    url = running.place.url
    run = running.airflow.latest("handbook")
    assert run is not None
    link = f"{url}{running.airflow.links('handbook', run.run_id, 'validate')['Data Docs']}"
    assert httpx.get(link).status_code == 401
    assert httpx.get(link, headers={"Authorization": "Bearer x"}).status_code == 401
    token = running.airflow.token
    bearer, cookie = {"Authorization": f"Bearer {token}"}, {"_token": token}
    for browser in (httpx.Client(headers=bearer), httpx.Client(cookies=cookie)):
        with browser:
            page = browser.get(link, follow_redirects=True)
        assert page.status_code == 200
        assert "Expectation" in page.text
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for path in ("../stack.json", "%2e%2e/stack.json", "handbook/..%2f..%2fstack.json"):
        outside = f"{url}/sluice/data-docs/{path}"
        answer = httpx.get(outside, headers=bearer)
        assert answer.status_code in {401, 404}, path


def test_a_source_is_backfilled_from_the_command_line(running: Running) -> None:
    """`airflow backfill create` reads an interval again; what is right already is left alone."""
    command = ["-m", "airflow", "backfill", "create", "--dag-id", "helpdesk"]
    dates = ["--from-date", "2026-01-05T09:00:00", "--to-date", "2026-01-05T10:00:00"]
    done = subprocess.run(
        [sys.executable, *command, *dates],
        env={**running.place.environment, "AIRFLOW_HOME": str(running.place.home / "airflow")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    runs = ["backfill__2026-01-05T10:00:00+00:00", "backfill__2026-01-05T11:00:00+00:00"]
    for run_id in runs:
        run = running.wait(lambda: running.over("helpdesk", run_id))  # noqa: B023  # called at once
        assert run.state == "success"
        counts = running.airflow.result("helpdesk", run_id, "publish")
        assert counts["deleted"] == counts["embedded"] == counts["quarantined"] == 0


def test_a_killed_program_comes_back(place: Place, running: Running) -> None:
    """kill -9 of Airflow's DAG processor: another one is there within seconds."""
    path = Home(place.home).runs / "dag-processor.json"
    before = running.wait(lambda: Record.read(path))
    os.kill(before.pid, signal.SIGKILL)
    after = running.wait(lambda: None if Record.read(path) == before else Record.read(path))
    assert after.alive()


def test_the_curl_line_works(running: Running) -> None:
    """The printed line is run as it stands."""
    if subprocess.run(["which", "curl"], capture_output=True, check=False).returncode:
        pytest.skip("skipped: no curl on this machine")
    line = running.outcome.stack["curl"]
    printed = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    assert BUDGET in printed.stdout
    assert sample.QUESTION in line
