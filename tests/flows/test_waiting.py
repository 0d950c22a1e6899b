"""Waiting for a provider holds no worker, and nothing that happens meanwhile ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import openai_server
import providers
import pytest
from airflow.sdk.exceptions import TaskDeferred
from openai_batches import Outcome
from openai_server import Fault, OpenAIServer
from sluice import settings
from sluice.embedding import open_embedder
from sluice.embedding.batch import BatchTier, line
from sluice.embedding.remote import RemoteEmbedder
from sluice.errors import StillEmbedding
from sluice.flows.waiting import BatchesTrigger, PatientOperator


@pytest.fixture
def provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[OpenAIServer, RemoteEmbedder]]:
    """A provider that the settings name, and an embedder of it."""
    monkeypatch.setattr("sluice.flows.waiting._FIRST", 0.02)
    with openai_server.start() as running:
        file = providers.endpoints(running, tmp_path, monkeypatch)
        monkeypatch.setenv("SLUICE_ENDPOINTS", str(file))
        settings.load.cache_clear()
        embedder = open_embedder(providers.NAME, file)
        assert isinstance(embedder, RemoteEmbedder)
        yield running, embedder
    settings.load.cache_clear()


def looked_at(trigger: BatchesTrigger) -> list[str]:
    """What the trigger fires with."""

    async def first() -> list[str]:
        async for event in trigger.run():
            return list(event.payload["looked_at"])
        return []

    return asyncio.run(asyncio.wait_for(first(), 30))


def test_the_task_is_deferred_and_goes_on_when_it_may() -> None:
    """First with a trigger for the batches, then with what the work gives."""
    left = [StillEmbedding("2 chunks", subject=providers.NAME, remote_ids=("batch_1",))]

    def work() -> str:
        if left:
            raise left.pop()
        return "done"

    operator = PatientOperator(task_id="publish", work=work)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute({})  # type: ignore[typeddict-item]  # nothing of it is read
    assert deferred.value.method_name == "resume"
    path, arguments = deferred.value.trigger.serialize()
    assert path == "sluice.flows.waiting.BatchesTrigger"
    assert arguments == {"embedder": providers.NAME, "remote_ids": ["batch_1"]}
    event = {"looked_at": ["batch_1"]}
    assert operator.resume({}, event) == "done"  # type: ignore[typeddict-item]  # as above


def test_it_fires_when_a_batch_has_ended_whatever_fails_meanwhile(
    provider: tuple[OpenAIServer, RemoteEmbedder],
) -> None:
    """500, dropped connections and pages of HTML are waited through."""
    server, embedder = provider
    server.batches.fate = lambda _number: Outcome(polls=3)
    tier = BatchTier(embedder)
    remote = tier.create("key", tier.upload("key", [line("key", 0, embedder, ["text"])]))
    path = f"GET /v1/batches/{remote}"
    for fault in (Fault(status=500), Fault(drop="after"), Fault(html=True), Fault(status=401)):
        server.faults.append((path, fault))
    assert looked_at(BatchesTrigger(providers.NAME, [remote])) == [remote]
    assert server.requests.count(path) == 5


def test_it_fires_for_a_batch_that_is_gone(
    provider: tuple[OpenAIServer, RemoteEmbedder],
) -> None:
    """Nobody works on it: the task must see to that."""
    assert looked_at(BatchesTrigger(providers.NAME, ["batch_none"])) == ["batch_none"]


def test_with_nothing_at_the_provider_it_only_lets_time_pass(
    provider: tuple[OpenAIServer, RemoteEmbedder],
) -> None:
    """A batch that waits for room has no number yet."""
    assert looked_at(BatchesTrigger(providers.NAME, [])) == []
    assert provider[0].requests == []
