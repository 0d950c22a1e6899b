"""The DAG files: Airflow reads them, quickly and always alike; their runbooks help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
INGEST = ["handbook", "helpdesk"]
HEAVY = {"dlt", "great_expectations", "lancedb", "pandas", "pyarrow", "scipy", "tokenizers"}

READ = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization

bag = DagBag(sys.argv[1])
print(json.dumps({
    "errors": bag.import_errors,
    "dags": {name: DagSerialization.to_dict(dag) for name, dag in sorted(bag.dags.items())},
    "seconds": [each.duration.total_seconds() for each in bag.dagbag_stats],
    "modules": sorted({name.partition(".")[0] for name in sys.modules}),
}, default=str))
"""


def read(home: Path) -> dict[str, Any]:
    """What Airflow makes of ``dags/``, in a process of its own, as its DAG processor would."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(PROJECT / "dags")],
        env={"AIRFLOW_HOME": str(home), "PATH": "", "PYTHONHASHSEED": "random"},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Two readings, by two processes with different hash seeds."""
    home = tmp_path_factory.mktemp("airflow")
    return [read(home) for _ in range(2)]


def test_every_dag_file_can_be_read(readings: list[dict[str, Any]]) -> None:
    """No import error, and the DAGs that the quick start names are there."""
    first = readings[0]
    assert first["errors"] == {}
    assert list(first["dags"]) == ["handbook", "helpdesk", "permissions", "reindex"]


def test_reading_twice_gives_the_same_dag(readings: list[dict[str, Any]]) -> None:
    """Nothing in a DAG changes by itself: or Airflow would store a new version each time."""
    assert readings[0]["dags"] == readings[1]["dags"]


def test_reading_loads_nothing_heavy(readings: list[dict[str, Any]]) -> None:
    """Every task reads its DAG file, so a file must not import what only some tasks need."""
    assert not HEAVY & set(readings[0]["modules"])
    assert max(readings[0]["seconds"]) < 2.0


@pytest.mark.parametrize("name", INGEST)
def test_an_ingest_dag_is_three_tasks_that_run_one_at_a_time(
    readings: list[dict[str, Any]], name: str
) -> None:
    """extract → validate → publish, each at most once at any moment, also in backfills."""
    dag = readings[0]["dags"][name]["dag"]
    tasks = {task["__var"]["task_id"]: task["__var"] for task in dag["tasks"]}
    assert list(tasks) == ["extract", "validate", "publish"]
    assert tasks["extract"]["downstream_task_ids"] == ["validate"]
    assert tasks["validate"]["downstream_task_ids"] == ["publish"]
    assert {task["max_active_tis_per_dag"] for task in tasks.values()} == {1}
    assert dag["max_active_runs"] == 1
    assert dag["catchup"] is False


def test_the_index_is_moved_by_hand_alone(readings: list[dict[str, Any]]) -> None:
    """No schedule; whoever triggers it need not look for a switch first; four steps in a row."""
    dag = readings[0]["dags"]["reindex"]["dag"]
    assert "NullTimetable" in str(dag["timetable"])
    assert dag["is_paused_upon_creation"] is False
    assert dag["max_active_runs"] == 1
    tasks = {task["__var"]["task_id"]: task["__var"] for task in dag["tasks"]}
    assert list(tasks) == ["forecast", "build", "compare", "switch"]
    downstream = [task.get("downstream_task_ids", []) for task in tasks.values()]
    assert downstream == [["build"], ["compare"], ["switch"], []]


@pytest.mark.parametrize("name", [*INGEST, "permissions", "reindex"])
def test_the_docstring_is_the_runbook(readings: list[dict[str, Any]], name: str) -> None:
    """Whoever is woken by a DAG finds its owner, what it reads and what to do, on its page."""
    text = readings[0]["dags"][name]["dag"]["doc_md"]
    assert text.startswith("# ")
    assert "Owner:" in text
    assert "## When something is wrong" in text


@pytest.mark.parametrize("name", INGEST)
def test_the_runbook_tells_how_to_triage_and_backfill(
    readings: list[dict[str, Any]], name: str
) -> None:
    """A held load, the quarantine and a backfill are explained where they are met."""
    text = readings[0]["dags"][name]["dag"]["doc_md"]
    for word in ("Publish a held load", "sluice quarantine list", "airflow backfill create"):
        assert word in text


APART = """
import json
from permitted import Office
from sluice.flows import source_permissions_dag

dag = source_permissions_dag(Office(name="office"), runbook="# Office", owner="it")
print(json.dumps({
    "id": dag.dag_id,
    "tasks": dag.task_ids,
    "params": list(dag.params),
    "at_a_time": dag.max_active_runs,
    "tags": sorted(dag.tags),
    "schedule": dag.timetable.expression,
    "timetable": type(dag.timetable).__name__,
}))
"""


def test_a_source_may_have_a_dag_for_its_permissions_alone(tmp_path: Path) -> None:
    """Named after it, one task, every five minutes, one run at a time; a loss can be accepted."""
    done = subprocess.run(
        [sys.executable, "-c", APART],
        env={"AIRFLOW_HOME": str(tmp_path), "PATH": "", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "id": "office_permissions",
        "tasks": ["sync"],
        "params": ["accept_loss"],
        "at_a_time": 1,
        "tags": ["office", "sluice"],
        "schedule": "*/5 * * * *",
        "timetable": "CronDataIntervalTimetable",
    }


LIVE = """
import json
from sluice.flows import ingest_dag
from sluice.sources import Replication, SqlTable

dag = ingest_dag(
    SqlTable(
        name="desk", url_env="DESK_URL", table="ticket", key="id", title="t", text=("b",),
        acl_column="queue", changes=Replication(acl_tables=("queue_access",)),
    ),
    runbook="# Desk",
)
(asset,) = dag.timetable.asset_condition.objects
(watcher,) = asset.watchers
print(json.dumps({"tasks": dag.task_ids, "trigger": watcher.trigger.serialize()}))
"""


def test_a_table_that_is_followed_rings_a_dag_of_one_task_and_names_no_url() -> None:
    """What follows it is stored for all to read: it says where the URL is."""
    done = subprocess.run(
        [sys.executable, "-c", LIVE],
        env={**os.environ, "DESK_URL": "postgresql://u:secret@h/d"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    path, arguments = seen["trigger"]
    assert seen["tasks"] == ["live"]
    assert path == "sluice.flows.watching.StreamTrigger"
    assert arguments["slot"] == arguments["publication"] == "sluice_desk"
    assert arguments["acl_tables"] == ["queue_access"]
    assert "secret" not in done.stdout
