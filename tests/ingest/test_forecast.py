"""What a migration will take is told beforehand, and how far off that may be."""

from __future__ import annotations

import random

from moving import migration
from sluice.ingest import Pipeline
from sluice.ingest.forecast import extrapolate


def test_a_small_corpus_is_known_exactly(pages: Pipeline) -> None:
    """Every document is in the sample; and what it embedded is not embedded again."""
    move = migration(pages)
    told = move.forecast()
    assert (told.documents, told.sampled, told.collection_id) == (12, 12, None)
    assert told.chunks.error == told.tokens.error == 0
    assert (told.backend, told.embedder) == ("lance", "local-static-64")
    assert told.cached.value == 0 and told.tokens.value > 1000
    assert told.dollars.value == 0 and told.vector_bytes.value == told.chunks.value * 64 * 4
    filled = move.build()
    assert filled.written.chunks == round(told.chunks.value)
    assert filled.written.embedded == 0
    assert move.forecast().documents == 0


def test_what_the_cache_has_is_not_paid_again(pages: Pipeline) -> None:
    """Another collection of the same model."""
    told = migration(pages, embedder="local-static", anew=True).forecast()
    assert told.cached.value == told.chunks.value > 0
    assert told.tokens.value == 0


def test_the_error_is_honest() -> None:
    """The truth lies within it in nearly 95 of 100 samples of a skewed corpus."""
    chance = random.Random(7)
    corpus = []
    for _ in range(5_000):
        characters = chance.lognormvariate(7, 1.2)
        corpus.append((characters, max(1.0, characters / 1200 * chance.uniform(0.6, 1.5))))
    truth, characters = sum(y for _, y in corpus), sum(x for x, _ in corpus)
    within = 0
    for _ in range(400):
        told = extrapolate(chance.sample(corpus, 200), len(corpus), characters)
        within += abs(told.value - truth) <= told.error
        assert told.error < 0.2 * truth
    assert 0.85 < within / 400 <= 1.0


def test_nothing_and_everything_are_not_extrapolated() -> None:
    """No document, no error; all of them, no error either."""
    assert extrapolate([], 0, 0).value == 0
    whole = extrapolate([(10, 1), (30, 4)], 2, 40)
    assert (whole.value, whole.error) == (5, 0)
