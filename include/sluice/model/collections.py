"""Where chunks live: one physical home after another, and what made each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Backend = Literal["lance", "weaviate"]
CollectionState = Literal["building", "serving", "kept", "dropped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A tenant's chunks of one embedding model in one backend.

    Of all that are not dropped, every one receives what is published, and exactly one serves:
    questions are embedded with its embedder and searched in it. Vectors of two models never meet
    in one collection.
    """

    collection_id: int
    backend: Backend
    name: str  # of the table, or the collection, in its backend
    embedder: str  # as SLUICE_EMBEDDER names it
    model: str
    dimensions: int
    recipe: str  # what turned documents into these chunks and vectors
    state: CollectionState
