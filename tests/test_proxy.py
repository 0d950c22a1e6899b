"""The one port in front of the retrieval replicas, with the real proxy and real replicas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from topology import Topology


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Topology]:
    """Both replicas and the proxy, as docker-compose.yml starts them; nothing behind them."""
    made = Topology(tmp_path, tmp_path)
    made.make_secrets()
    try:
        made.rise("retrieval", "proxy")
        yield made
    finally:
        made.stop()


def test_a_replica_that_dies_takes_no_question_with_it(front: Topology) -> None:
    """What the dead replica would have got, the other one answers: also what must not be lost."""
    url = f"http://127.0.0.1:{front.ports['proxy']}/sluice/v1/search"
    with httpx.Client(trust_env=False, timeout=30) as agent:
        for _ in range(20):
            assert agent.post(url, json={"query": "x"}).status_code == 401
        front.parts["retrieval-1"].kill()
        for _ in range(20):
            assert agent.post(url, json={"query": "x"}).status_code == 401
        front.parts["retrieval-2"].kill()
        assert agent.post(url, json={"query": "x"}).status_code == 502
