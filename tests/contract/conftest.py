"""Every contract test runs over every store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import weaviate_server
from contract.stores import OPEN, Store


@pytest.fixture(scope="session")
def weaviate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[weaviate_server.Server]:
    """A Weaviate that lives as long as the test session; each test has collections of its own."""
    with weaviate_server.start(tmp_path_factory.mktemp("weaviate")) as server:
        yield server


@pytest.fixture(params=sorted(OPEN))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A place for one index; nothing is there yet."""
    if request.param != "weaviate":
        return Store(request.param, tmp_path / "index")
    server: weaviate_server.Server = request.getfixturevalue("weaviate")
    return Store(request.param, tmp_path / "index", server.url, server.grpc)
