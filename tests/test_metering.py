"""Workers that share a provider: each waits its turn, pays, and is hardly ever refused."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai_server
import providers
import pytest
from openai_server import OpenAIServer
from sluice.catalog import Catalog, costs
from sluice.catalog import limits as rows
from sluice.embedding import open_embedder
from sluice.embedding.remote import RemoteEmbedder
from sluice.errors import EmbedderBusy
from sluice.limits import DOCUMENTS
from sluice.metering import Metered
from sluice.model import Account

WORKERS = 4


@pytest.fixture
def provider() -> Iterator[OpenAIServer]:
    """A provider that takes 1,000 tokens a second, and a minute's worth at once."""
    with openai_server.start() as running:
        running.a_minute = (6_000, 60_000)
        yield running


def work(provider: OpenAIServer, catalog: Catalog, file: Path, requests: int, tokens: int) -> int:
    """Let workers, each with an embedder of its own as a process has, send requests.

    Return how many the provider refused.
    """

    def one(number: int) -> None:
        name = f"{providers.NAME.partition('@')[0]}@{number + 8}"
        meter = Metered(catalog, Account(source=f"s{number}", run_id=f"s{number}:1"))
        embedder = open_embedder(name, file)
        for at in range(requests):
            embedder.embed([f"text {number} {at} " + "word " * (tokens - 8)], meter)

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(one, range(WORKERS)))
    done = sum(provider.charged["standard"].values())
    assert done == WORKERS * requests
    return len(provider.requests) - done


def _endpoint(file: Path) -> str:
    """What all workers share."""
    embedder = open_embedder(providers.NAME, file)
    assert isinstance(embedder, RemoteEmbedder)
    return embedder.limit.name


def test_workers_that_know_the_limit_are_never_refused(
    provider: OpenAIServer, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Together they stay below it, and what they asked for is on the ledger."""
    provider.burst = 12.0  # 14,000 tokens are asked for, as fast as may be
    limits = "requests_per_minute = 6_000\ntokens_per_minute = 60_000"
    file = providers.endpoints(provider, tmp_path, monkeypatch, extra=limits)
    assert work(provider, catalog, file, requests=7, tokens=500) == 0
    with catalog.begin() as connection:
        spent = [costs.spent_by_run(connection, f"s{i}:1")[0] for i in range(WORKERS)]
    assert sum(spent) == sum(provider.tokens.values())


def test_workers_that_do_not_know_it_learn_it_from_the_first_answers(
    provider: OpenAIServer, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When half of it is used up, whoever is told so tells all others."""
    file = providers.endpoints(provider, tmp_path, monkeypatch)
    work(provider, catalog, file, requests=4, tokens=1_950)
    with catalog.begin() as connection:
        pace = rows.pace(connection, _endpoint(file), locked=False)
    assert pace.tokens == 60_000
    assert pace.bucket.tokens_full > pace.now + DOCUMENTS


def test_a_question_that_finds_no_room_is_not_sent(
    provider: OpenAIServer, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs nothing, and does not count against the endpoint: nothing is wrong with it."""
    file = providers.endpoints(provider, tmp_path, monkeypatch, extra="requests_per_minute = 2")
    embedder = open_embedder(providers.NAME, file)
    meter = Metered(catalog, Account(agent="bot", request="t"))
    asking = (embedder.ask(f"question {i}", meter) for i in range(100))
    with pytest.raises(EmbedderBusy):
        list(asking)
    sent = len(provider.requests)
    assert 2 <= sent <= 3
    for _ in range(6):  # more often than the breaker looks on
        with pytest.raises(EmbedderBusy):
            embedder.ask("question", meter)
    assert len(provider.requests) == sent
