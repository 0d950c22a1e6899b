"""The way to a Weaviate: its endpoints, one client, and every failure as one error.

A client is made when it is first needed, so that a service starts while Weaviate is down. After any
failure the next request gets a client of its own, whose first question shows within moments whether
anybody is there.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import grpc  # type: ignore[import-untyped]  # it ships none
import httpx
import weaviate
from pydantic import SecretStr
from weaviate.auth import Auth
from weaviate.classes.init import AdditionalConfig, Timeout
from weaviate.config import GrpcConfig
from weaviate.connect import ConnectionParams

from sluice.errors import ConfigurationError
from sluice.settings import Settings

WRITES = 12  # times as long as a search may take
_GRPC = 50051

# Its log lines hold whole objects, of anyone's documents; what goes wrong reaches us otherwise.
logging.getLogger("weaviate-client").setLevel(logging.CRITICAL + 1)

Client = weaviate.WeaviateClient | weaviate.WeaviateAsyncClient
Work = Callable[[Any], Any]
"""What is asked of a client of either kind: the one answers, the other returns an awaitable."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a Weaviate is, and how to speak with it."""

    host: str
    port: int
    secure: bool
    grpc_host: str
    grpc_port: int
    timeout: float  # seconds of a search
    ca: Path | None = None
    key: SecretStr | None = field(default=None)

    def __str__(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.host}:{self.port}"

    @classmethod
    def of(cls, settings: Settings) -> Endpoint:
        """Read it from the settings.

        Raises:
            ConfigurationError: they do not say where it is.
        """
        if settings.weaviate_url is None:
            raise ConfigurationError(
                "SLUICE_WEAVIATE_URL is not set", cure="Set it to Weaviate's HTTP endpoint"
            )
        url = urlsplit(settings.weaviate_url)
        host, secure = url.hostname or "", url.scheme == "https"
        grpc_host, _, grpc_port = (settings.weaviate_grpc or f"{host}:{_GRPC}").rpartition(":")
        return cls(
            host=host,
            port=url.port or (443 if secure else 80),
            secure=secure,
            grpc_host=grpc_host,
            grpc_port=int(grpc_port),
            timeout=settings.weaviate_timeout,
            ca=settings.weaviate_ca,
            key=settings.weaviate_api_key,
        )


class Door(Protocol):
    """Carries requests to one Weaviate, for any number of threads."""

    def call(self, work: Work, seconds: float) -> Any:
        """Return what ``work`` returns for a client that is connected.

        Raises:
            TimeoutError: it took longer than ``seconds``.
            Exception: whatever the client raises.
        """

    def close(self) -> None:
        """Give the connections back; a later call makes new ones."""


class OwnDoor:
    """A synchronous client: for a task, a command, a test. Forgotten, it is closed."""

    def __init__(self, endpoint: Endpoint):
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._client: weaviate.WeaviateClient | None = None
        self._end: Callable[[], object] | None = None

    def call(self, work: Work, seconds: float) -> Any:  # noqa: ARG002  # the client keeps to its own
        """Ask in the caller's thread. The client's own timeouts bound it."""
        try:
            return work(self._connected())
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            self._client = None
            if self._end:
                self._end()

    def _connected(self) -> weaviate.WeaviateClient:
        with self._lock:
            if self._client is None:
                client = _client(weaviate.WeaviateClient, self._endpoint)
                self._end = weakref.finalize(self, client.close)
                client.connect()
                self._client = client
            return self._client


class LoopDoor:
    """One asynchronous client on the event loop of a server, for all of the server's threads.

    A client belongs to one loop. One that failed is closed when the last request that it carries
    has ended: a slow answer to one caller must not cost another caller its own.
    """

    def __init__(self, endpoint: Endpoint, loop: asyncio.AbstractEventLoop):
        self._endpoint = endpoint
        self._loop = loop
        self._turn = asyncio.Lock()
        self._line: _Line | None = None

    def call(self, work: Work, seconds: float) -> Any:
        """Ask on the loop, and wait here."""
        if self._loop.is_closed():
            raise RuntimeError("the server is on its way down")
        if _running() is self._loop:
            raise RuntimeError("the event loop cannot wait for itself: ask from a worker thread")
        asked = asyncio.run_coroutine_threadsafe(self._ask(work), self._loop)
        try:
            return asked.result(seconds)
        except TimeoutError:
            asked.cancel()
            raise

    def close(self) -> None:
        """Give the connections back. On the loop itself this happens in its next moments."""
        if not self._loop.is_running():
            return
        closed = asyncio.run_coroutine_threadsafe(self._retire(), self._loop)
        if _running() is not self._loop:
            closed.result(self._endpoint.timeout)

    async def _ask(self, work: Work) -> Any:
        line = await self._connected()
        line.users += 1
        try:
            return await work(line.client)
        except BaseException:  # also when the caller has given up
            if self._line is line:
                self._line = None
            raise
        finally:
            line.users -= 1
            await self._close_if_done(line)

    async def _connected(self) -> _Line:
        async with self._turn:
            if self._line is None:
                client = _client(weaviate.WeaviateAsyncClient, self._endpoint)
                try:
                    await client.connect()
                except BaseException:
                    await client.close()
                    raise
                self._line = _Line(client)
            return self._line

    async def _retire(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            await self._close_if_done(line)

    async def _close_if_done(self, line: _Line) -> None:
        if line is not self._line and not line.users:
            await line.client.close()


@dataclass(slots=True, eq=False)
class _Line:
    client: weaviate.WeaviateAsyncClient
    users: int = 0


_doors: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Endpoint, LoopDoor]]
_doors = weakref.WeakKeyDictionary()
_doors_lock = threading.Lock()


def door(endpoint: Endpoint, loop: asyncio.AbstractEventLoop | None) -> Door:
    """The door to ``endpoint``: one for each ``loop``, or one of the caller's own."""
    if loop is None:
        return OwnDoor(endpoint)
    with _doors_lock:
        doors = _doors.setdefault(loop, {})
        return doors.setdefault(endpoint, LoopDoor(endpoint, loop))


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


_SERVICE = json.dumps({"methodConfig": [{"name": [{}], "waitForReady": True}]})


def _client(kind: type[Any], endpoint: Endpoint) -> Any:
    """A client that is not connected yet."""
    search, write = endpoint.timeout, WRITES * endpoint.timeout
    authorities = endpoint.ca.read_bytes() if endpoint.ca else None
    client = kind(
        connection_params=ConnectionParams.from_params(
            http_host=endpoint.host,
            http_port=endpoint.port,
            http_secure=endpoint.secure,
            grpc_host=endpoint.grpc_host,
            grpc_port=endpoint.grpc_port,
            grpc_secure=endpoint.secure,
        ),
        auth_client_secret=Auth.api_key(endpoint.key.get_secret_value()) if endpoint.key else None,
        additional_config=AdditionalConfig(
            timeout=Timeout(query=search, insert=write, init=search, stream=write),
            trust_env=False,
            grpc_config=GrpcConfig(
                channel_options=[
                    ("grpc.enable_http_proxy", 0),
                    # While nobody listens, wait until the deadline. The client would otherwise see
                    # UNAVAILABLE at once, and try again for a minute, whatever its timeout.
                    ("grpc.service_config", _SERVICE),
                    ("grpc.max_reconnect_backoff_ms", 1000),
                ],
                credentials=grpc.ssl_channel_credentials(authorities) if endpoint.secure else None,
            ),
        ),
        skip_init_checks=True,  # they would ask a package index for a newer client
    )
    if endpoint.ca:
        _trust(client._connection, ssl.create_default_context(cafile=endpoint.ca))
    return client


def _trust(connection: Any, context: ssl.SSLContext) -> None:
    """Let ``connection`` speak HTTP by ``context``, for which the client has no parameter."""
    kinds: dict[str, type[Any]] = {"sync": httpx.Client, "async": httpx.AsyncClient}

    def make(colour: str) -> Any:
        return kinds[colour](headers=connection._headers, verify=context, trust_env=False)

    connection._make_client = make
