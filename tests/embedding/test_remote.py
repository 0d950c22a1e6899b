"""Embedding over HTTP: the real client, a server that validates and fails as OpenAI's does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import numpy as np
import openai_server
import providers
import pytest
from openai_server import Fault, OpenAIServer
from sluice.embedding import answers, open_embedder
from sluice.embedding.remote import RemoteEmbedder
from sluice.errors import (
    BadInput,
    ConfigurationError,
    EmbedderRefused,
    EmbedderUnavailable,
    Overloaded,
)
from sluice.model import Limit, Quota, Spend
from sluice.ports import Charge

EMBED = "POST /v1/embeddings"


class Tally:
    """A meter that allows everything and remembers it."""

    def __init__(self) -> None:
        self.told: list[Quota] = []
        self.asked: list[Spend] = []
        self.charged: list[int] = []

    @contextmanager
    def paying(self, spend: Spend, limit: Limit) -> Iterator[Charge]:
        """Let it go."""
        self.asked.append(spend)
        yield self.charged.append

    def heard(self, endpoint: str, quota: Quota) -> None:
        """Remember it too."""
        self.told.append(quota)


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    """A server of its own for each test."""
    with openai_server.start() as running:
        yield running


@pytest.fixture
def embedder(
    server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> RemoteEmbedder:
    """An embedder that reaches it."""
    return reach(server, tmp_path, monkeypatch)


def reach(
    server: OpenAIServer,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    model: str = "text-embedding-3-small",
    further: str = "",
) -> RemoteEmbedder:
    """Open an embedder of an endpoint that is described in a file."""
    file = providers.endpoints(
        server,
        folder,
        monkeypatch,
        model=model.partition("@")[0],
        extra=f"timeout = 2.0\n{further}",
    )
    found = open_embedder(f"gateway/{model}", file)
    assert isinstance(found, RemoteEmbedder)
    return found


def test_vectors_come_in_the_order_of_the_texts_and_are_paid_for(
    server: OpenAIServer, embedder: RemoteEmbedder
) -> None:
    """What is asked for is exactly what is billed: tokens are counted as the provider does."""
    texts, tally = [f"text number {i} é\0 {'😀' * i}" for i in range(50)], Tally()
    found = embedder.embed(texts, tally)
    expected = np.stack(
        [openai_server.vector("text-embedding-3-small", 1536, each) for each in texts]
    )
    assert np.allclose(found, expected, atol=1e-6)
    assert [each.tokens for each in tally.asked] == tally.charged
    assert sum((each.dollars for each in tally.asked), Decimal(0)) == server.invoice


def test_a_model_can_be_shortened_and_is_then_another_one(
    server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its vectors have so many dimensions, and a name of their own."""
    small = reach(server, tmp_path, monkeypatch, model="text-embedding-3-small@256")
    assert small.embed(["a text"], Tally()).shape == (1, 256)
    assert small.model == "gateway/text-embedding-3-small@256"


def test_the_same_model_elsewhere_is_another_one_unless_somebody_says_so(
    server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows what a gateway serves under a name; Azure's is OpenAI's."""
    azure = reach(server, tmp_path, monkeypatch, further='same_vectors_as = "openai"')
    assert azure.model == "text-embedding-3-small"
    assert reach(server, tmp_path, monkeypatch).model == "gateway/text-embedding-3-small"


def test_requests_are_packed_to_the_limits(
    server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many inputs and tokens as one may have, and no more: the server would refuse it."""
    embedder = reach(server, tmp_path, monkeypatch, model="text-embedding-3-small@8")
    embedder.embed(["word"] * 5_000, Tally())
    assert server.requests.count(EMBED) == 3
    embedder.embed(["word " * 8_000] * 40, Tally())
    assert server.requests.count(EMBED) == 5
    assert server.charged["standard"].total() == 5_040


@pytest.mark.parametrize("bad", ["", "word " * 9_000])
def test_a_text_that_no_request_can_hold_is_refused_before_any_is_sent(
    server: OpenAIServer, embedder: RemoteEmbedder, bad: str
) -> None:
    """It is named by its place, and nothing is paid."""
    with pytest.raises(BadInput, match="text 2 of 2"):
        embedder.embed(["good", bad], Tally())
    with pytest.raises(BadInput):
        embedder.ask(bad, Tally())
    assert server.requests == []


@pytest.mark.parametrize("text", ["   ", "a\0b", "\ud800", "<|endoftext|>"])
def test_odd_texts_are_embedded(server: OpenAIServer, embedder: RemoteEmbedder, text: str) -> None:
    """All-space, NUL, a lone surrogate, what looks like a special token."""
    tally = Tally()
    assert embedder.embed([text], tally).shape == (1, 1536)
    assert tally.charged == [each.tokens for each in tally.asked]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=429, code="rate_limit_exceeded", after=0.05),
        Fault(status=500),
        Fault(status=503, after=0.05),
        Fault(drop="before"),
        Fault(drop="after"),
        Fault(html=True),
        Fault(spoil=openai_server.unknown_numbers),
        Fault(spoil=openai_server.incomplete),
        Fault(delay=2.5),
    ],
    ids=lambda each: str(each)[6:40],
)
def test_what_passes_is_tried_again(
    server: OpenAIServer, embedder: RemoteEmbedder, fault: Fault
) -> None:
    """And what may have been done without our hearing of it counts as billed."""
    server.faults.append((EMBED, fault))
    tally = Tally()
    assert embedder.embed(["text"], tally).shape == (1, 1536)
    done = server.charged["standard"].total()
    assert len(tally.charged) >= done  # never less in the ledger than on the bill


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Fault(status=400), "400: made to fail"),
        (Fault(status=429, code="insufficient_quota"), r"Raise the quota"),
        (Fault(spoil=openai_server.resized), "vectors of 2 dimensions instead of 1536"),
    ],
)
def test_what_will_never_do_is_not_tried_again(
    server: OpenAIServer, embedder: RemoteEmbedder, fault: Fault, why: str
) -> None:
    """One request, one line that says what is wrong and the cure."""
    server.faults.append((EMBED, fault))
    with pytest.raises(EmbedderRefused, match=why):
        embedder.embed(["text"], Tally())
    assert server.requests == [EMBED]


def test_entries_in_another_order_are_put_in_order(
    server: OpenAIServer, embedder: RemoteEmbedder
) -> None:
    """Each says which text it is of."""
    server.faults.append((EMBED, Fault(spoil=openai_server.reordered)))
    found = embedder.embed(["one", "two"], Tally())
    assert np.allclose(found[0], openai_server.vector("text-embedding-3-small", 1536, "one"))


def test_wrong_keys_and_models_say_so(
    server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """401, 403 for a key without the scope, 404; and a key that is not set at all."""
    for key, why in (
        ("sk-wrong", "401.*Check the key"),
        (openai_server.NO_SCOPE, "Missing scopes"),
    ):
        embedder = reach(server, tmp_path, monkeypatch)
        monkeypatch.setenv("GATEWAY_KEY", key)
        with pytest.raises(EmbedderRefused, match=why):
            embedder.embed(["text"], Tally())
    with pytest.raises(EmbedderRefused, match=r"404.*Check the model's name"):
        reach(server, tmp_path, monkeypatch, model="text-embedding-9").embed(["text"], Tally())
    embedder = reach(server, tmp_path, monkeypatch)
    monkeypatch.delenv("GATEWAY_KEY")
    with pytest.raises(ConfigurationError, match="GATEWAY_KEY is not set"):
        embedder.embed(["text"], Tally())


def test_nobody_embeds_without_a_meter(server: OpenAIServer, embedder: RemoteEmbedder) -> None:
    """What costs money is never sent by the way."""
    with pytest.raises(ConfigurationError, match="a meter must be there"):
        embedder.embed(["text"])
    assert server.requests == []


def test_a_question_waits_for_no_retry_and_a_dead_endpoint_for_nobody(
    server: OpenAIServer, embedder: RemoteEmbedder
) -> None:
    """One try; after five failures in a row none for a while."""
    server.chaos = lambda _method, _path: Fault(status=500)
    for _ in range(5):
        with pytest.raises(EmbedderUnavailable, match="500"):
            embedder.ask("question", Tally())
    began = time.monotonic()
    with pytest.raises(EmbedderUnavailable, match="left alone"):
        embedder.ask("question", Tally())
    assert time.monotonic() - began < 0.5
    assert server.requests.count(EMBED) == 5


def test_more_questions_than_can_be_embedded_are_refused_at_once(
    server: OpenAIServer, embedder: RemoteEmbedder
) -> None:
    """With the seconds after which to ask again; those that were let in are answered."""
    server.latency = 0.5
    with ThreadPoolExecutor(100) as pool:
        asked = [pool.submit(embedder.ask, f"question {i}", Tally()) for i in range(100)]
        errors = [each.exception() for each in asked]
    refused = [each for each in errors if isinstance(each, Overloaded)]
    assert refused and all(each.after == 1.0 for each in refused)
    assert len(refused) == sum(each is not None for each in errors)
    assert len(errors) - len(refused) >= 16


def test_a_slow_endpoint_is_asked_less_at_a_time_not_given_up(
    server: OpenAIServer, embedder: RemoteEmbedder
) -> None:
    """Whoever is let in is answered, however many come: nobody times out in a queue of ours."""
    server.latency, server.at_a_time = 0.1, 1

    def ask(number: int) -> Exception | None:
        try:
            embedder.ask(f"question {number}", Tally())
        except Overloaded as error:
            return error
        return None

    with ThreadPoolExecutor(40) as pool:
        refused = [each for each in pool.map(ask, range(160)) if each]
    assert 0 < len(refused) < 150


def test_what_an_endpoint_says_of_its_limits_is_passed_on_when_little_is_left(
    server: OpenAIServer, embedder: RemoteEmbedder
) -> None:
    """In requests or tokens a minute, with the seconds until all of it is free again."""
    server.a_minute = (10, 1_000)
    tally = Tally()
    embedder.embed(["few tokens"], tally)
    assert tally.told == []
    embedder.embed(["token " * 600], tally)
    (told,) = tally.told
    assert (told.requests, told.tokens, told.requests_full) == (None, 1_000, 0.0)
    assert 30 < told.tokens_full <= 60


def test_who_is_told_to_wait_tells_all_others(
    server: OpenAIServer, embedder: RemoteEmbedder
) -> None:
    """Nobody else has to be refused to know it; more than two minutes are never waited for."""
    server.faults.append((EMBED, Fault(status=429, after=0.1)))
    tally = Tally()
    embedder.embed(["text"], tally)
    assert [each.pause for each in tally.told] == [0.1]
    server.faults.append((EMBED, Fault(status=429, after=86_400)))
    with pytest.raises(EmbedderUnavailable):
        embedder.ask("text", tally)
    assert tally.told[-1].pause == 120.0


@pytest.mark.parametrize(
    ("shown", "seconds"), [("1s", 1), ("6m0s", 360), ("20ms", 0.02), ("1h2m3.5s", 3723.5)]
)
def test_durations_are_read_as_they_are_shown(shown: str, seconds: float) -> None:
    """As Go prints them; longer than two minutes is two minutes, and nonsense is nothing."""
    headers = {
        "x-ratelimit-limit-tokens": "100",
        "x-ratelimit-remaining-tokens": "1",
        "x-ratelimit-reset-tokens": shown,
    }
    found = answers.quota(headers)
    assert found is not None and found.tokens_full == min(seconds, 120)
    for nonsense in ("", "soon", "1", "-1s", "1s!"):
        assert answers.quota({**headers, "x-ratelimit-reset-tokens": nonsense}) is None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("openai/text-embedding-9", "no such embedder"),
        ("nowhere/model", "no such embedder"),
        ("openai/text-embedding-ada-002@256", "vectors of 1536 dimensions$"),
        ("openai/text-embedding-3-small@4096", "1536 dimensions or fewer"),
        ("openai/text-embedding-3-small@0", "1536 dimensions or fewer"),
        ("local-nothing", "no such embedder"),
    ],
)
def test_a_name_that_is_none_is_refused(name: str, why: str) -> None:
    """With what there is."""
    with pytest.raises(ConfigurationError, match=why):
        open_embedder(name)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[a", "endpoints.toml"),
        ("[a]\nbase_url = 'ftp://x'\nmodels = {}", "base_url"),
        ("[a]\nbase_url = 'http://x/v1'\nmodels = {}\nbatches = true", "batches"),
        ("[a]\nbase_url = 'http://x/v1'\n[a.models.m]\ndimensions = 0", "dimensions"),
    ],
)
def test_a_file_of_endpoints_that_is_wrong_is_refused(tmp_path: Path, text: str, why: str) -> None:
    """By the place where it is."""
    file = tmp_path / "endpoints.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=why):
        open_embedder("a/m", file)


def test_prices_are_those_of_the_day() -> None:
    """The list prices of both tiers, in decimals."""
    embedder = open_embedder("openai/text-embedding-3-small")
    assert embedder.dollars(50_000_000) == Decimal("1.00")
    assert embedder.dollars(50_000_000, "batch") == Decimal("0.50")
    assert embedder.dollars(1) == Decimal("0.00000002")


def test_before_its_first_price_a_model_costs_that(tmp_path: Path) -> None:
    """A slip in a date makes nothing free."""
    file = tmp_path / "endpoints.toml"
    file.write_text(
        '[a]\nbase_url = "http://x/v1"\n[a.models.m]\ndimensions = 4\n'
        'prices = [{ from = 2999-01-01, standard = "2" }, { from = 2999-02-01, standard = "3" }]\n'
    )
    assert open_embedder("a/m", file).dollars(1_000_000) == Decimal(2)
