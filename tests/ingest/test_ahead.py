"""A source whose model is a provider's: what a publish costs is known and allowed beforehand."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import openai_server
import providers
import pytest
import sqlalchemy as sa
from moving import ANYONE, CALLER, ask, holds_what_is_live, migrate, migration, write
from openai_batches import Outcome
from openai_server import Fault, OpenAIServer
from sluice import ingest
from sluice.api.services import Services
from sluice.catalog import Catalog, costs, embeddings
from sluice.catalog import limits as rows
from sluice.catalog.costs import EACH, Budget
from sluice.errors import (
    BudgetExhausted,
    EmbedderRefused,
    EmbedderUnavailable,
    LimitExceeded,
    PlacementRefused,
    StillEmbedding,
)
from sluice.ingest import Pipeline
from sluice.ingest.tiers import choose
from sluice.model import Policy, RunSummary
from sluice.model.text import digest
from sluice.settings import Settings
from sluice.sources import Files

_TODAY = datetime.now(UTC).date()
BULK = Policy(max_loss=1.0, batch_from=1)
DELTA = Policy(max_loss=1.0, batch_from=None)


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenAIServer]:
    """A provider for all tests of this file."""
    with openai_server.start() as running:
        yield running


@pytest.fixture
def paid(
    provider: OpenAIServer,
    settings: Settings,
    tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Pipeline]:
    """A pipeline whose model costs money, and a tree of twelve pages."""
    providers.forget(provider)
    file = providers.endpoints(provider, tmp_path, monkeypatch)
    for number in range(11):
        write(tree, f"p{number}")
    update = {"embedder": providers.NAME, "endpoints": file}
    opened = Pipeline(settings.model_copy(update=update), batch=4)
    yield opened
    opened.close()


def run(pipeline: Pipeline, tree: Path, run_id: str, policy: Policy) -> RunSummary:
    """All stages of one run."""
    return ingest.run(pipeline, Files(name="pages", url=str(tree), policy=policy), run_id)


def allow(pipeline: Pipeline, dollars: str) -> None:
    """Set the tenant's budget of a day."""
    with pipeline.catalog.begin() as connection:
        costs.set_budget(
            connection, Budget(level="tenant", name=EACH, per="day", dollars=Decimal(dollars))
        )


def test_a_small_delta_takes_the_standard_tier_and_every_chunk_once(
    paid: Pipeline, provider: OpenAIServer, tree: Path
) -> None:
    """The run says what it was billed; the second run nothing; an edit its own chunks."""
    first = run(paid, tree, "r1", DELTA)
    assert first.embedded == provider.charged["standard"].total() == first.chunks
    assert Decimal(first.dollars) == provider.invoice
    assert first.tokens == sum(provider.tokens.values())
    again = run(paid, tree, "r2", DELTA)
    assert (again.embedded, again.tokens, Decimal(again.dollars)) == (0, 0, 0)
    page = tree / "p1.md"
    page.write_text(page.read_text().replace("edition0001 word1x1", "edited word1x1", 1))
    page.write_text(page.read_text().replace("wordp1x1x5 ", "wordp1x1x5 edited "))
    assert run(paid, tree, "r3", DELTA).embedded == 1
    assert set(provider.charged["standard"].values()) == {1}
    assert holds_what_is_live(paid, paid.collections.serving())


def test_bulk_takes_the_batch_tier_and_is_waited_for(
    paid: Pipeline, provider: OpenAIServer, tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is visible meanwhile; the same run goes on when it is done, at half the price."""
    caplog.set_level(logging.INFO)
    provider.batches.fate = lambda _number: Outcome(polls=3)
    with pytest.raises(StillEmbedding, match="chunks are in 1 batches") as waiting:
        run(paid, tree, "r1", BULK)
    assert waiting.value.remote_ids == tuple(provider.batches.every)
    for _ in range(2):
        source = Files(name="pages", url=str(tree), policy=BULK)
        try:
            done = ingest.publish(paid, source, "r1")
        except StillEmbedding:
            continue
    assert done.embedded == done.chunks == provider.charged["batch"].total()
    assert provider.charged["standard"].total() == 0
    assert Decimal(done.dollars) == Decimal(done.forecast) == provider.dollars("batch")
    assert f"{done.tokens:,} tokens: standard $0.0002, batch $0.0001; batch tier" in caplog.text
    assert holds_what_is_live(paid, paid.collections.serving())
    assert provider.files == {}


def test_what_expired_is_finished_by_the_tier_that_fits_it(
    paid: Pipeline, provider: OpenAIServer, tree: Path
) -> None:
    """What came is kept and not paid again."""
    provider.batches.fate = lambda _number: Outcome(status="expired", done=0.8, polls=2)
    source = Files(name="pages", url=str(tree), policy=Policy(max_loss=1.0, batch_from=5_000))
    with pytest.raises(StillEmbedding):
        ingest.run(paid, source, "r1")
    done = ingest.publish(paid, source, "r1")
    both = provider.charged["standard"] + provider.charged["batch"]
    assert set(both.values()) == {1}
    assert both.total() == done.chunks


def test_a_run_that_is_too_dear_stops_before_it_spends(
    paid: Pipeline, provider: OpenAIServer, tree: Path
) -> None:
    """It says what it would have cost; with a larger budget the same run goes on."""
    allow(paid, "0.000001")
    with pytest.raises(BudgetExhausted, match=r"tokens would cost \$0\.0\d+, and \$0\.000001"):
        run(paid, tree, "r1", DELTA)
    assert provider.requests == []
    allow(paid, "1")
    assert run(paid, tree, "r1", DELTA).new == 12


def test_a_sensitive_source_goes_to_named_machines_alone(
    paid: Pipeline, provider: OpenAIServer, tree: Path
) -> None:
    """The error names the rule; nothing was sent."""
    closed = Policy(max_loss=1.0, sensitive=True)
    with pytest.raises(PlacementRefused, match=r"pages: it is sensitive: .*no other machine"):
        run(paid, tree, "r1", closed)
    assert provider.requests == []
    named = Policy(max_loss=1.0, sensitive=True, machines=frozenset({"127.0.0.1"}))
    assert run(paid, tree, "r2", named).new == 12


def test_a_provider_that_dies_halfway_loses_nothing(
    paid: Pipeline, provider: OpenAIServer, tree: Path
) -> None:
    """What it gave is kept; the next run asks for the rest."""
    provider.chaos = lambda _method, _path: (
        Fault(status=401) if provider.charged["standard"].total() > 5 else None
    )
    with pytest.raises(EmbedderRefused):
        run(paid, tree, "r1", DELTA)
    provider.chaos = lambda _method, _path: None
    assert run(paid, tree, "r2", DELTA).new == 12
    assert set(provider.charged["standard"].values()) == {1}


def test_search_goes_on_by_keywords_when_the_embedder_is_down_and_says_so(
    paid: Pipeline, provider: OpenAIServer, tree: Path
) -> None:
    """The answer is degraded, and the audit log has it; when it is back, so are vectors."""
    run(paid, tree, "r1", DELTA)
    services = Services(paid.settings)
    assert services.retriever.search(CALLER, ANYONE, "kettle", 5).degraded is None
    provider.chaos = lambda _method, _path: Fault(status=500)
    found = services.retriever.search(CALLER, ANYONE, "kettle", 5)
    assert found.degraded == "found by keywords alone: no embedder"
    assert "kettle" in found.hits[0].text
    vectors_only = Services(paid.settings.model_copy(update={"dense_weight": 1.0}))
    with pytest.raises(EmbedderUnavailable):
        ask(vectors_only, "kettle")
    provider.chaos = lambda _method, _path: None
    vectors_only.close()
    services.close()


def test_queries_are_paid_for_and_a_spent_budget_leaves_keywords(
    paid: Pipeline, provider: OpenAIServer, tree: Path
) -> None:
    """Each question is in the ledger under its agent and its person."""
    run(paid, tree, "r1", DELTA)
    before = provider.invoice
    services = Services(paid.settings)
    ask(services, "kettle")
    with paid.catalog.begin() as connection:
        found = {
            each.group: each.dollars
            for each in costs.report(
                connection, "agent", _TODAY - timedelta(1), _TODAY + timedelta(2)
            )
        }
    assert found["test"] == provider.invoice - before > 0
    allow(paid, "0")
    degraded = services.retriever.search(CALLER, ANYONE, "kettle", 5)
    assert degraded.degraded == "found by keywords alone: a budget is spent"
    services.close()


def test_a_move_to_a_providers_model_takes_batches_and_is_waited_for(
    pages: Pipeline,
    provider: OpenAIServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The old collection serves meanwhile; nothing was sent before somebody went ahead."""
    providers.forget(provider)
    monkeypatch.setattr("sluice.ingest.filling.Policy", lambda: BULK)
    file = providers.endpoints(provider, tmp_path, monkeypatch)
    settings = pages.settings.model_copy(update={"endpoints": file})
    told = Pipeline(settings, batch=4)
    told_cost = migration(told, embedder=providers.NAME).forecast()
    assert provider.requests == []
    provider.batches.fate = lambda _number: Outcome(polls=2)
    with pytest.raises(StillEmbedding):
        migration(told, embedder=providers.NAME).build()
    assert told.collections.serving().collection.embedder == "local-static"
    assert migrate(told, embedder=providers.NAME) is not None
    assert told.collections.serving().collection.embedder == providers.NAME
    assert set(provider.charged["batch"].values()) == {1}
    assert told_cost.tokens.value == sum(
        tokens for (tier, _), tokens in provider.tokens.items() if tier == "batch"
    )
    assert holds_what_is_live(told, told.collections.serving())
    told.close()


def test_what_a_run_would_embed_is_told_beforehand(
    paid: Pipeline, provider: OpenAIServer, tree: Path
) -> None:
    """Also with another model; nothing is sent, and afterwards there is nothing left to embed."""
    source = Files(name="pages", url=str(tree), policy=DELTA)
    ingest.extract(paid, source, "r1")
    ingest.validate(paid, source, "r1")
    told = ingest.look_ahead(paid, source)
    free = ingest.look_ahead(paid, source, "local-static")
    assert provider.requests == []
    assert (told.documents, told.cached, told.tier) == (12, 0, "standard")
    assert free.dollars == {"standard": 0}
    done = ingest.publish(paid, source, "r1")
    assert (done.tokens, Decimal(done.dollars)) == (told.tokens, told.dollars["standard"])
    assert ingest.look_ahead(paid, source).tokens == 0


@pytest.mark.parametrize(
    ("tokens", "left", "policy", "expected"),
    [
        (10, None, Policy(), "standard"),
        (500_000, None, Policy(), "batch"),
        (500_000, None, Policy(patience=timedelta(hours=1)), "standard"),
        (10**9, None, Policy(batch_from=None), "standard"),
        (100, Decimal("1.5"), Policy(), "batch"),
        (100, Decimal("0.5"), Policy(), "standard"),
        (100, Decimal(5), Policy(), "standard"),
    ],
)
def test_the_tier_follows_size_urgency_and_budget(
    tokens: int, left: Decimal | None, policy: Policy, expected: str
) -> None:
    """Much, or too dear otherwise: batch. In a hurry: standard."""
    prices = {"standard": Decimal(2), "batch": Decimal(1)}
    assert choose(tokens, prices, left, policy)[0] == expected  # type: ignore[arg-type]  # str keys
    only = {"standard": Decimal(2)}
    assert choose(tokens, only, left, policy)[0] == "standard"  # type: ignore[arg-type]  # str keys


def test_a_document_is_erased_from_the_cache_with_all_its_versions_and_models(
    paid: Pipeline, provider: OpenAIServer, tree: Path
) -> None:
    """Nothing else is, but what has the very same words; that is embedded again when needed."""
    run(paid, tree, "r1", DELTA)
    page = tree / "p1.md"
    page.write_text(page.read_text().replace("wordp1x1x5 ", "wordp1x1x5 edited "))
    run(paid, tree, "r2", DELTA)
    before = cached(paid)
    with paid.catalog.begin() as connection:
        chunks = connection.execute(
            sa.text(
                "SELECT sum(octet_length(content_hashes)) / 32 FROM sluice.generation"
                " WHERE document_id = 'pages:p1.md'"
            )
        ).scalar_one()
        erased = embeddings.erase(connection, "pages:p1.md")
        assert embeddings.erase(connection, "pages:nothing.md") is None
    assert erased and erased < chunks  # the two versions share all but one
    assert before - cached(paid) == erased
    write(tree, "p1", edition=2)
    assert run(paid, tree, "r3", DELTA).embedded > 0
    assert set(provider.charged["standard"].values()) == {1}


def cached(pipeline: Pipeline) -> int:
    """How many vectors the cache holds."""
    with pipeline.catalog.begin() as connection:
        return int(
            connection.execute(sa.text("SELECT count(*) FROM sluice.embedding")).scalar_one()
        )


def test_a_cache_that_is_bound_forgets_and_pays_again(
    paid: Pipeline, provider: OpenAIServer, settings: Settings, tree: Path
) -> None:
    """After a publish, what is older than the day before yesterday goes."""
    run(paid, tree, "r1", DELTA)
    with paid.catalog.begin() as connection:
        connection.execute(sa.text("UPDATE sluice.embedding SET used_on = current_date - 5"))
        connection.execute(
            sa.text(
                "INSERT INTO sluice.embedding (model, content_hash, vector, used_on)"
                " VALUES ('old', 'x', convert_to(repeat('x', 2000000), 'UTF8'), current_date - 9)"
            )
        )
    held = cached(paid)
    bound = Pipeline(paid.settings.model_copy(update={"cache_mb": 1}), batch=4)
    write(tree, "new")
    run(bound, tree, "r2", DELTA)
    bound.close()
    assert cached(paid) > held - 1
    with paid.catalog.begin() as connection:
        assert embeddings.size(connection) == 0


def test_an_agent_over_its_limit_is_refused_and_that_is_on_record(
    paid: Pipeline, provider: OpenAIServer, tree: Path
) -> None:
    """It is told when to ask again; other agents are answered."""
    run(paid, tree, "r1", DELTA)
    with paid.catalog.begin() as connection:
        rows.set_limit(
            connection, rows.Setting(level="agent", name=CALLER.agent, requests=1, tokens=None)
        )
    services = Services(paid.settings)
    ask(services, "kettle")
    with pytest.raises(LimitExceeded, match="agent test: asks for more than its limit") as refused:
        ask(services, "teapot")
    assert 5 < refused.value.after <= 60
    other = replace(CALLER, agent="other")
    assert services.retriever.search(other, ANYONE, "teapot", 5).degraded is None
    with paid.catalog.begin() as connection:
        outcomes = connection.execute(
            sa.text("SELECT outcome FROM sluice.audit_event ORDER BY event_id")
        ).scalars()
        assert list(outcomes) == ["answered", "LimitExceeded", "answered"]
    services.close()


def test_two_runs_that_need_the_same_texts_at_once_pay_for_them_once(
    paid: Pipeline, provider: OpenAIServer, tree: Path
) -> None:
    """Whoever comes second waits for the vectors of the first."""
    provider.latency = 0.2
    other = Pipeline(paid.settings, batch=4)

    def publish(pipeline: Pipeline, name: str) -> RunSummary:
        source = Files(name=name, url=str(tree), policy=DELTA)
        return ingest.run(pipeline, source, f"{name}:1")

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(publish, (paid, other), ("pages", "copies"))
    other.close()
    assert one.new == two.new == 12
    assert set(provider.charged["standard"].values()) == {1}
    assert one.embedded + two.embedded == one.chunks


def test_what_a_dead_run_was_embedding_is_awaited_no_longer_than_its_lease(
    catalog: Catalog,
) -> None:
    """Its own next try need not wait; another run does, until it is thought to be dead."""
    texts = {digest("a"), digest("b")}
    with catalog.begin() as connection:
        assert embeddings.take(connection, "small", texts, "dead:1") == texts
    with catalog.begin() as connection:
        assert embeddings.take(connection, "small", texts, "other:1") == set()
        assert embeddings.take(connection, "small", texts, "dead:1") == texts
        connection.execute(
            sa.text("UPDATE sluice.embedding_under_way SET until = now() - interval '1 s'")
        )
        assert embeddings.take(connection, "small", texts, "other:1") == texts
        embeddings.leave(connection, "small", texts, "dead:1")
        assert embeddings.take(connection, "small", texts, "dead:1") == set()
