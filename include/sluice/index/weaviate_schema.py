"""What a collection of chunks must look like in Weaviate, and whether one does.

Weaviate's default tokenization ``word`` splits a text at its punctuation: an id would be found by
its parts, so other people's would be too. Here every text is ``field`` (one token, the whole value)
or ``whitespace``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from weaviate.classes.config import (
    Configure,
    DataType,
    Property,
    ReplicationDeletionStrategy,
    StopwordsPreset,
    Tokenization,
    VectorDistances,
    VectorFilterStrategy,
)

from sluice.settings import Settings

VERSION = 1  # of the properties
VECTOR = "default"  # the name of the only one
RERANKED = 256  # nearest by compressed vectors that are ranked again by full ones
BM25_K1, BM25_B = 1.2, 0.75  # every store's BM25 has these


class _Facts(NamedTuple):
    """What matters of a property."""

    data_type: DataType
    tokenization: Tokenization | None = None
    filterable: bool = False
    searchable: bool = False

    def __str__(self) -> str:
        indexes = self.filterable * ["filterable"] + self.searchable * ["searchable"]
        token = [self.tokenization.value] if self.tokenization else []
        return " ".join([self.data_type.value, *token, *indexes])


_NUMBER = _Facts(DataType.INT, filterable=True)
_SHOWN = _Facts(DataType.TEXT, Tokenization.FIELD)  # stored, and nothing is found by it
_PROPERTIES = {
    "document_id": _SHOWN,
    "generation": _NUMBER,
    "acl_id": _NUMBER,
    "ordinal": _NUMBER,
    "path": _SHOWN._replace(data_type=DataType.TEXT_ARRAY),
    "text": _SHOWN,
    "terms": _Facts(DataType.TEXT, Tokenization.WHITESPACE, searchable=True),
}

_COMPRESSED = Configure.VectorIndex.Quantizer
_QUANTIZERS = {
    "none": _COMPRESSED.none(),
    "rq": _COMPRESSED.rq(rescore_limit=RERANKED),
    "sq": _COMPRESSED.sq(rescore_limit=RERANKED),
    "bq": _COMPRESSED.bq(),
}

# What is faster read through than walked around in: at 100,000 chunks of 256 bytes an exact search
# took 27 ms of CPU, and the graph as much for 0.96 of the first ten.
_READ_THROUGH = 51_200_000  # bytes, one for each dimension of a chunk
_WEAVIATES_OWN = 40_000  # chunks, Weaviate's default cutoff
_BREADTH = 2048  # of the walk through the graph (`ef`): real sentences lose 0.2 of recall at 256


def flat_cutoff(settings: Settings, dimensions: int) -> int:
    """Permitted chunks below which a search is exact."""
    chosen = settings.weaviate_flat_cutoff
    return max(_WEAVIATES_OWN, _READ_THROUGH // dimensions) if chosen is None else chosen


def creation(settings: Settings, model: str, dimensions: int) -> dict[str, Any]:
    """The arguments of ``collections.create``, its name apart."""
    shared, replicas = settings.weaviate_multi_tenancy, settings.weaviate_replicas
    shards = None if shared else settings.weaviate_shards
    return {
        "description": _description(model, dimensions),
        "properties": [
            Property(
                name=name,
                data_type=facts.data_type,
                tokenization=facts.tokenization,
                index_filterable=facts.filterable,
                index_searchable=facts.searchable,
            )
            for name, facts in _PROPERTIES.items()
        ],
        "inverted_index_config": Configure.inverted_index(
            bm25_k1=BM25_K1, bm25_b=BM25_B, stopwords_preset=StopwordsPreset.NONE
        ),
        "vector_config": Configure.Vectors.self_provided(
            name=VECTOR,
            quantizer=_QUANTIZERS[settings.weaviate_quantization],
            vector_index_config=Configure.VectorIndex.hnsw(
                distance_metric=VectorDistances.COSINE,
                ef=_BREADTH,
                ef_construction=256,  # 128, the default, costs ACORN up to 4 % of recall
                filter_strategy=VectorFilterStrategy.ACORN,
                flat_search_cutoff=flat_cutoff(settings, dimensions),
            ),
        ),
        "replication_config": Configure.replication(
            factor=replicas,
            async_enabled=replicas > 1,
            deletion_strategy=ReplicationDeletionStrategy.TIME_BASED_RESOLUTION,
        ),
        "sharding_config": Configure.sharding(desired_count=shards) if shards else None,
        "multi_tenancy_config": Configure.multi_tenancy(
            enabled=shared, auto_tenant_creation=False, auto_tenant_activation=shared
        ),
    }


def difference(config: Any, model: str, dimensions: int, shared: bool) -> str | None:
    """What the live ``config`` says that must not be so; None if all is well."""
    return next(_differences(config, model, dimensions, shared), None)


def _differences(config: Any, model: str, dimensions: int, shared: bool) -> Iterator[str]:
    if config.description != _description(model, dimensions):
        yield f"it does not say of itself {_description(model, dimensions)!r}"
    live = {each.name: each for each in config.properties}
    for name, wanted in _PROPERTIES.items():
        if name not in live:
            yield f"its property {name} is gone"
        elif (found := _facts(live[name])) != wanted:
            yield f"its property {name} is {found}, and must be {wanted}"
    inverted = config.inverted_index_config
    if (inverted.bm25.k1, inverted.bm25.b) != (BM25_K1, BM25_B):
        yield f"its BM25 has k1 {inverted.bm25.k1:g} and b {inverted.bm25.b:g}"
    if inverted.stopwords.preset != StopwordsPreset.NONE or inverted.stopwords.additions:
        yield "it leaves out stop words"
    vector = (config.vector_config or {}).get(VECTOR)
    if vector is None or vector.vector_index_config.distance_metric != VectorDistances.COSINE:
        yield "its vectors are not compared by cosine"
    if config.multi_tenancy_config.enabled != shared:
        yield "SLUICE_WEAVIATE_MULTI_TENANCY is not as it was when it was made"


def _description(model: str, dimensions: int) -> str:
    """Names the vector space, which nothing else in a schema does."""
    return f"Sluice chunks, version {VERSION}: {dimensions} dimensions of {model}"


def _facts(live: Any) -> _Facts:
    return _Facts(live.data_type, live.tokenization, live.index_filterable, live.index_searchable)
