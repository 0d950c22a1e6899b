"""How much of the truth approximate search finds, by how little of a collection may be seen.

The truth is brute force over the collection's own vectors. Recall is lost silently, and first where
the permitted set is small, so scopes of several widths are made of real permission objects.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sluice.catalog import Catalog, placements, samples
from sluice.collections import Opened
from sluice.index.fusion import DEPTH
from sluice.ingest.writing import batches
from sluice.model import Candidate
from sluice.ports import Vectors

K = 10
_WIDTHS = {"narrow": 0.003, "about 1 %": 0.01, "about 15 %": 0.15, "wide": 1.0}
_WIDEST = 250_000  # chunks compared one by one at most, unless the smallest object holds more;
# more than any store searches exactly by default
_FETCHED = 500  # generations at a time
_EQUAL = 1e-5  # cosines that differ by less are ties

Key = tuple[int, int]  # generation and ordinal: names a chunk


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A scope of a certain width."""

    name: str
    scope: frozenset[int]  # of acl_id
    chunks: int
    share: float  # of all chunks, 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """What searching one band gave."""

    band: str
    chunks: int  # that the scope permits
    share: float  # of all chunks, 0 to 1
    recall: float  # of the true first ten, on average, 0 to 1


def bands(chunks: Mapping[int, int], *, cap: int, chance: random.Random) -> list[Band]:
    """Scopes from narrow to wide, made of whole permission objects, each set of them once.

    Args:
        chunks: held under each ``acl_id``.
        cap: the most ``acl_id`` that one scope may have.
        chance: which of them.
    """
    total = sum(chunks.values())
    found: dict[frozenset[int], Band] = {}
    for name, width in _WIDTHS.items():
        scope = _drawn(chunks, min(width * total, _WIDEST), cap, chance)
        if scope and scope not in found:
            held = sum(chunks[each] for each in scope)
            found[scope] = Band(name=name, scope=scope, chunks=held, share=held / total)
    return list(found.values())


def _drawn(
    chunks: Mapping[int, int], wanted: float, cap: int, chance: random.Random
) -> frozenset[int]:
    """Objects that together hold nearly ``wanted`` chunks; the smallest one if all hold more."""
    if not chunks:
        return frozenset()
    drawn, held = set[int](), 0
    for each in chance.sample(sorted(chunks), len(chunks)):
        if len(drawn) < cap and held + chunks[each] <= wanted:
            drawn.add(each)
            held += chunks[each]
    return frozenset(drawn or {min(chunks, key=lambda each: (chunks[each], each))})


def measure(
    catalog: Catalog, opened: Opened, found: Sequence[Band], asked: Vectors
) -> list[Recall]:
    """The recall of the first ten in each band.

    Args:
        catalog: says what is live.
        opened: the collection.
        found: the bands.
        asked: vectors of questions, shape ``(questions, dimensions)``.

    Raises:
        IndexUnavailable: it cannot be read.
    """
    if not found or not len(asked):
        return []
    rows = _rows(catalog, opened, frozenset().union(*(each.scope for each in found)), asked)
    measured = []
    for band in found:
        # As deep as every search asks: a graph looks at more the more it is asked for.
        answers = [opened.index.search_vector(each, band.scope, DEPTH)[:K] for each in asked]
        measured.append((band, answers))
    rows = rows.still_live(catalog, opened)
    return [
        Recall(
            band=band.name,
            chunks=band.chunks,
            share=band.share,
            recall=rows.recall(band.scope, answers),
        )
        for band, answers in measured
    ]


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Chunks, and how near each question is to each."""

    keys: Sequence[Key]
    acl_ids: NDArray[np.int64]
    cosines: NDArray[np.float32]  # shape (chunks, questions)

    def still_live(self, catalog: Catalog, opened: Opened) -> _Rows:
        """Without what was replaced or deleted meanwhile, which no search has to find."""
        with catalog.begin() as connection:
            live = placements.still_held(
                connection, opened.collection.collection_id, {each for each, _ in self.keys}
            )
        kept = np.array([generation in live for generation, _ in self.keys], bool)
        keys = [key for key, good in zip(self.keys, kept, strict=True) if good]
        return _Rows(keys, self.acl_ids[kept], self.cosines[kept])

    def recall(self, scope: frozenset[int], answers: Sequence[Sequence[Candidate]]) -> float:
        """The average over the questions. What was found and is not among us takes a place."""
        mine = np.isin(self.acl_ids, sorted(scope))
        at = {key: row for row, key in enumerate(self.keys)}
        scores = []
        for question, answer in enumerate(answers):
            known = [at[key] for each in answer if (key := _key(each)) in at]
            cosines = self.cosines[:, question]
            size = min(K - (len(answer) - len(known)), int(mine.sum()))
            if size > 0:
                last = np.partition(cosines[mine], -size)[-size]
                good = sum(1 for row in known if mine[row] and cosines[row] >= last - _EQUAL)
                scores.append(min(good, size) / size)
        return sum(scores) / len(scores) if scores else 1.0


def _rows(catalog: Catalog, opened: Opened, scope: frozenset[int], asked: Vectors) -> _Rows:
    with catalog.begin() as connection:
        wanted = samples.under(connection, opened.collection.collection_id, scope)
    keys: list[Key] = []
    acl_ids: list[int] = []
    cosines = [np.empty((0, len(asked)), np.float32)]
    for some in batches(wanted, _FETCHED):
        chunks = opened.index.fetch(some)
        if chunks:
            keys += [(each.generation, each.ordinal) for each in chunks]
            acl_ids += [each.acl_id for each in chunks]
            vectors = np.array([each.vector for each in chunks], np.float32)
            cosines.append(vectors @ asked.T)
    return _Rows(keys, np.array(acl_ids, np.int64), np.concatenate(cosines))


def _key(candidate: Candidate) -> Key:
    return candidate.generation, candidate.ordinal
