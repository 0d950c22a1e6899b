"""A whole stack as its user sees it: a home, a port, and the commands that are run on it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import psutil
from sluice.stack import postgres
from sluice.stack.client import AirflowClient, DagRun
from sluice.stack.home import Home

Seen = TypeVar("Seen")

PROJECT = Path(__file__).resolve().parents[1]
PATIENCE = 240.0  # seconds; everything takes a tenth of it on a quiet machine


@dataclass(frozen=True)
class Place:
    """Where the stack lives: a home, a port, and a folder of DAG files that a test may add to."""

    home: Path
    dags: Path
    port: int
    further: Mapping[str, str] = field(default_factory=dict)  # variables of every command

    @property
    def environment(self) -> dict[str, str]:
        """What every command of this stack is run with."""
        return {
            **{k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
            "SPT_NOENV": "1",  # or what renames itself hides its environment from processes()
            "SLUICE_HOME": str(self.home),
            "SLUICE_PORT": str(self.port),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            **self.further,
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def sluice(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-c", "from sluice.cli import main; main()", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def processes(self) -> list[str]:
        """The command lines of everything that belongs to this home and runs."""
        found = []
        for process in psutil.process_iter():
            try:
                words = " ".join(process.cmdline())
                ours = process.environ().get("SLUICE_HOME") == str(self.home)
                if (ours or str(self.home) in words) and process.pid != os.getpid():
                    found.append(words)
            except psutil.Error:
                continue
        return found


class Operator(AirflowClient):
    """Someone who looks at Airflow more closely than `sluice up` has to."""

    @property
    def token(self) -> str:
        """What signs this user in."""
        return self._http.headers["Authorization"].partition(" ")[2]

    def result(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """What a task returned."""
        task = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}"
        return self._get(f"{task}/xcomEntries/return_value").get("value")

    def tries(self, dag_id: str, run_id: str, task_id: str) -> list[dict[str, Any]]:
        """Each try of a task, the first one first, with the host that it ran on."""
        task = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}"
        found = self._get(f"{task}/tries").get("task_instances", [])
        return sorted(found, key=lambda each: int(each["try_number"]))

    def links(self, dag_id: str, run_id: str, task_id: str) -> dict[str, str]:
        """A task's extra links, by name."""
        task = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}"
        return dict(self._get(f"{task}/links").get("extra_links", {}))

    def log(self, dag_id: str, run_id: str, task_id: str) -> str:
        """What the first try of a task logged."""
        task = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}"
        return str(self._get(f"{task}/logs/1", full_content=True).get("content", ""))


@dataclass(frozen=True)
class Outcome:
    """What a `sluice up --json` printed, and how long that took."""

    stack: Mapping[str, Any]
    phases: Mapping[str, float]
    seconds: float  # until it was printed
    left: list[str]  # processes that ran after it ended; empty while it runs


@dataclass(frozen=True)
class Running:
    """A stack that is up."""

    place: Place
    outcome: Outcome
    airflow: Operator

    def search(self, key: str, person: str, query: str, k: int = 10) -> list[dict[str, Any]]:
        """Ask as an agent does; return the hits."""
        answer = httpx.post(
            f"{self.place.url}/sluice/v1/search",
            headers={"Authorization": f"Bearer {key}"},
            json={"query": query, "as": person, "k": k},
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
        return list(answer.json()["hits"])

    def run(self, dag_id: str, **params: Any) -> DagRun:
        """Trigger a DAG and wait until that run is over."""
        run_id = self.airflow.trigger(dag_id, **params)
        return self.wait(lambda: self.over(dag_id, run_id))

    def wait(self, look: Callable[[], Seen | None]) -> Seen:
        """Look until there is something to see."""
        deadline = time.monotonic() + PATIENCE
        while not (found := look()):
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.3)
        return found

    def over(self, dag_id: str, run_id: str) -> DagRun | None:
        run = self.airflow.run(dag_id, run_id)
        return run if run is not None and run.finished else None


@contextmanager
def place(folder: Path, **further: str) -> Iterator[Place]:
    """A home that does not exist yet, and links to the project's own DAG files."""
    dags = folder / "dags"
    dags.mkdir()
    for path in (PROJECT / "dags").glob("*.py"):
        (dags / path.name).symlink_to(path)
    made = Place(folder / "home", dags, postgres.free_port(), further)
    yield made
    made.sluice("reset")
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(place: Place) -> Iterator[Running]:
    """The stack, up while the body works; at the end SIGTERM must leave no process behind."""
    started = time.monotonic()
    up = subprocess.Popen(
        [sys.executable, "-c", "from sluice.cli import main; main()", "up", "--json"],
        env=place.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert up.stdout is not None
        lines = iter(up.stdout.readline, "")
        printed = json.loads("".join(_until_closed(lines)))
        seconds = time.monotonic() - started
        client = Operator(place.url, "admin", printed["stack"]["password"])
        client.sign_in()
        yield Running(place, Outcome(printed["stack"], printed["seconds"], seconds, []), client)
        client.close()
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(timeout=60)
    assert up.returncode == 0
    assert place.processes() == []
    assert Home(place.home).holder() is None


def _until_closed(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        yield line
        if line.rstrip() == "}":
            return
