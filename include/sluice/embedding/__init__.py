"""Chunks become vectors: every embedder by its name in the settings."""

from __future__ import annotations

from pathlib import Path

from sluice.errors import ConfigurationError
from sluice.ports import Embedder

# One table, of which the first components alone are a space of their own (it was trained so).
STATIC = {"local-static": 256, "local-static-128": 128, "local-static-64": 64}
MINILM = "local-minilm"


def open_embedder(name: str, endpoints: Path | None = None) -> Embedder:
    """Return the embedder called ``name``, ready to embed.

    Args:
        name: ``local-static``, ``local-minilm``, or ``<endpoint>/<model>[@<dimensions>]``.
        endpoints: the file that describes further endpoints.

    Raises:
        ConfigurationError: no embedder has this name, or its files are missing or altered.
    """
    if name in STATIC:
        from sluice.embedding.static import load  # 50 MB of table and tokenizer: only who embeds

        return load(STATIC[name])
    if name == MINILM:
        from sluice.embedding.minilm import load as load_minilm  # an extra: it may not be there

        return load_minilm()
    if "/" in name:
        from sluice.embedding.remote import open_remote  # 1 s of imports

        return open_remote(name, endpoints)
    raise ConfigurationError(
        "no such embedder",
        subject=name,
        cure=f"Set SLUICE_EMBEDDER to one of {', '.join((*STATIC, MINILM))}, "
        "or to <endpoint>/<model>",
    )
