"""A loopback provider as an endpoint that settings can name."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from openai_server import OpenAIServer

NAME = "gateway/text-embedding-3-small@8"
MODEL = "text-embedding-3-small"


def endpoints(
    provider: OpenAIServer,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    model: str = MODEL,
    extra: str = "",
) -> Path:
    """A file that describes ``provider``, whose key is in the environment."""
    monkeypatch.setenv("GATEWAY_KEY", provider.key)
    file = folder / f"endpoints-{uuid.uuid4().hex}.toml"  # a file is read once
    file.write_text(
        f'[gateway]\nbase_url = "{provider.url}"\napi_key = "GATEWAY_KEY"\nbatch = true\n{extra}\n'
        f'[gateway.models."{model}"]\ndimensions = 1536\nshortens = true\n'
        'prices = [{ from = 2024-01-25, standard = "0.02", batch = "0.01" }]\n'
    )
    return file


def forget(provider: OpenAIServer) -> None:
    """Let what earlier tests did to it be undone."""
    provider.batches.__init__(provider)
    provider.chaos = lambda _method, _path: None
    provider.faults.clear()
    provider.charged.clear()
    provider.tokens.clear()
    provider.requests.clear()
    provider.files.clear()
    provider.latency, provider.at_a_time, provider.rate = 0.0, None, None
    provider.a_minute = None
