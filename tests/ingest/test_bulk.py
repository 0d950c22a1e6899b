"""Batches: every chunk embedded once, whatever fails, whoever is killed when."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import numpy as np
import openai_server
import providers
import pytest
from openai_batches import Outcome
from openai_server import Fault, OpenAIServer
from providers import NAME
from sluice.budget import Purse
from sluice.catalog import Catalog, batches, costs, embeddings, runs
from sluice.catalog.costs import EACH, Budget
from sluice.embedding import open_embedder
from sluice.embedding.packing import FileLimits
from sluice.embedding.remote import RemoteEmbedder
from sluice.errors import BudgetExhausted, EmbedderUnavailable, PlacementRefused, SluiceError
from sluice.ingest import Progress
from sluice.ingest.bulk import Bulk
from sluice.model import Account, Policy
from sluice.model.text import digest

RUN = Account(source="wiki", run_id="wiki:1")
SCHEDULES = 1_000


class Killed(BaseException):
    """What no code of ours catches."""


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenAIServer]:
    """A provider for all tests of this file; each has texts of its own."""
    with openai_server.start() as running:
        yield running


@pytest.fixture
def embedder(
    provider: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> RemoteEmbedder:
    """An embedder that reaches it. What earlier tests did to the provider is forgotten."""
    providers.forget(provider)
    file = providers.endpoints(provider, tmp_path, monkeypatch)
    found = open_embedder(NAME, file)
    assert isinstance(found, RemoteEmbedder)
    return found


def register(catalog: Catalog) -> None:
    """Sources whose texts may be sent anywhere."""
    with catalog.begin() as connection:
        for name in ("wiki", "desk"):
            runs.ensure_source(connection, name, "files", Policy())


@pytest.fixture(autouse=True)
def known(catalog: Catalog) -> None:
    """The sources that the tests' texts are of."""
    register(catalog)


def texts(count: int) -> dict[str, str]:
    """Texts that nobody embedded before, by content hash."""
    made = [f"{uuid.uuid4().hex} text {i}" for i in range(count)]
    return {digest(each): each for each in made}


def vectors(catalog: Catalog, wanted: dict[str, str], model: str) -> dict[str, np.ndarray]:
    """What the cache holds of them."""
    with catalog.begin() as connection:
        return embeddings.lookup(connection, model, list(wanted))


def charged(provider: OpenAIServer, wanted: dict[str, str]) -> list[int]:
    """How often each was."""
    return [provider.charged["batch"]["text-embedding-3-small", each] for each in wanted.values()]


def whole(catalog: Catalog, embedder: RemoteEmbedder, wanted: dict[str, str]) -> None:
    """Every text has its own vector, and nothing is left anywhere."""
    found = vectors(catalog, wanted, embedder.model)
    for content_hash, text in wanted.items():
        expected = openai_server.vector("text-embedding-3-small", 8, text)
        assert np.allclose(found[content_hash], expected, atol=1e-6)
    with catalog.begin() as connection:
        assert batches.live(connection, embedder.model) == []
        assert batches.claimed(connection, embedder.model, wanted) == {}


def finish(bulk: Bulk, wanted: dict[str, str], most: int = 50) -> None:
    """Do it until it is done."""
    for _ in range(most):
        bulk.plan(wanted, RUN)
        with suppress(EmbedderUnavailable):
            bulk.advance(RUN)
        if not bulk.waiting(wanted) and not bulk.plan(wanted, RUN):
            bulk.advance(RUN)
            return
    raise AssertionError("it is never done")


def test_a_source_that_became_sensitive_is_not_sent_by_whoever_comes_next(
    catalog: Catalog, provider: OpenAIServer, embedder: RemoteEmbedder
) -> None:
    """What was planned before is given up; its own run is told, another's goes on."""
    wanted, other = texts(4), texts(3)
    bulk, desk = Bulk(catalog, embedder, NAME), Account(source="desk", run_id="desk:1")
    bulk.plan(wanted, RUN)
    bulk.plan(other, desk)
    with catalog.begin() as connection:
        runs.ensure_source(connection, "wiki", "files", Policy(sensitive=True))
    for _ in range(50):
        bulk.advance(desk)
    assert charged(provider, wanted) == [0] * 4
    assert charged(provider, other) == [1] * 3
    assert not bulk.waiting(wanted) and not bulk.waiting(other)
    bulk.plan(wanted, RUN)
    with pytest.raises(PlacementRefused):
        bulk.advance(RUN)


def test_everything_is_embedded_once_and_billed_as_said(
    catalog: Catalog, provider: OpenAIServer, embedder: RemoteEmbedder
) -> None:
    """The ledger has what the invoice has, at half the price; no file is left at the provider."""
    wanted, before = texts(500), provider.dollars("batch")
    bulk = Bulk(catalog, embedder, NAME)
    assert bulk.plan(wanted, RUN) == 500
    assert bulk.plan(wanted, RUN) == 0
    assert bulk.waiting(wanted).inputs == 500
    finish(bulk, wanted)
    whole(catalog, embedder, wanted)
    assert charged(provider, wanted) == [1] * 500
    with catalog.begin() as connection:
        tokens, dollars = costs.spent_by_run(connection, "wiki:1")
    assert tokens == sum(embedder.count_tokens(each) for each in wanted.values())
    assert dollars == provider.dollars("batch") - before == Decimal(tokens) / 10**8
    assert provider.files == {}
    provider.requests.clear()
    finish(bulk, wanted)
    assert provider.requests == []


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(status="expired", done=0.5),
        Outcome(status="cancelled", done=0.3),
        Outcome(status="failed"),
        Outcome(status="failed", code="server_error"),
        Outcome(errors=0.3),
        Outcome(spoil="duplicated"),
        Outcome(spoil="reordered"),
        Outcome(polls=4),
    ],
    ids=str,
)
def test_what_is_missing_is_finished_and_nothing_else(
    catalog: Catalog,
    provider: OpenAIServer,
    embedder: RemoteEmbedder,
    monkeypatch: pytest.MonkeyPatch,
    outcome: Outcome,
) -> None:
    """Expired, cancelled, failed, partly failed: no chunk is paid twice."""
    monkeypatch.setattr("sluice.ingest.bulk._FULL", 0.0)
    provider.batches.fate = lambda number: outcome if number == 0 else Outcome()
    wanted = texts(300)
    finish(Bulk(catalog, embedder, NAME), wanted)
    whole(catalog, embedder, wanted)
    assert charged(provider, wanted) == [1] * 300
    assert not provider.batches.doubled


@pytest.mark.parametrize("spoil", ["cut", "missing", "nan"])
def test_what_came_spoilt_is_asked_for_again(
    catalog: Catalog, provider: OpenAIServer, embedder: RemoteEmbedder, spoil: str
) -> None:
    """It was billed and cannot be had: only that line is billed again."""
    provider.batches.fate = lambda number: Outcome(spoil=spoil) if number == 0 else Outcome()
    wanted = texts(300)
    finish(Bulk(catalog, embedder, NAME), wanted)
    whole(catalog, embedder, wanted)
    assert sum(charged(provider, wanted)) <= 300 + 64


def test_no_more_waits_at_the_provider_than_it_allows(
    catalog: Catalog, provider: OpenAIServer, embedder: RemoteEmbedder
) -> None:
    """The next batch is submitted when one has ended."""
    wanted = texts(100)
    tokens = max(embedder.count_tokens(each) for each in wanted.values())
    object.__setattr__(embedder.endpoint, "batch_tokens", 25 * tokens)
    provider.batches.enqueued = 25 * tokens
    provider.batches.fate = lambda _number: Outcome(polls=2)
    finish(Bulk(catalog, embedder, NAME), wanted)
    whole(catalog, embedder, wanted)
    assert all(each.shown["status"] == "completed" for each in provider.batches.every.values())
    assert len(provider.batches.every) >= 4
    object.__setattr__(embedder.endpoint, "batch_tokens", None)


def test_a_text_that_fails_again_and_again_is_left_to_the_standard_tier(
    catalog: Catalog, provider: OpenAIServer, embedder: RemoteEmbedder
) -> None:
    """It takes nothing with it, and is not asked for for ever."""
    provider.batches.fate = lambda _number: Outcome(spoil="nan")
    wanted = texts(1)
    finish(Bulk(catalog, embedder, NAME), wanted)
    assert len(provider.batches.every) == 3
    assert vectors(catalog, wanted, embedder.model) == {}


def test_a_batch_that_is_too_dear_is_not_sent(
    catalog: Catalog, provider: OpenAIServer, embedder: RemoteEmbedder
) -> None:
    """It says what it would have cost; with a larger budget it goes on."""
    wanted = texts(300)
    with catalog.begin() as connection:
        costs.set_budget(
            connection, Budget(level="tenant", name=EACH, per="day", dollars=Decimal("0.00001"))
        )
    bulk = Bulk(catalog, embedder, NAME)
    bulk.plan(wanted, RUN)
    with pytest.raises(BudgetExhausted, match="would cost"):
        bulk.advance(RUN)
    assert provider.batches.every == {}
    with catalog.begin() as connection:
        costs.set_budget(
            connection, Budget(level="tenant", name=EACH, per="day", dollars=Decimal(1))
        )
    finish(bulk, wanted)
    whole(catalog, embedder, wanted)


def test_two_runs_share_what_both_want(
    catalog: Catalog, provider: OpenAIServer, embedder: RemoteEmbedder
) -> None:
    """The same chunk is in one batch, whoever planned it; both wait for it."""
    provider.batches.fate = lambda _number: Outcome(polls=3)
    wanted = texts(10)
    one, other = Bulk(catalog, embedder, NAME), Bulk(catalog, embedder, NAME)
    one.plan(wanted, RUN)
    one.advance(RUN)
    assert other.plan(wanted, Account(source="desk", run_id="desk:1")) == 0
    assert other.waiting(wanted) == one.waiting(wanted)
    finish(other, wanted)
    assert charged(provider, wanted) == [1] * 10


def faults(chance: random.Random) -> Callable[[str, str], Fault | None]:
    """Some requests fail, in every way there is."""
    kinds: list[Fault | None] = [
        Fault(status=429, after=0.001),
        Fault(status=500),
        Fault(drop="before"),
        Fault(drop="after"),
        Fault(html=True),
    ]
    share = chance.choice([0.0, 0.1, 0.3])
    return lambda _method, _path: chance.choice(kinds) if chance.random() < share else None


def fates(chance: random.Random) -> Callable[[int], Outcome]:
    """Most batches go well, some do not."""
    kinds = [
        Outcome(status="expired", done=0.5),
        Outcome(status="cancelled", done=0.2),
        Outcome(status="failed", code="server_error"),
        Outcome(errors=0.5),
        Outcome(spoil="duplicated"),
        Outcome(spoil="reordered"),
        Outcome(polls=3),
    ]
    return lambda _number: chance.choice(kinds) if chance.random() < 0.3 else Outcome()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("first", range(0, SCHEDULES, 250))
def test_a_thousand_random_schedules_embed_every_chunk_once(
    new_catalog: Callable[[], Catalog],
    provider: OpenAIServer,
    embedder: RemoteEmbedder,
    monkeypatch: pytest.MonkeyPatch,
    first: int,
) -> None:
    """429, 500, dropped connections, pages of HTML, expired, failed, reordered, doubled, killed."""
    monkeypatch.setattr("sluice.ingest.bulk.INPUTS_A_LINE", 3)
    catalog = new_catalog()
    register(catalog)
    for seed in range(first, first + 250):
        chance = random.Random(seed)
        provider.batches.__init__(provider)
        provider.batches.fate, provider.chaos = fates(chance), faults(chance)
        wanted = texts(chance.randrange(1, 12))
        mortal = chance.choice([0.0, 0.05, 0.2])

        def kill(_boundary: str, chance: random.Random = chance, mortal: float = mortal) -> None:
            if chance.random() < mortal:
                raise Killed

        limits = FileLimits(requests=3, inputs=5, tokens=10**9)
        for _ in range(200):
            bulk = Bulk(catalog, embedder, NAME, limits=limits, progress=Progress(kill))
            try:
                bulk.advance(RUN)
                if not bulk.plan(wanted, RUN) and not bulk.waiting(wanted):
                    break
                bulk.advance(RUN)
            except (SluiceError, Killed):
                continue
        provider.chaos = lambda _method, _path: None
        Bulk(catalog, embedder, NAME).advance(RUN)
        assert charged(provider, wanted) == [1] * len(wanted), seed
        assert not provider.batches.doubled, seed
        assert len(vectors(catalog, wanted, embedder.model)) == len(wanted), seed
    whole(catalog, embedder, wanted)
    assert provider.files == {}
    with catalog.begin() as connection:
        assert costs.expired(connection) is None
    Purse(catalog).free()
