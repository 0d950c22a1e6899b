"""What a publish will need is embedded before it begins, where somebody has to be paid for it.

With a local model there is nothing to do: publishing embeds as it goes. With a provider the whole
delta is looked at first: what it costs, whether that is allowed, and at which tier. What goes to
the batch tier is waited for outside of any worker (:class:`StillEmbedding`); what is left goes
through the standard tier while publishing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from sluice.budget import Purse
from sluice.catalog import Catalog, embeddings, runs
from sluice.collections import Opened
from sluice.embedding.remote import RemoteEmbedder
from sluice.errors import StillEmbedding
from sluice.ingest.bulk import Bulk
from sluice.ingest.progress import Progress
from sluice.ingest.tiers import WINDOW, Outlook, choose
from sluice.ingest.writing import batches, divide, place
from sluice.model import Account, Document, Policy, Tier
from sluice.ports import Embedder

_log = logging.getLogger(__name__)
_READ = 500  # documents at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What there is to embed."""

    documents: int
    chunks: int
    missing: Mapping[str, str]  # texts without a vector, by content hash
    tokens: int  # of those


def delta(catalog: Catalog, embedder: Embedder, wanted: Iterable[Document]) -> Delta:
    """Divide documents, and see of which chunks no cache holds the vector."""
    count, chunks, missing = 0, 0, dict[str, str]()
    for some in batches(wanted, _READ):
        parts = [part for each in some for part in divide(each, embedder)]
        texts = {each.content_hash: each.searched for each in parts}
        with catalog.begin() as connection:
            known = embeddings.known(connection, embedder.model, texts.keys())
        count += len(some)
        chunks += len(parts)
        missing |= {name: text for name, text in texts.items() if name not in known}
    tokens = sum(map(embedder.count_tokens, missing.values()))
    return Delta(documents=count, chunks=chunks, missing=missing, tokens=tokens)


def outlook(
    catalog: Catalog,
    embedder: Embedder,
    name: str,
    found: Delta,
    policy: Policy,
    account: Account,
) -> Outlook:
    """What embedding ``found`` with the embedder called ``name`` costs, and how it will be done."""
    dollars: dict[Tier, Decimal] = {"standard": embedder.dollars(found.tokens)}
    hours: dict[Tier, float] = {"standard": 0.0}
    if isinstance(embedder, RemoteEmbedder):
        endpoint = embedder.endpoint
        if endpoint.tokens_per_minute:
            hours["standard"] = found.tokens / endpoint.tokens_per_minute / 60
        if endpoint.batch:
            dollars["batch"] = embedder.dollars(found.tokens, "batch")
            rounds = -(-found.tokens // endpoint.batch_tokens) if endpoint.batch_tokens else 1
            hours["batch"] = max(rounds, 1) * WINDOW.total_seconds() / 3600
    left = Purse(catalog).left(embedder.model, account)
    tier, why = choose(found.tokens, dollars, left, policy)
    return Outlook(
        embedder=name,
        documents=found.documents,
        chunks=found.chunks,
        cached=found.chunks - len(found.missing),
        tokens=found.tokens,
        dollars=dollars,
        hours=hours,
        left=left,
        tier=tier,
        why=why,
    )


def embed_ahead(
    catalog: Catalog,
    opened: Opened,
    wanted: Callable[[], Iterable[Document]],
    policy: Policy,
    account: Account,
    progress: Progress,
) -> None:
    """See to it that whoever writes these documents finds their vectors, or may pay for them.

    What it will cost is logged before it is spent.

    Raises:
        PlacementRefused: the source may not be sent to where the model is.
        BudgetExhausted: it would cost more than somebody allowed; it says how much.
        StillEmbedding: a provider works on it.
        EmbedderUnavailable, EmbedderRefused: the provider does not take it.
    """
    embedder, name = opened.embedder, opened.collection.embedder
    if not isinstance(embedder, RemoteEmbedder):
        return
    place(catalog, embedder, account.source)
    bulk = Bulk(catalog, embedder, name, progress=progress)
    while True:
        bulk.advance(account)
        found = delta(catalog, embedder, wanted())
        if waiting := bulk.waiting(found.missing):
            raise StillEmbedding(
                f"{waiting.inputs:,} chunks are in {waiting.batches} batches",
                subject=name,
                cure="Nothing is lost and nothing is paid twice: run this again in a while",
                remote_ids=waiting.remote_ids,
            )
        told = outlook(catalog, embedder, name, found, policy, account)
        if told.tokens:
            _log.info("%s", told)
            with catalog.begin() as connection:
                runs.foresee(connection, account.run_id or "", told.dollars[told.tier])
        Purse(catalog).require(embedder.spend(found.tokens, told.tier), account)
        if told.tier != "batch" or not bulk.plan(found.missing, account):
            return
