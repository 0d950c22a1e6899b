"""The rivals, each in its best documented configuration, over the same store and the same vectors.

Both frameworks keep chunks in a LanceDB table through an adapter of a few lines that does the least
their contracts ask for, so that neither pays for a plug-in. Ledgers are the frameworks' own:
LlamaIndex's docstore, persisted as its documentation shows, and LangChain's SQLRecordManager on
SQLite, which is quicker here than on PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from counted import Counted
from lancedb.table import Table
from langchain_classic.indexes import SQLRecordManager, index
from langchain_core.documents import Document as LangChainDocument
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.schema import BaseNode, Document
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    VectorStoreQuery,
    VectorStoreQueryResult,
)
from sluice.ports import Vectors

BATCH = 1000  # both frameworks ask for batches as big as fit; their defaults are 10 and 100
TABLE = "chunks"

Sections = Iterable[tuple[str, str, Mapping[str, Any]]]  # (source id, text, metadata)


def open_table(home: Path, dimensions: int) -> Table:
    """Open the LanceDB table at ``home``, made if it is not there."""
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("source", pa.string()),
            ("text", pa.string()),
            ("acl", pa.list_(pa.string())),
            ("vector", pa.list_(pa.float32(), dimensions)),
        ]
    )
    return lancedb.connect(home / "lance").create_table(TABLE, schema=schema, exist_ok=True)


def rows(
    ids: Sequence[str],
    sources: Sequence[str],
    texts: Sequence[str],
    about: Sequence[Mapping[str, Any]],
    vectors: Vectors,
) -> pa.Table:
    """Return chunks in the shape of :func:`open_table`; ``about`` is the metadata of each."""
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
    return pa.table(
        {
            "id": ids,
            "source": sources,
            "text": texts,
            "acl": pa.array([each.get("acl", []) for each in about], pa.list_(pa.string())),
            "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        }
    )


def _among(column: str, values: Sequence[str]) -> str:
    quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"{column} IN ({quoted})"


# LlamaIndex ------------------------------------------------------------------------------------


class LlamaEmbedding(BaseEmbedding):
    """Whatever embeds, as LlamaIndex wants it."""

    counted: Any

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self.counted.embed(texts).tolist()  # type: ignore[no-any-return]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


class LlamaStore(BasePydanticVectorStore):
    """A LanceDB table, as LlamaIndex wants it."""

    stores_text: bool = True
    table: Any

    @property
    def client(self) -> Any:
        return self.table

    def add(self, nodes: Sequence[BaseNode], **_: Any) -> list[str]:
        ids = [node.node_id for node in nodes]
        sources = [node.ref_doc_id or node.node_id for node in nodes]
        vectors = np.array([node.embedding for node in nodes], dtype=np.float32)
        texts, about = [node.get_content() for node in nodes], [node.metadata for node in nodes]
        self.table.add(rows(ids, sources, texts, about, vectors))
        return ids

    def delete(self, ref_doc_id: str, **_: Any) -> None:
        self.table.delete(_among("source", [ref_doc_id]))

    def query(self, query: VectorStoreQuery, **_: Any) -> VectorStoreQueryResult:
        raise NotImplementedError("this benchmark only ingests")


def llama_index(home: Path, sections: Sections, counted: Counted) -> int:
    """One run of IngestionPipeline with ``UPSERTS_AND_DELETE`` over everything there is.

    No parser (a section is a chunk already) and no transformation cache (it never helps here, and
    costs). The docstore keeps the text, as it does by default: without it, this strategy fails on
    the first deleted document.
    """
    docstore_path = home / "docstore.json"
    docstore = (
        SimpleDocumentStore.from_persist_path(str(docstore_path))
        if docstore_path.exists()
        else SimpleDocumentStore()
    )
    pipeline = IngestionPipeline(
        transformations=[LlamaEmbedding(counted=counted, embed_batch_size=BATCH)],
        docstore=docstore,
        vector_store=LlamaStore(table=open_table(home, counted.dimensions)),
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
        disable_cache=True,
    )
    documents = [
        Document(
            id_=source,
            text=text,
            metadata=dict(metadata),
            excluded_embed_metadata_keys=list(metadata),  # the vectors are of the text alone
        )
        for source, text, metadata in sections
    ]
    written = pipeline.run(documents=documents)
    pipeline.persist(str(home))
    return len(written)


# LangChain -------------------------------------------------------------------------------------


class _LangChainEmbedding(Embeddings):
    def __init__(self, counted: Counted):
        self._counted = counted

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._counted.embed(texts).tolist()  # type: ignore[no-any-return]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


class _LangChainStore(VectorStore):
    def __init__(self, table: Any, embedding: Embeddings):
        self._table = table
        self._embedding = embedding

    def add_documents(self, documents: list[LangChainDocument], **kwargs: Any) -> list[str]:
        ids: list[str] = kwargs["ids"]
        texts = [each.page_content for each in documents]
        vectors = np.array(self._embedding.embed_documents(texts), dtype=np.float32)
        about = [each.metadata for each in documents]
        self._table.add(rows(ids, [each["source"] for each in about], texts, about, vectors))
        return ids

    def delete(self, ids: list[str] | None = None, **_: Any) -> bool | None:
        self._table.delete(_among("id", ids or []))
        return True

    def similarity_search(self, query: str, k: int = 4, **_: Any) -> list[LangChainDocument]:
        raise NotImplementedError("this benchmark only ingests")

    @classmethod
    def from_texts(cls, *_: Any, **__: Any) -> _LangChainStore:
        raise NotImplementedError("this benchmark opens the store itself")


def langchain_full(home: Path, sections: Sections, counted: Counted) -> int:
    """One run of ``index()`` with ``cleanup="full"`` over everything there is."""
    return _langchain(home, sections, counted, "full")


def langchain_incremental(home: Path, sections: Sections, counted: Counted) -> int:
    """One run of ``index()`` with ``cleanup="incremental"``: it forgets no deleted source."""
    return _langchain(home, sections, counted, "incremental")


def _langchain(home: Path, sections: Sections, counted: Counted, cleanup: Any) -> int:
    ledger = SQLRecordManager("bench", db_url=f"sqlite:///{home / 'ledger.sqlite3'}")
    ledger.create_schema()
    embedding = _LangChainEmbedding(counted)

    def documents() -> Iterator[LangChainDocument]:
        for source, text, metadata in sections:
            yield LangChainDocument(page_content=text, metadata={"source": source, **metadata})

    done = index(
        documents(),
        ledger,
        _LangChainStore(open_table(home, counted.dimensions), embedding),
        batch_size=BATCH,
        cleanup=cleanup,
        source_id_key="source",
        key_encoder="blake2b",
    )
    return done["num_added"]


# Without a framework ---------------------------------------------------------------------------


def floor(home: Path, sections: Sections, counted: Counted) -> int:
    """Embed every text and write it once: no ledger, no deletion, nothing known afterwards."""
    sources, texts, about = zip(*sections, strict=True)
    written = rows(sources, sources, texts, about, counted.embed(texts))
    open_table(home, counted.dimensions).add(written)
    return written.num_rows


def rewrite_acl(home: Path, sections: Sections, counted: Counted) -> int:
    """Write everything at first; after that rewrite the ``acl`` of each row whose readers changed.

    It is told which rows those are by comparing lists, reads no text, and embeds nothing: the
    cheapest way there is for a store that keeps permissions on its chunks.
    """
    table = open_table(home, counted.dimensions)
    if not table.count_rows():
        return floor(home, sections, counted)
    stored = table.search().select(["source", "acl"]).limit(table.count_rows()).to_arrow()
    before = dict(zip(stored["source"].to_pylist(), stored["acl"].to_pylist(), strict=True))
    moved: dict[tuple[str, ...], list[str]] = {}
    for source, _, about in sections:
        if before[source] != about["acl"]:
            moved.setdefault(tuple(about["acl"]), []).append(source)
    for principals, sources in moved.items():
        listed = "[" + ", ".join(f"'{each}'" for each in principals) + "]"
        table.update(where=_among("source", sources), values_sql={"acl": listed})
    return sum(map(len, moved.values()))
