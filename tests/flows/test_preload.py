"""What Airflow's programs have imported before they fork a task."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LOOK = """
import sys
sys.argv = ["airflow", *{words!r}]
import airflow_local_settings
print(*sys.modules)
"""


def imported(home: Path, *words: str) -> set[str]:
    """The modules that are there once ``airflow <words>`` has read its local settings."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK.format(words=words)],
        env={**os.environ, "AIRFLOW_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("words", [("scheduler",), ("celery", "worker")])
def test_what_forks_tasks_has_imported_what_they_need(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    """All but what starts threads, which would not survive the fork."""
    there = imported(tmp_path, *words)
    assert {"sluice.ingest", "dlt", "great_expectations"} <= there
    assert not {"lancedb", "grpc", "weaviate"} & there


@pytest.mark.parametrize("words", [("api-server",), ("triggerer",), ("celery", "flower")])
def test_what_runs_no_task_imports_none_of_it(words: tuple[str, ...], tmp_path: Path) -> None:
    """Memory and start-up time are paid where they are used."""
    assert not {"sluice.ingest", "dlt", "great_expectations"} & imported(tmp_path, *words)
