"""The few words that `sluice up` exchanges with Airflow's public API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

from sluice.errors import StackError

_DONE = ("success", "failed")


@dataclass(frozen=True, slots=True)
class DagRun:
    """A run of a DAG: its id, its state, and each task's state in order."""

    run_id: str
    state: str
    tasks: Mapping[str, str]

    @property
    def finished(self) -> bool:
        return self.state in _DONE


class AirflowClient:
    """Airflow's API, as one user."""

    def __init__(self, url: str, user: str, password: str):
        self._http = httpx.Client(base_url=url, timeout=90.0, trust_env=False)
        self._login = {"username": user, "password": password}

    def health(self) -> dict[str, str]:
        """Each component's status; empty while nobody answers."""
        try:
            found = self._http.get("/api/v2/monitor/health").json()
        except (httpx.TransportError, ValueError):
            return {}
        return {name: str((status or {}).get("status")) for name, status in found.items()}

    def sign_in(self) -> None:
        """Get a token, and wake the API that tasks talk to: its first answer takes seconds."""
        answer = self._http.post("/auth/token", json=self._login)
        if answer.status_code != httpx.codes.CREATED:
            raise StackError(
                f"Airflow refuses its own login ({answer.status_code})",
                cure="`sluice reset` starts afresh",
            )
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        self._http.get("/execution/health")

    def unpause(self, dag_id: str) -> bool:
        """Let a DAG run; False while Airflow does not know it yet."""
        answer = self._http.patch(f"/api/v2/dags/{dag_id}", json={"is_paused": False})
        return answer.status_code == httpx.codes.OK

    def ensure_run(self, dag_id: str) -> None:
        """Start a first run, unless the schedule is about to."""
        due = self._get(f"/api/v2/dags/{dag_id}").get("next_dagrun_run_after")
        if due is None or datetime.fromisoformat(due) > datetime.now(UTC):
            self.trigger(dag_id)

    def trigger(self, dag_id: str, **params: Any) -> str:
        """Start a run now; return its id."""
        body = {"logical_date": None, "conf": params}
        answer = self._http.post(f"/api/v2/dags/{dag_id}/dagRuns", json=body)
        if answer.status_code != httpx.codes.OK:
            raise StackError(f"Airflow does not start a run: {answer.text[:200]}", subject=dag_id)
        return str(answer.json()["dag_run_id"])

    def latest(self, dag_id: str) -> DagRun | None:
        """The newest run; None before the first."""
        found = self._get(f"/api/v2/dags/{dag_id}/dagRuns", limit=1, order_by="-run_after").get(
            "dag_runs"
        )
        return self.run(dag_id, found[0]["dag_run_id"]) if found else None

    def run(self, dag_id: str, run_id: str) -> DagRun | None:
        """One run; None if there is none of that id."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"
        state = self._get(path).get("state")
        if state is None:
            return None
        tasks = self._get(f"{path}/taskInstances", order_by="start_date").get("task_instances", [])
        states = {each["task_id"]: str(each["state"] or "waiting") for each in tasks}
        return DagRun(run_id, state, states)

    def run_url(self, dag_id: str, run_id: str) -> str:
        """Where a person finds a run."""
        return f"{self._http.base_url}/dags/{dag_id}/runs/{quote(run_id)}".replace(
            "//dags", "/dags"
        )

    def import_error(self) -> str | None:
        """The last line of the first DAG file that cannot be imported, with its name."""
        found = self._get("/api/v2/importErrors", limit=1).get("import_errors")
        if not found:
            return None
        last = (found[0]["stack_trace"].strip().splitlines() or ["no reason given"])[-1]
        return f"{found[0]['filename']}: {last}"

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def _get(self, path: str, **query: Any) -> dict[str, Any]:
        try:
            answer = self._http.get(path, params=query)
            return dict(answer.json()) if answer.status_code == httpx.codes.OK else {}
        except (httpx.TransportError, ValueError):
            return {}
