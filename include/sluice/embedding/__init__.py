"""Chunks become vectors: every embedder by its name in the settings."""

from __future__ import annotations

from sluice.errors import ConfigurationError
from sluice.ports import Embedder


def open_embedder(name: str) -> Embedder:
    """Return the embedder called ``name``, ready to embed.

    Raises:
        ConfigurationError: no embedder has this name, or its files are missing or altered.
    """
    if name == "local-static":
        from sluice.embedding.static import load  # 50 MB of table and tokenizer: only who embeds

        return load()
    raise ConfigurationError(
        "no such embedder", subject=name, cure="Set SLUICE_EMBEDDER to local-static"
    )
