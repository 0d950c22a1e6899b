"""A real server on loopback, and agents that ask it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import uvicorn
from sluice.api.app import standalone
from sluice.api.services import Services
from sluice.catalog import Catalog
from sluice.settings import Settings
from world import ADA, BEN, World, allow


@contextlib.contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """Serve the app on a free port; yield the URL of its root."""
    config = uvicorn.Config(standalone(settings), port=0, log_level="critical", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/sluice"
    finally:
        server.should_exit = True
        thread.join(20)


@dataclass(frozen=True)
class Site:
    """A running server and the world that it serves."""

    url: str
    world: World
    services: Services
    agent: httpx.Client  # may act for everyone


@contextlib.contextmanager
def open_site(settings: Settings) -> Iterator[Site]:
    """A server over a world in which Ada may read one page and Ben another."""
    services = Services(settings)
    (opened,) = services.collections.receiving()
    world = World(Catalog(settings.require("catalog_url"), settings.tenant))
    world.grant({"ada": [allow(str(ADA))], "ben": [allow(str(BEN))]})
    pages = [world.publish("for ada", "ada", "Ada's kettle"), world.publish("b/ü?#", "ben", "Tea")]
    world.index(opened.index, *pages)
    key = services.keys.create("helper", [allow("public").principal])
    headers = {"Authorization": f"Bearer {key}"}
    with (
        serving(settings) as url,
        httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as agent,
    ):
        yield Site(url, world, services, agent)
    services.close()
    world.catalog.close()
