"""Made-up chunks that behave as real ones do, as many as are asked for, the same every time.

Vectors lie around centres, 250 to a centre or more; texts are words of a Zipf distribution; and
every chunk belongs to one of a number of permission objects, all of the same size.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sluice.model import IndexedChunk
from sluice.ports import Vectors

TENANT, MODEL, DIMENSIONS = "benchmark", "made-up", 256
WORDS, LENGTH = 30_000, 120  # of the vocabulary, and of a chunk
K1, B = 1.2, 0.75  # every store's BM25 has these
TOP = 10


@dataclass(frozen=True, slots=True)
class Corpus:
    """Row ``i`` is chunk ``i``: its permission object, vector and words."""

    objects: int
    acls: NDArray[np.int32]
    vectors: Vectors
    words: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and by whom: ``permitted`` rows are those whose object is in ``scope``."""

    terms: str
    vector: Vectors
    scope: tuple[int, ...]
    permitted: NDArray[np.int64]


def corpus(chunks: int, objects: int, seed: int = 1) -> Corpus:
    """Make up ``chunks`` chunks under ``objects`` permission objects."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(400, chunks // 250), DIMENSIONS), np.float32)
    vectors = 0.9 * rng.standard_normal((chunks, DIMENSIONS), np.float32)
    vectors += centres[rng.integers(len(centres), size=chunks)]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    shares = np.cumsum(1 / np.arange(1, WORDS + 1))
    drawn = rng.random((chunks, LENGTH), np.float32) * np.float32(shares[-1])
    return Corpus(
        objects=objects,
        acls=rng.permutation(np.arange(chunks, dtype=np.int32) % objects),
        vectors=vectors,
        words=np.searchsorted(shares.astype(np.float32), drawn).astype(np.int32).clip(0, WORDS - 1),
    )


def rows(made: Corpus, first: int, last: int) -> list[IndexedChunk]:
    """The chunks ``first`` to ``last`` as the index holds them."""
    spelt = spelling()
    return [
        IndexedChunk(
            tenant=TENANT,
            document_id=str(i),
            generation=1 + i,
            acl_id=int(made.acls[i]),
            ordinal=0,
            path=("Document", "Section"),
            text=(text := " ".join(spelt[word] for word in made.words[i])),
            terms=text,
            vector=made.vectors[i],
        )
        for i in range(first, min(last, len(made.acls)))
    ]


@functools.cache
def spelling() -> tuple[str, ...]:
    """How each word of the vocabulary is written: 3 to 9 letters, no two alike."""
    rng = np.random.default_rng(2)
    found: dict[str, None] = {}
    while len(found) < WORDS:
        letters = rng.integers(ord("a"), ord("z") + 1, size=rng.integers(3, 10))
        found[bytes(letters.tolist()).decode()] = None
    return tuple(found)


def question(made: Corpus, visible: float, rng: np.random.Generator) -> Question:
    """Six words, and a vector near some chunk's, asked by who may read ``visible`` of everything.

    Args:
        made: what is asked about.
        visible: the share of permission objects, above 0 to 1.
        rng: the chance.
    """
    scope = rng.choice(made.objects, max(1, round(visible * made.objects)), replace=False)
    near = made.vectors[rng.integers(len(made.vectors))]
    asked = near + 0.03 * rng.standard_normal(DIMENSIONS, np.float32)
    words = rng.integers(1, 3_000, size=6)
    return Question(
        terms=" ".join(spelling()[word] for word in words),
        vector=asked / np.linalg.norm(asked),
        scope=tuple(int(each) for each in scope),
        permitted=np.flatnonzero(np.isin(made.acls, scope)),
    )


def scan(made: Corpus, asked: Question) -> list[int]:
    """The nearest ten permitted rows, by brute force over vectors in memory."""
    scores = made.vectors[asked.permitted] @ asked.vector
    best = np.argpartition(-scores, min(TOP, len(scores) - 1))[:TOP]
    return [int(asked.permitted[i]) for i in best[np.argsort(-scores[best], kind="stable")]]


class Terms:
    """BM25 by brute force, to judge a keyword list by."""

    def __init__(self, made: Corpus):
        self._made = made
        self._number = {word: number for number, word in enumerate(spelling())}
        self._holding: dict[int, NDArray[np.int64]] = {}

    def scores(self, asked: Question) -> dict[int, float]:
        """The score of every permitted row that holds one of the words. All are equally long."""
        permitted = np.zeros(len(self._made.acls), bool)
        permitted[asked.permitted] = True
        found: Counter[int] = Counter()
        for word in asked.terms.split():
            number = self._number[word]
            holding = self._rows(number)
            rarity = math.log(1 + (len(permitted) - len(holding) + 0.5) / (len(holding) + 0.5))
            mine = holding[permitted[holding]]
            times = (self._made.words[mine] == number).sum(axis=1)
            for row, weight in zip(mine, rarity * times * (K1 + 1) / (times + K1), strict=True):
                found[int(row)] += float(weight)
        return found

    def _rows(self, number: int) -> NDArray[np.int64]:
        if number not in self._holding:
            self._holding[number] = np.flatnonzero((self._made.words == number).any(axis=1))
        return self._holding[number]


def recall(found: Sequence[int], truth: Sequence[int]) -> float:
    """The share of ``truth`` that was found."""
    return len(set(truth) & set(found)) / len(truth) if truth else 1.0


def recall_by_score(found: Sequence[int], scores: dict[int, float]) -> float:
    """The share of the ten best that was found; of equal ones any will do."""
    best = sorted(scores.values(), reverse=True)[:TOP]
    good = sum(scores.get(row, 0.0) >= best[-1] * (1 - 1e-5) for row in found[:TOP]) if best else 0
    return good / len(best) if best else 1.0
