"""Documents, and the chunks that they are found by."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sluice.model.text import SEPARATOR, digest

_CHUNK_NAMESPACE = uuid.UUID("6f1f3c0e-3d0b-5a53-9a55-0c5f2f6f7a11")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document of a source, as the source shows it now."""

    source: str
    native_id: str
    title: str
    text: str  # Markdown
    uri: str
    acl_key: str
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def id(self) -> str:
        return f"{self.source}:{self.native_id}"

    @property
    def content_hash(self) -> str:
        """SHA-256 of what is searched: title and text. A change means new chunks."""
        return digest(self.title, self.text)

    @property
    def meta_hash(self) -> str:
        """SHA-256 of what is only shown: uri and times. A change touches the catalog alone."""
        times = (t.isoformat() if t else "" for t in (self.created_at, self.updated_at))
        return digest(self.uri, *times)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A part of a document that is found as one: at most the embedder's window long."""

    ordinal: int  # 0, 1, 2, … in reading order
    path: tuple[str, ...]  # titles above it: document title, heading, sub-heading
    text: str  # Markdown, without the path

    @property
    def searched(self) -> str:
        """What is embedded and analysed: the title path, then the text."""
        return " > ".join(self.path) + "\n" + self.text if self.path else self.text

    @property
    def content_hash(self) -> str:
        return digest(self.searched)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedChunk:
    """A chunk as the index holds it."""

    tenant: str
    document_id: str
    generation: int
    acl_id: int
    ordinal: int
    path: tuple[str, ...]
    text: str
    terms: str  # analysed by sluice.index.analysis, joined by single spaces
    vector: tuple[float, ...] | Any  # float32, shape (dimensions,)

    @property
    def id(self) -> str:
        return chunk_id(self.tenant, self.document_id, self.generation, self.ordinal)


def chunk_id(tenant: str, document_id: str, generation: int, ordinal: int) -> str:
    """The deterministic id of a chunk (RFC 9562 UUID version 5)."""
    name = SEPARATOR.join((tenant, document_id, str(generation), str(ordinal)))
    return str(uuid.uuid5(_CHUNK_NAMESPACE, name))
