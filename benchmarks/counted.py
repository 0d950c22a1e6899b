"""The product's own embedder, which every system in a benchmark uses, with a count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sluice.embedding import open_embedder
from sluice.ports import Meter, Vectors


class Counted:
    """``local-static``, and how many texts it was asked for."""

    def __init__(self) -> None:
        self._embedder = open_embedder("local-static")
        self.texts = 0

    def embed(self, texts: Sequence[str], meter: Meter | None = None) -> Vectors:
        """Return unit-length rows, as the product's embedder does."""
        self.texts += len(texts)
        return self._embedder.embed(texts, meter)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)
