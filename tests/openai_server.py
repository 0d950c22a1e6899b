"""A server on loopback that speaks OpenAI's API for embeddings, files and batches.

It validates as the real one does and fails as the real one does; ``faults`` makes it fail more
often. It keeps the bill: what was charged at which price, and which text was embedded how often.
Batches are in ``openai_batches.py``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import uvicorn
from sluice.embedding.vocabulary import count
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

KEY, NO_SCOPE = "sk-test", "sk-without-scope"
MODELS = {  # dimensions, and dollars for a million tokens in both tiers
    "text-embedding-3-small": (1536, Decimal("0.02"), Decimal("0.01")),
    "text-embedding-3-large": (3072, Decimal("0.13"), Decimal("0.065")),
    "text-embedding-ada-002": (1536, Decimal("0.10"), Decimal("0.05")),
}
MOST_INPUTS, MOST_TOKENS, WINDOW = 2_048, 300_000, 8_192


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One request that goes wrong."""

    status: int | None = None  # answered instead of doing anything
    code: str | None = None
    after: float | None = None  # seconds, in Retry-After
    delay: float = 0.0  # seconds, before anything is done
    drop: str | None = None  # the connection: "before" or "after" the work is done
    html: bool = False  # a proxy's page instead of an answer, after the work is done
    spoil: Callable[[dict[str, Any]], Any] | None = None  # what is answered instead


class Problem(Exception):  # it is what the API calls an error
    """What the API answers when it refuses."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        after: float | None = None,
    ):
        kind = "invalid_request_error" if status != 429 else "requests"
        self.status = status
        self.after = after
        self.error = {"message": message, "type": kind, "param": param, "code": code}
        super().__init__(message)


@dataclass(slots=True)
class Stored:
    """A file."""

    content: bytes
    filename: str
    purpose: str
    created_at: int


@dataclass(slots=True)
class OpenAIServer:
    """What tests see of it, and may change while it runs."""

    port: int
    key: str = KEY
    faults: deque[tuple[str, Fault]] = field(default_factory=deque)  # "POST /v1/embeddings", what
    chaos: Callable[[str, str], Fault | None] = lambda _method, _path: None
    rate: int | None = None  # requests a second
    a_minute: tuple[int, int] | None = None  # requests and tokens; every answer says what is left
    latency: float = 0.0  # seconds of a request for embeddings
    at_a_time: int | None = None  # requests that it works on; more wait
    charged: dict[str, Counter[tuple[str, str]]] = field(
        default_factory=lambda: defaultdict(Counter)
    )  # by tier: how often each model and text was
    tokens: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    requests: list[str] = field(default_factory=list)  # "POST /v1/embeddings", in order
    files: dict[str, Stored] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    batches: Any = None  # see openai_batches.Batches
    burst: float = 60.0  # seconds' worth of them that it takes at once
    _full: dict[str, float] = field(default_factory=dict)  # when each limit is free again
    _seen: deque[float] = field(default_factory=deque)
    _turns: threading.Semaphore | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def invoice(self) -> Decimal:
        """Dollars, to the last digit."""
        return sum((self.dollars(tier) for tier in ("standard", "batch")), Decimal(0))

    def dollars(self, tier: str) -> Decimal:
        """What one tier has cost."""
        at = 1 if tier == "standard" else 2
        return sum(
            (
                tokens * Decimal(MODELS[model][at]) / 1_000_000
                for (each, model), tokens in self.tokens.items()
                if each == tier
            ),
            Decimal(0),
        )

    def embeddings(self, body: Mapping[str, Any], tier: str) -> dict[str, Any]:
        """Validate a request, charge it, and answer it."""
        model, texts = validated(body)
        counts = [count("cl100k_base", each) for each in texts]
        for tokens in counts:
            if tokens > WINDOW:
                raise Problem(
                    400,
                    f"This model's maximum context length is {WINDOW} tokens, however you "
                    f"requested {tokens} tokens ({tokens} in your prompt; 0 for the completion). "
                    "Please reduce your prompt; or completion length.",
                )
        if sum(counts) > MOST_TOKENS:
            raise Problem(
                400,
                f"Requested {sum(counts)} tokens, max {MOST_TOKENS} tokens per request",
                "max_tokens_per_request",
            )
        if tier == "standard" and self.a_minute:
            self.take(sum(counts))
        with self.lock:
            self.charged[tier].update((model, each) for each in texts)
            self.tokens[tier, model] += sum(counts)
        size = body.get("dimensions") or MODELS[model][0]
        shown = _base64 if body.get("encoding_format") == "base64" else np.ndarray.tolist
        return {
            "object": "list",
            "data": [
                {"object": "embedding", "index": i, "embedding": shown(vector(model, size, each))}
                for i, each in enumerate(texts)
            ],
            "model": model,
            "usage": {"prompt_tokens": sum(counts), "total_tokens": sum(counts)},
        }

    def fault(self, method: str, path: str) -> Fault | None:
        """What goes wrong with this request."""
        with self.lock:
            self.requests.append(f"{method} {path}")
            if self.faults and f"{method} {path}".startswith(self.faults[0][0]):
                return self.faults.popleft()[1]
        return self.chaos(method, path)

    def require_rate(self) -> None:
        """Refuse what comes faster than allowed."""
        if self.rate is None:
            return
        with self.lock:
            now = time.monotonic()
            while self._seen and self._seen[0] < now - 1:
                self._seen.popleft()
            if len(self._seen) >= self.rate:
                raise Problem(429, "Rate limit reached for requests", "rate_limit_exceeded")
            self._seen.append(now)

    def take(self, tokens: int) -> None:
        """Count a request for the limits of a minute, or refuse it."""
        with self.lock:
            now = time.monotonic()
            for (of, limit), asked in zip(self._limits(), (1, tokens), strict=True):
                full = max(self._full.get(of, now), now) + 60 * asked / limit
                if full > now + self.burst:
                    raise Problem(
                        429,
                        f"Rate limit reached for text-embedding-3-small on {of} per min: Limit "
                        f"{limit}, Requested {asked}.",
                        "rate_limit_exceeded",
                        after=full - now - self.burst,
                    )
            for (of, limit), asked in zip(self._limits(), (1, tokens), strict=True):
                self._full[of] = max(self._full.get(of, now), now) + 60 * asked / limit

    def _limits(self) -> list[tuple[str, int]]:
        return [("requests", self.a_minute[0]), ("tokens", self.a_minute[1])]  # type: ignore[index]

    def told(self) -> dict[str, str]:
        """What every answer says of the limits."""
        if self.a_minute is None:
            return {}
        headers, now = {}, time.monotonic()
        for of, limit in self._limits():
            reset = max(self._full.get(of, now) - now, 0.0)
            headers[f"x-ratelimit-limit-{of}"] = str(limit)
            headers[f"x-ratelimit-remaining-{of}"] = str(int(limit * (1 - reset / self.burst)))
            shown = (
                f"{int(reset // 60)}m{reset % 60:.3f}s" if reset >= 1 else f"{reset * 1e3:.0f}ms"
            )
            headers[f"x-ratelimit-reset-{of}"] = shown
        return headers

    @contextmanager
    def working(self) -> Iterator[None]:
        """As long as a request takes, in turn."""
        if self.at_a_time and self._turns is None:
            self._turns = threading.Semaphore(self.at_a_time)
        if self._turns is None:
            time.sleep(self.latency)
            yield
            return
        with self._turns:
            time.sleep(self.latency)
            yield


def validated(body: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The model and the texts of a request for embeddings."""
    model, given, size = body.get("model"), body.get("input"), body.get("dimensions")
    if model not in MODELS:
        raise Problem(
            404,
            f"The model `{model}` does not exist or you do not have access to it.",
            "model_not_found",
        )
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(x, str) for x in texts):
        raise Problem(400, "'$.input' is invalid. Please check the API reference.", None, "input")
    if any(not each for each in texts):
        raise Problem(400, "'$.input' is invalid. Please check the API reference.", None, "input")
    if len(texts) > MOST_INPUTS:
        raise Problem(400, f"'$.input' is too long. Maximum of {MOST_INPUTS} items.", None, "input")
    if size is not None and (model.endswith("002") or not 0 < size <= MODELS[model][0]):
        raise Problem(400, f"Invalid value for 'dimensions' = {size}.", None, "dimensions")
    return model, texts


def vector(model: str, size: int, text: str) -> Any:
    """Any unit vector, the same for the same text; the first components of a longer one are it."""
    seed = hashlib.blake2b(f"{model}\0{text}".encode(), digest_size=8).digest()
    random = np.random.Generator(np.random.SFC64(int.from_bytes(seed)))
    found = random.standard_normal(size, np.float32)
    return found / np.linalg.norm(found)


def _base64(row: Any) -> str:
    return base64.b64encode(row.astype("<f4").tobytes()).decode()


def _authorised(server: OpenAIServer, request: Request) -> None:
    key = request.headers.get("authorization", "").removeprefix("Bearer ")
    if key == NO_SCOPE:
        raise Problem(
            403,
            "You have insufficient permissions for this operation. Missing scopes: model.request.",
            "missing_scope",
        )
    if key != server.key:
        raise Problem(401, f"Incorrect API key provided: {key[:4]}***.", "invalid_api_key")


Handler = Callable[[OpenAIServer, Request, Any], Any]


def _route(server: OpenAIServer, path: str, method: str, handler: Handler) -> Route:
    """A route that authenticates, fails when it is to, and answers in the API's own shape."""

    def answer(request: Request, body: Any) -> Response:
        fault = server.fault(method, request.url.path) or Fault()
        time.sleep(fault.delay)
        if fault.drop == "before":
            raise ConnectionAbortedError
        try:
            if fault.status:
                raise Problem(fault.status, "made to fail", fault.code)
            _authorised(server, request)
            found = handler(server, request, body)
        except Problem as problem:
            told = server.told()
            if problem.status in {429, 503}:
                told["retry-after"] = str(problem.after or fault.after or 0.02)
            return JSONResponse({"error": problem.error}, problem.status, told)
        if fault.drop == "after":
            raise ConnectionAbortedError
        return _shown(found, fault, server.told())

    async def endpoint(request: Request) -> Response:
        body = await _body(request)
        try:
            return await run_in_threadpool(answer, request, body)
        except ConnectionAbortedError:
            return _Dropped()

    return Route(path, endpoint, methods=[method])


def _shown(found: Any, fault: Fault, headers: dict[str, str]) -> Response:
    if fault.html:
        return Response("<html><body>Welcome</body></html>", media_type="text/html")
    if fault.spoil:
        found = fault.spoil(found)
    if isinstance(found, bytes):
        return Response(found, media_type="application/octet-stream")
    return Response(json.dumps(found), headers=headers, media_type="application/json")


async def _body(request: Request) -> Any:
    """JSON, or the name, the purpose and the content of a file."""
    if request.headers.get("content-type", "").startswith("multipart/"):
        async with request.form(max_part_size=2**30) as form:
            upload = form["file"]
            content = await upload.read()  # type: ignore[union-attr]
            return upload.filename, form["purpose"], content  # type: ignore[union-attr]
    raw = await request.body()
    return json.loads(raw) if raw else {}


class _Dropped(Response):
    """Nothing: the connection is closed in the middle."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-length", b"100000"), (b"content-type", b"application/json")],
            }
        )
        await send({"type": "http.response.body", "body": b"{", "more_body": False})


def _embeddings(server: OpenAIServer, request: Request, body: Any) -> dict[str, Any]:
    server.require_rate()
    with server.working():
        return server.embeddings(body, "standard")


@contextmanager
def start(**options: Any) -> Iterator[OpenAIServer]:
    """A server, until the body ends."""
    import openai_batches

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = OpenAIServer(port=listening.getsockname()[1], **options)
    server.batches = openai_batches.Batches(server)
    routes: Sequence[tuple[str, str, Handler]] = (
        ("/v1/embeddings", "POST", _embeddings),
        *openai_batches.ROUTES,
    )
    app = Starlette(routes=[_route(server, path, how, what) for path, how, what in routes])
    config = uvicorn.Config(app, log_level="critical", lifespan="off")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, args=([listening],), daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    try:
        yield server
    finally:
        running.should_exit = True
        thread.join(5)
        listening.close()


def reordered(found: dict[str, Any]) -> dict[str, Any]:
    """The same entries in another order; each says which it is."""
    return {**found, "data": found["data"][::-1]}


def resized(found: dict[str, Any]) -> dict[str, Any]:
    """Vectors of another size."""
    return {**found, "data": [{**each, "embedding": [1.0, 0.0]} for each in found["data"]]}


def unknown_numbers(found: dict[str, Any]) -> dict[str, Any]:
    """A vector that is no direction."""
    first, *rest = found["data"]
    return {**found, "data": [{**first, "embedding": [float("nan")] * 1536}, *rest]}


def incomplete(found: dict[str, Any]) -> dict[str, Any]:
    """One vector too few."""
    return {**found, "data": found["data"][:-1]}
