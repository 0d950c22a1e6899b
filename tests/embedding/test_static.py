"""``local-static``: the same text, the same vector, on every machine, with no network."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluice.embedding import open_embedder
from sluice.errors import BadInput, ConfigurationError

EMBEDDER = open_embedder("local-static")


def test_an_unknown_embedder_is_refused_with_its_cure() -> None:
    """A misspelt setting names itself."""
    with pytest.raises(ConfigurationError, match=r"local-dynamic.*SLUICE_EMBEDDER"):
        open_embedder("local-dynamic")


def test_vectors_are_unit_length_float32_of_the_stated_shape() -> None:
    """What the port promises, also for no texts at all."""
    vectors = EMBEDDER.embed(["one text", "another", "日本語", "😀", "\ud800", " "])
    assert vectors.shape == (6, EMBEDDER.dimensions)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(6), abs=1e-6)
    assert EMBEDDER.embed([]).shape == (0, EMBEDDER.dimensions)


@given(st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=8))
def test_a_text_has_the_same_bits_alone_and_in_any_batch(texts: list[str]) -> None:
    """Or a vector from the cache would differ from a fresh one."""
    batch = EMBEDDER.embed(texts)
    assert batch.tobytes() == b"".join(EMBEDDER.embed([text]).tobytes() for text in texts)
    assert batch[::-1].tobytes() == EMBEDDER.embed(texts[::-1]).tobytes()


def test_a_known_text_has_the_known_vector() -> None:
    """The vector space is the one that stored vectors are of, whatever the wheel's version."""
    vector = EMBEDDER.embed(["Who approves travel to a customer?"])[0]
    digest = hashlib.sha256(np.round(vector, 4).astype("<f4").tobytes()).hexdigest()
    assert digest.startswith("b58f1033574aebf6")


def test_related_texts_are_nearer_than_unrelated_ones() -> None:
    """The vectors mean something."""
    car, automobile, leave = EMBEDDER.embed(["a car", "an automobile", "parental leave"])
    assert car @ automobile > car @ leave + 0.3


@pytest.mark.parametrize("dimensions", [128, 64])
def test_a_smaller_space_is_the_first_components_under_its_own_name(dimensions: int) -> None:
    """Vectors of it are never taken for those of the whole table."""
    small = open_embedder(f"local-static-{dimensions}")
    whole, part = EMBEDDER.embed(["a car"])[0], small.embed(["a car"])[0]
    first = whole[:dimensions] / np.linalg.norm(whole[:dimensions])
    assert part == pytest.approx(first, abs=1e-6)
    assert (small.dimensions, small.model) == (
        dimensions,
        f"wordllama-l2-supercat-256-first-{dimensions}",
    )


def test_an_empty_text_is_refused() -> None:
    """It has no direction; a vector of zeros would poison every cosine."""
    with pytest.raises(BadInput):
        EMBEDDER.embed(["fine", ""])


def test_tokens_are_counted_without_a_limit() -> None:
    """Chunking relies on true counts beyond the window."""
    assert EMBEDDER.count_tokens("") == 0
    assert EMBEDDER.count_tokens("word " * 5_000) > 5_000 > EMBEDDER.window


spaced = st.text(st.sampled_from(" \n\t.,(<s>/é▁日😀\u00a0") | st.characters(), max_size=60)


@given(
    spaced | st.lists(st.sampled_from(["the", "\n", " ", "  ", "x" * 70]), max_size=20).map("".join)
)
def test_words_have_the_tokens_that_they_have_in_the_whole_text(text: str) -> None:
    """The oracle is the tokenizer, given all of it at once."""
    whole = EMBEDDER._tokenizer.encode(text, add_special_tokens=False).ids
    assert EMBEDDER.count_tokens(text) == len(whole)
    assert list(EMBEDDER._tokens(text)) == whole


def test_embedding_imports_no_wordllama_and_opens_no_connection() -> None:
    """Its weights are read from disk; its own loader, which goes online, never runs."""
    program = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('a connection')\n"
        "socket.socket.connect = refuse\n"
        "from sluice.embedding import open_embedder\n"
        "open_embedder('local-static').embed(['text'])\n"
        "assert not [m for m in sys.modules if m.startswith(('wordllama', 'torch'))]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
