"""A source that takes the batch tier, as Airflow sees it: deferred while the provider works."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import livestack
import openai_server
import providers
import pytest
from livestack import Running
from openai_batches import Outcome
from openai_server import OpenAIServer

pytestmark = pytest.mark.timeout(600)

DAG = '''
"""Airflow reads this DAG file: {folder}."""

from sluice.flows import ingest_dag
from sluice.model import Policy
from sluice.sources import Files

dag = ingest_dag(
    Files(name="archive", url={folder!r}, policy=Policy(batch_from=1)), runbook=__doc__
)
'''


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenAIServer]:
    """A provider on loopback."""
    with openai_server.start() as up:
        yield up


@pytest.fixture(scope="module")
def running(provider: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A stack of its own, whose model is the provider's from the first run on."""
    folder = tmp_path_factory.mktemp("paid")
    with pytest.MonkeyPatch.context() as patch:
        file = providers.endpoints(provider, tmp_path_factory.mktemp("endpoints"), patch)
        settings = {"SLUICE_EMBEDDER": providers.NAME, "SLUICE_ENDPOINTS": str(file)}
        with livestack.place(folder, **settings) as place, livestack.running(place) as up:
            yield up


def test_publishing_is_deferred_until_the_provider_has_finished(
    running: Running, provider: OpenAIServer, tmp_path: Path
) -> None:
    """The log has the forecast; the summary has the tokens and the dollars of the bill."""
    (tmp_path / ".access.yaml").write_text("allow: [public]\n")
    for word in ("heron", "wren", "tern", "gannet", "lapwing", "ptarmigan"):
        (tmp_path / f"{word}.md").write_text(f"# The {word}\n\nWhere the {word} nests, and when.\n")
    (running.place.dags / "archive.py").write_text(DAG.format(folder=str(tmp_path)))
    provider.batches.fate = lambda _number: Outcome(polls=10**6)  # it works, and works
    running.wait(lambda: running.airflow.unpause("archive"))
    run_id = running.wait(lambda: running.airflow.latest("archive")).run_id  # its schedule's own

    def state() -> str | None:
        run = running.airflow.run("archive", run_id)
        return run.tasks.get("publish") if run else None

    running.wait(lambda: state() in {"deferred", "success", "failed", "up_for_retry"})
    assert state() == "deferred", running.airflow.log("archive", run_id, "publish")
    (batch,) = provider.batches.every.values()
    submitted = batch.looks
    running.wait(lambda: batch.looks > submitted)  # by the triggerer: no worker has the task
    assert state() == "deferred"
    assert provider.tokens["batch", providers.MODEL] == 0
    named = ("--agent", "archivist", "--for", "anyone", "--json")
    key = json.loads(running.place.sluice("keys", "create", *named).stdout)["key"]
    question = "user:anyone@example.com", "Where does the heron nest?"
    assert not any(x["document_id"].startswith("archive:") for x in running.search(key, *question))

    batch.outcome = Outcome()
    done = running.wait(lambda: running.over("archive", run_id))
    log = running.airflow.log("archive", run_id, "publish")
    assert done.state == "success", log
    summary = running.airflow.result("archive", run_id, "publish")
    tokens = provider.tokens["batch", providers.MODEL]
    assert (summary["new"], summary["chunks"]) == (6, provider.charged["batch"].total())
    assert (summary["tokens"], Decimal(summary["dollars"])) == (tokens, provider.dollars("batch"))
    assert set(provider.charged["batch"].values()) == {1}
    assert f"6 documents, 6 chunks, 0 of them cached, {tokens} tokens: standard $" in log
    assert "chunks are in 1 batches" in log
    found = running.search(key, *question)  # in any order: the provider's vectors say nothing
    assert "archive:heron.md" in {each["document_id"] for each in found}
    assert provider.files == {}
