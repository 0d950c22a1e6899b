"""An embedder behind an endpoint that speaks OpenAI's API, at its standard price."""

from __future__ import annotations

import functools
import hashlib
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import openai
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from sluice.concurrency import Concurrency
from sluice.embedding import answers, packing, vocabulary
from sluice.embedding.breaker import Breaker
from sluice.embedding.endpoints import NAME, Endpoint, Model, read
from sluice.errors import BadInput, ConfigurationError, EmbedderUnavailable, Overloaded
from sluice.model import Limit, Spend, Tier
from sluice.ports import Meter, Vectors
from sluice.settings import secret

_ATTEMPTS = 6  # of a request for documents
_BACKOFF = wait_random_exponential(multiplier=0.5, max=30.0)  # seconds
_SOON = 3.0  # seconds that a question waits
_LONGEST = 240.0  # seconds of a request: less than its money is held (``budget.LEASE``)
_PROMPT = 1.0  # seconds within which a question is embedded, or fewer go at a time
_TURN = 0.1  # seconds that a question waits to be among those
_QUESTIONS = 64  # at a time, in one process, however well it goes
_DOCUMENTS = 8  # requests for documents

_MILLION = Decimal(1_000_000)


class RemoteEmbedder:
    """``ports.Embedder`` over HTTP. Safe to share between threads."""

    parallel = _DOCUMENTS

    def __init__(self, name: str, endpoint: Endpoint, model: str, spec: Model, dimensions: int):
        """Name it; nothing is connected to before the first text.

        Args:
            name: of the endpoint.
            endpoint: where it is, and its limits.
            model: as the endpoint calls it.
            spec: what is known of it.
            dimensions: of each vector; fewer than the model has, if it shortens.
        """
        self.endpoint = endpoint
        self.endpoint_name = name
        self.remote_model = model
        self.dimensions = dimensions
        self.window = spec.window
        self._spec = spec
        space = endpoint.same_vectors_as or name
        short = "" if dimensions == spec.dimensions else f"@{dimensions}"
        self.model = f"{'' if space == 'openai' else space + '/'}{model}{short}"
        self._documents = Concurrency(most=_DOCUMENTS)
        self._breaker = Breaker(self.subject)
        self._questions = Concurrency(first=_QUESTIONS / 4, most=_QUESTIONS)

    @property
    def subject(self) -> str:
        """What errors are about."""
        return f"{self.endpoint_name}/{self.remote_model}"

    @property
    def host(self) -> str | None:
        """The machine that texts are sent to."""
        return self.endpoint.host

    @property
    def dense_weight(self) -> float:
        """As the file of endpoints says of the model."""
        return self._spec.dense_weight

    @functools.cached_property
    def client(self) -> openai.OpenAI:
        """The client, without retries of its own: each of ours asks the limits and the breaker.

        Raises:
            ConfigurationError: the key is not set, or the authority cannot be read.
        """
        return connect(self.endpoint_name, self.endpoint)

    @functools.cached_property
    def limit(self) -> Limit:
        """What may be asked in a minute: of a server and a model with a key, whoever uses it."""
        key = secret(self.endpoint.api_key) if self.endpoint.api_key else None
        named = hashlib.sha256(f"{key}".encode()).hexdigest()[:16]
        return Limit(
            name=f"{self.endpoint.base_url} {self.remote_model} {named}",
            requests=self.endpoint.requests_per_minute,
            tokens=self.endpoint.tokens_per_minute,
        )

    @property
    def limits(self) -> packing.RequestLimits:
        """Of one request."""
        tokens = self.endpoint.tokens_a_request
        if self.endpoint.tokens_per_minute:
            tokens = min(tokens, max(self.endpoint.tokens_per_minute, self.window))
        return packing.RequestLimits(
            inputs=self.endpoint.inputs_a_request,
            tokens=tokens,
            tokens_an_input=self.window,
        )

    def count_tokens(self, text: str) -> int:
        """How many tokens are billed for ``text``."""
        return vocabulary.count(self._spec.vocabulary, text)

    def dollars(self, tokens: int, tier: Tier = "standard") -> Decimal:
        """What so many tokens cost today, to the last digit."""
        return tokens * self._spec.price(tier, datetime.now(UTC).date()) / _MILLION

    def spend(self, tokens: int, tier: Tier = "standard") -> Spend:
        """What a request of so many tokens is."""
        return Spend(
            endpoint=self.endpoint_name,
            model=self.model,
            tier=tier,
            tokens=tokens,
            dollars=self.dollars(tokens, tier),
        )

    def arguments(self, texts: Sequence[str]) -> dict[str, Any]:
        """The body of a request for ``texts``."""
        body: dict[str, Any] = {
            "model": self.remote_model,
            "input": [vocabulary.sendable(each) for each in texts],
            "encoding_format": "base64",
        }
        if self.dimensions != self._spec.dimensions:
            body["dimensions"] = self.dimensions
        return body

    def embed(self, texts: Sequence[str], meter: Meter | None = None) -> Vectors:
        """Return unit-length float32 rows, shape ``(len(texts), dimensions)``.

        Requests are tried again for a while, as fast as the endpoint takes them.

        Raises:
            BadInput: a text is empty, or longer than the window.
            EmbedderUnavailable: it does not answer now, or not sensibly.
            EmbedderRefused: it never will.
            BudgetExhausted: it would cost more than ``meter`` allows.
            ConfigurationError: there is no meter.
        """
        counts = [self.count_tokens(each) for each in texts]
        found = np.empty((len(texts), self.dimensions), np.float32)
        for positions in packing.requests(counts, self.limits):
            tokens = sum(counts[each] for each in positions)
            some = [texts[each] for each in positions]
            for attempt in Retrying(
                retry=retry_if_exception_type(EmbedderUnavailable),
                stop=stop_after_attempt(_ATTEMPTS),
                wait=_wait,
                reraise=True,
            ):
                with attempt, self._turn(self._documents, None):
                    found[list(positions)] = self._request(some, tokens, meter, None)
        return found

    def ask(self, question: str, meter: Meter | None = None) -> Vectors:
        """Return a question's vector soon, or not at all: shape ``(dimensions,)``.

        Raises:
            Overloaded: too many are asked at the moment.
            BadInput, EmbedderUnavailable, EmbedderRefused, BudgetExhausted: as :meth:`embed` does.
        """
        tokens = self.count_tokens(question)
        if not 0 < tokens <= self.window:
            raise BadInput(f"a question has 1 to {self.window} tokens", subject="query")
        with self._turn(self._questions, _TURN):
            row: Vectors = self._request([question], tokens, meter, _SOON)[0]
        return row

    @contextmanager
    def _turn(self, among: Concurrency, patience: float | None) -> Iterator[None]:
        """Be one of those that go at a time; fewer do if it fails, or takes a question too long.

        Raises:
            Overloaded: there was no room for ``patience`` seconds.
        """
        ticket = among.enter(patience)
        if ticket is None:
            raise Overloaded("more questions than can be embedded", after=1.0, subject=self.subject)
        well, began = None, time.monotonic()
        try:
            yield
            well = patience is None or time.monotonic() - began < _PROMPT
        except EmbedderUnavailable:
            well = False
            raise
        finally:
            among.leave(ticket, well=well)

    def _request(
        self, texts: Sequence[str], tokens: int, meter: Meter | None, timeout: float | None
    ) -> Vectors:
        """One request, paid for: by what the endpoint says, or in full if it may have been done."""
        if meter is None:
            raise ConfigurationError("it costs money, so a meter must be there", subject=self.model)
        with self._breaker.attempt(), meter.paying(self.spend(tokens), self.limit) as charge:
            try:
                answered = self._send(texts, timeout)
                answer = answers.parsed(answered.text, self.subject)
            except openai.OpenAIError as error:
                if not answers.certain(error):
                    charge(tokens)
                if isinstance(error, openai.APIStatusError):
                    self._heed(error.response.headers, meter)
                raise answers.translated(error, self.subject) from None
            except EmbedderUnavailable:
                charge(tokens)
                raise
            charge(answers.usage(answer, tokens))
            self._heed(answered.headers, meter)  # once it is paid: it may fail
            return answers.vectors(answer, len(texts), self.dimensions, self.subject)

    def _send(self, texts: Sequence[str], timeout: float | None) -> Any:
        return self.client.embeddings.with_raw_response.create(
            **self.arguments(texts), timeout=timeout or min(self.endpoint.timeout, _LONGEST)
        )

    def _heed(self, headers: Mapping[str, str], meter: Meter) -> None:
        """Let everybody know what the endpoint still takes, where that is not plenty."""
        if quota := answers.quota(headers):
            meter.heard(self.limit.name, quota)


def connect(name: str, endpoint: Endpoint) -> openai.OpenAI:
    """A client of ``endpoint``.

    Raises:
        ConfigurationError: the key is not set, or the authority cannot be read.
    """
    key = secret(endpoint.api_key) if endpoint.api_key else "none"
    if not key:
        raise ConfigurationError(
            f"{endpoint.api_key} is not set", subject=name, cure="Set it to the endpoint's API key"
        )
    return openai.OpenAI(
        api_key=key,
        base_url=endpoint.base_url,
        timeout=endpoint.timeout,
        max_retries=0,
        _strict_response_validation=True,  # a page of HTML is no batch
        http_client=openai.DefaultHttpxClient(verify=_trust(name, endpoint)),
    )


def _trust(name: str, endpoint: Endpoint) -> ssl.SSLContext | bool:
    if endpoint.ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=endpoint.ca)
    except OSError as error:
        raise ConfigurationError(
            f"`ca` cannot be read: {error}", subject=name, cure="Name a PEM file"
        ) from None


def _wait(state: RetryCallState) -> float:
    """Seconds until the next attempt: what the server asked for, or a growing, random while."""
    error = state.outcome.exception() if state.outcome else None
    after = error.after if isinstance(error, EmbedderUnavailable) else None
    return _BACKOFF(state) if after is None else min(after, answers.LONGEST_WAIT)


@functools.cache
def open_remote(name: str, further: Path | None) -> RemoteEmbedder:
    """The embedder called ``<endpoint>/<model>[@<dimensions>]``, once per process.

    Args:
        name: as settings have it.
        further: the file that describes further endpoints.

    Raises:
        ConfigurationError: no such endpoint or model is known, or it has no such dimensions.
    """
    endpoints = read(further)
    form = NAME.fullmatch(name)
    endpoint = endpoints.get(form["endpoint"]) if form else None
    spec = endpoint.models.get(form["model"]) if form and endpoint else None
    if form is None or endpoint is None or spec is None:
        known = [f"{each}/{model}" for each in endpoints for model in endpoints[each].models]
        raise ConfigurationError(
            "no such embedder",
            subject=name,
            cure=f"Describe it in the file SLUICE_ENDPOINTS, or take one of {', '.join(known)}",
        )
    dimensions = int(form["dimensions"] or spec.dimensions)
    if dimensions != spec.dimensions and not (spec.shortens and 0 < dimensions < spec.dimensions):
        fewer = " or fewer" if spec.shortens else ""
        raise ConfigurationError(
            f"it gives vectors of {spec.dimensions} dimensions{fewer}", subject=name
        )
    return RemoteEmbedder(form["endpoint"], endpoint, form["model"], spec, dimensions)
