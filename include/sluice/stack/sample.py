"""The sample company, Juniper & Vale: its DAGs run once, and two of its people ask a question."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from sluice.catalog import Catalog
from sluice.errors import StackError
from sluice.keys import Keys
from sluice.model import Principal
from sluice.stack.client import AirflowClient, DagRun
from sluice.stack.home import PROJECT

DAGS = ("permissions", "handbook", "helpdesk")
DOMAIN = "junipervale.example"
PEOPLE = {"Peter Novak, support agent": "peter.novak", "Maya Cohen, people partner": "maya.cohen"}
QUESTION = "How much notice do we give before a salary review, and what is the budget?"
AGENT = "sample-assistant"
_SHOWN = 2  # hits a person
_MARKS = {"success": "✓", "running": "▸", "failed": "✗", "up_for_retry": "↻"}

Say = Callable[[str], None]
Tick = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one person was answered: hits, best first, as the API gives them."""

    name: str
    person: str
    hits: Sequence[Mapping[str, Any]]


def dags() -> list[str]:
    """The sample's DAGs that are still in ``dags/``: anyone may delete them."""
    return [name for name in DAGS if (PROJECT / "dags" / f"{name}.py").exists()]


def create_key(catalog_url: str, tenant: str) -> str:
    """Make the sample agent's key: it may act for everyone of the company."""
    with contextlib.closing(Catalog(catalog_url, tenant)) as catalog:
        return Keys(catalog).create(AGENT, [Principal.parse(f"domain:{DOMAIN}")])


def run(client: AirflowClient, tick: Tick, say: Say) -> None:
    """Unpause the sample's DAGs and wait until each has run.

    Args:
        client: Airflow.
        tick: called between looks at Airflow; it may raise to give up.
        say: told how far each is.

    Raises:
        StackError: a DAG cannot be read, or its run failed.
    """
    names = dags()
    unknown, runs = list(names), dict[str, DagRun | None]()
    while unknown:
        unknown = [name for name in unknown if not client.unpause(name)]
        if unknown and (error := client.import_error()):
            raise StackError(f"a DAG file cannot be imported: {error}", cure="Mend it")
        say(f"reading dags/: {', '.join(unknown)}" if unknown else "the DAGs start")
        tick()
    while not all(_finished(client, name, runs.get(name)) for name in names):
        for name in names:
            runs[name] = client.latest(name)
            if runs[name] is None:
                client.ensure_run(name)
        say("\n".join(_line(name, runs[name]) for name in names))
        tick()


def ask_all(url: str, key: str) -> list[Answer]:
    """Ask the one question as each of the two people."""
    return [ask(url, key, name, account) for name, account in PEOPLE.items()]


def ask(url: str, key: str, name: str, account: str) -> Answer:
    """Ask the one question as one person, through the endpoint that agents use."""
    person = f"user:{account}@{DOMAIN}"
    answer = httpx.post(
        f"{url}/sluice/v1/search",
        headers={"Authorization": f"Bearer {key}"},
        json={"query": QUESTION, "as": person, "k": _SHOWN},
        timeout=60.0,
        trust_env=False,
    )
    if answer.status_code != httpx.codes.OK:
        raise StackError(f"the question was not answered: {answer.text[:200]}", subject=person)
    return Answer(name, person, answer.json()["hits"])


def curl(url: str, key: str, person: str) -> str:
    """The same question as a line for a terminal."""
    body = json.dumps({"query": QUESTION, "as": person, "k": _SHOWN})
    return (
        f"curl -s {url}/sluice/v1/search -H 'Authorization: Bearer {key}' "
        f"-H 'Content-Type: application/json' -d '{body}'"
    )


def _finished(client: AirflowClient, name: str, run: DagRun | None) -> bool:
    if run is not None and run.state == "failed":
        failed = [task for task, state in run.tasks.items() if state == "failed"]
        raise StackError(
            f"{' and '.join(failed) or 'its run'} failed",
            subject=f"dags/{name}.py",
            cure=f"The task's log says why: {client.run_url(name, run.run_id)}",
        )
    return run is not None and run.finished


def _line(name: str, run: DagRun | None) -> str:
    if run is None:
        return f"{name} …"
    steps = (f"{task} {_MARKS.get(state, '·')}" for task, state in run.tasks.items())
    return f"{name}: {' '.join(steps)}" if run.tasks else f"{name} {run.state}"
