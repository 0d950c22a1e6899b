"""The index is moved by its DAG, while agents ask the running stack."""

from __future__ import annotations

import json

import pytest
from livestack import Running
from sluice.stack import sample

pytestmark = pytest.mark.timeout(900)

PERSON = "user:peter.novak@junipervale.example"


def collections(running: Running) -> list[tuple[int, str, str]]:
    """Number, state and embedder of every collection, the oldest first."""
    listed = json.loads(running.place.sluice("index", "list", "--json").stdout)
    return [(each["collection_id"], each["state"], each["embedder"]) for each in listed]


def test_the_dag_moves_the_index_and_agents_notice_nothing(running: Running) -> None:
    """Nothing to do: all is skipped. Another model: four steps, and the same server answers on."""
    named = ("--agent", "mover", "--for", "anyone", "--json")
    key = json.loads(running.place.sluice("keys", "create", *named).stdout)["key"]
    before = running.search(key, PERSON, sample.QUESTION)
    assert before
    idle = running.run("reindex")
    assert idle.state == "success"
    assert set(idle.tasks.values()) == {"skipped"}

    moved = running.run("reindex", embedder="local-static-64")
    assert moved.state == "success", running.airflow.log("reindex", moved.run_id, "build")
    told = running.airflow.result("reindex", moved.run_id, "forecast")
    built = running.airflow.result("reindex", moved.run_id, "build")
    compared = running.airflow.result("reindex", moved.run_id, "compare")
    assert told["documents"] == built["documents"] == compared["generations"] > 0
    assert all(each["recall"] > 0.95 for each in compared["recalls"])
    assert [each[1:] for each in collections(running)] == [
        ("kept", "local-static"),
        ("serving", "local-static-64"),
    ]
    after = running.search(key, PERSON, sample.QUESTION)
    assert after[0]["document_id"] == before[0]["document_id"]
    assert running.run("handbook").state == "success"  # it publishes to both

    wrong = running.run("reindex", embedder="nobodys")
    assert wrong.state == "failed" and wrong.tasks["forecast"] == "failed"
    assert "no such embedder" in running.airflow.log("reindex", wrong.run_id, "forecast")

    assert running.place.sluice("index", "rollback").returncode == 0
    assert running.search(key, PERSON, sample.QUESTION) == before
    number = str(collections(running)[1][0])
    assert running.place.sluice("index", "drop", number, "--yes").returncode == 0
