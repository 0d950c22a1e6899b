"""Is a collection what it should be? Asked before it serves, while it goes on receiving.

The measure is the catalog, not the old collection, which may be of another model, or ill. Documents
change meanwhile; what differs only because of that is no difference.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from sluice.catalog import Catalog, embeddings, placements, samples
from sluice.collections import Collections, Opened
from sluice.errors import ComparisonFailed, ConfigurationError, IndexUnavailable
from sluice.index.analysis import analyse
from sluice.index.fusion import DEPTH, fuse
from sluice.ingest.filling import run_of, versions
from sluice.ingest.keeping import adds_up, check, sweep
from sluice.ingest.recall import Band, K, Recall, bands, measure
from sluice.ingest.writing import Version, divide, indexed
from sluice.metering import Metered
from sluice.model import Account, IndexedChunk
from sluice.ports import Embedder, Vectors
from sluice.settings import Settings

_log = logging.getLogger(__name__)

ENOUGH = 0.95  # recall, on average, in each band
_SAMPLE = 200  # generations that are compared word by word
_QUESTIONS = 40  # asked in each band
_LONGEST = 200  # characters of one
_NEAR = 1e-4  # cosine between a vector and itself, stored and read again, is 1 but for this


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What was found good."""

    generations: int  # whose chunks were counted: all that are live
    chunks: int  # that the store holds
    sampled: int  # generations that were compared word by word
    recalls: tuple[Recall, ...]
    overlap: float | None  # of first tens here and where is served, 0 to 1; None: another model


def compare(
    catalog: Catalog,
    collections: Collections,
    new: Opened,
    settings: Settings,
    *,
    chance: random.Random | None = None,
) -> Comparison:
    """Compare ``new`` with what the catalog says, and how it searches with brute force.

    Args:
        catalog: what is true.
        collections: know which one serves.
        new: what is compared.
        settings: for the cap on scopes and the weight of vectors.
        chance: what is sampled.

    Raises:
        ComparisonFailed: something differs; it says what.
        IndexUnavailable: ``new`` cannot be read.
    """
    chance = chance or random.Random()  # noqa: S311  # samples, no secrets
    chosen = new.collection.collection_id
    generations = _counts(catalog, new)
    chunks = _size(catalog, new)
    with catalog.begin() as connection:
        drawn = samples.some_held(connection, chosen, _SAMPLE)
        by_acl = samples.by_acl(connection, chosen)
    sampled = _content(catalog, new, drawn)
    _words(catalog, new, chance.sample(sampled, min(len(sampled), _QUESTIONS)))
    questions = _questions(sampled, new.embedder, chance)
    account = Account(run_id=run_of(new.collection))
    asked = new.embedder.embed(questions, Metered(catalog, account))
    found = bands(by_acl, cap=settings.scope_cap, chance=chance)
    recalls = measure(catalog, new, found, asked)
    for each in recalls:
        if each.recall < ENOUGH:
            raise _failed(
                new,
                f"recall of the first {K} is {each.recall:.3f} where {each.chunks} chunks may be "
                f"seen ({each.band}), and must be {ENOUGH}",
            )
    return Comparison(
        generations=generations,
        chunks=chunks,
        sampled=len(drawn),
        recalls=tuple(recalls),
        overlap=_overlap(
            collections,
            new,
            found[-1:],
            questions,
            asked,
            new.dense_weight(settings.dense_weight),
        ),
    )


def _counts(catalog: Catalog, new: Opened) -> int:
    """Count every generation; what is not whole is noted, so that building again mends it."""
    checked = check(catalog, new)
    if checked.lost:
        raise _failed(
            new,
            f"{len(checked.lost)} of {checked.generations} documents are not there whole "
            f"(generation {checked.lost[0]}, for one)",
        )
    return checked.generations


def _size(catalog: Catalog, new: Opened) -> int:
    """Compare how much there is in all; whatever nobody knows of is removed first."""
    if not adds_up(catalog, new):
        sweep(catalog, new)
        if not adds_up(catalog, new):
            raise _failed(new, "it holds more or fewer chunks in all than it should")
    return new.index.size()


def _content(catalog: Catalog, new: Opened, drawn: Sequence[int]) -> list[IndexedChunk]:
    """Compare ``drawn`` generations word by word, and return their chunks."""
    with catalog.begin() as connection:
        wanted = versions(connection, drawn)
    held: dict[int, list[IndexedChunk]] = {}
    for each in new.index.fetch([each.generation for each in wanted]):
        held.setdefault(each.generation, []).append(each)
    differences = {
        version.generation: (version.document.id, what)
        for version in wanted
        if (what := _difference(catalog, new, version, held.get(version.generation, [])))
    }
    with catalog.begin() as connection:
        still = placements.still_held(connection, new.collection.collection_id, differences.keys())
    for generation in sorted(still):
        document, what = differences[generation]
        raise _failed(
            new,
            f"{len(still)} of {len(wanted)} documents differ from what the catalog says: "
            f"{document} (generation {generation}), {what}",
        )
    return [each for chunks in held.values() for each in chunks]


def _difference(
    catalog: Catalog, new: Opened, version: Version, held: Sequence[IndexedChunk]
) -> str | None:
    """What of ``held`` is not as it would be written now; None if all is."""
    parts = divide(version.document, new.embedder)
    with catalog.begin() as connection:
        vectors = embeddings.lookup(
            connection, new.embedder.model, [each.content_hash for each in parts]
        )
    if len(held) != len(parts):
        return f"{len(held)} chunks instead of {len(parts)}"
    for part, there in zip(parts, held, strict=True):
        if part.content_hash not in vectors:
            return f"no vector of chunk {part.ordinal} is in the cache"
        wanted = indexed(catalog.tenant, version, part, vectors[part.content_hash])
        for name in ("document_id", "acl_id", "ordinal", "path", "text", "terms"):
            if getattr(wanted, name) != getattr(there, name):
                return f"{name} of chunk {part.ordinal}"
        if not _near(wanted, there):
            return f"vector of chunk {part.ordinal}"
    return None


def _near(wanted: IndexedChunk, there: IndexedChunk) -> bool:
    one, other = np.asarray(wanted.vector), np.asarray(there.vector)
    if one.shape != other.shape:
        return False
    return bool(one @ other >= (1 - _NEAR) * np.linalg.norm(one) * np.linalg.norm(other))


def _words(catalog: Catalog, new: Opened, sampled: Sequence[IndexedChunk]) -> None:
    """Ask for chunks by their own words: whoever may read one finds something, if not it."""
    silent = {
        each.generation: each.document_id
        for each in sampled
        if each.terms and not new.index.search_terms(each.terms, {each.acl_id}, 1)
    }
    with catalog.begin() as connection:
        still = placements.still_held(connection, new.collection.collection_id, silent.keys())
    for generation in sorted(still):
        raise _failed(
            new,
            f"{len(still)} of {len(sampled)} chunks are not found by their own words: of "
            f"{silent[generation]} (generation {generation}), for one",
        )


def _questions(
    sampled: Sequence[IndexedChunk], embedder: Embedder, chance: random.Random
) -> list[str]:
    """Titles and beginnings of chunks that the window holds, as what people might ask."""
    chunks = chance.sample(sampled, min(len(sampled), 2 * _QUESTIONS))
    titles = [each.path[-1] for each in chunks if each.path]
    texts = [each.text[:_LONGEST] for each in chunks]
    mixed = [text for pair in zip_longest(titles, texts, fillvalue="") for text in pair]
    fit = (text for text in dict.fromkeys(mixed) if embedder.count_tokens(text) <= embedder.window)
    return [text for text in fit if analyse(text)][:_QUESTIONS]


def _overlap(
    collections: Collections,
    new: Opened,
    wide: Sequence[Band],
    questions: Sequence[str],
    asked: Vectors,
    dense_weight: float,
) -> float | None:
    """How many of the first ten are the same as where is served, if that is of the same recipe.

    Raises:
        IndexUnavailable: the new one cannot be read.
    """
    pairs = list(zip(questions, asked, strict=True))
    try:
        old = collections.serving()
        if old.collection.recipe != new.collection.recipe:
            return None
        before = [_first(old, each.scope, *pair, dense_weight) for each in wide for pair in pairs]
    except (IndexUnavailable, ConfigurationError) as error:  # a reason to move away from it
        _log.warning("not compared with what serves: %s", error)
        return None
    after = [_first(new, each.scope, *pair, dense_weight) for each in wide for pair in pairs]
    shares = [
        len(one & other) / max(len(one), len(other))
        for one, other in zip(before, after, strict=True)
        if one or other
    ]
    return sum(shares) / len(shares) if shares else None


def _first(
    opened: Opened, scope: frozenset[int], question: str, vector: Vectors, dense_weight: float
) -> set[tuple[int, int]]:
    """The first ten hits, as an answer would have them."""
    keyword = opened.index.search_terms(analyse(question), scope, DEPTH)
    dense = opened.index.search_vector(vector, scope, DEPTH)
    best = fuse(keyword, dense, dense_weight)[:K]
    return {(each.generation, each.ordinal) for each in best}


def _failed(new: Opened, what: str) -> ComparisonFailed:
    number = new.collection.collection_id
    return ComparisonFailed(
        what,
        subject=f"collection {number}",
        cure="It does not serve. Mend its store and run this again, or give it up: "
        f"`sluice index drop {number}`",
    )
