"""Every contract test runs over every store."""

from __future__ import annotations

from pathlib import Path

import pytest
import weaviate_server
from contract.stores import OPEN, Store


@pytest.fixture(params=sorted(OPEN))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A place for one index; nothing is there yet."""
    if request.param != "weaviate":
        return Store(request.param, tmp_path / "index")
    server: weaviate_server.Server = request.getfixturevalue("weaviate")
    return Store(request.param, tmp_path / "index", server.url, server.grpc)
