"""Tokens are counted offline, as the provider bills them."""

from __future__ import annotations

import pytest
from sluice.embedding.vocabulary import BYTES, count, sendable


@pytest.mark.parametrize(
    ("text", "tokens"),
    [  # as OpenAI's tokenizer shows them for cl100k_base
        ("", 0),
        ("hello world", 2),
        ("tiktoken is great!", 6),
        ("antidisestablishmentarianism", 6),
        ("2 + 2 = 4", 7),
        ("お誕生日おめでとう", 9),
    ],
)
def test_known_texts_have_their_known_counts(text: str, tokens: int) -> None:
    """From OpenAI's cookbook, "How to count tokens with tiktoken"."""
    assert count("cl100k_base", text) == tokens


@pytest.mark.parametrize("text", ["<|endoftext|>", "a\0b", "\ud800", "é" * 5000, " \n\t ", "😀"])
def test_whatever_comes_is_counted(text: str) -> None:
    """What looks like a special token is text; a lone surrogate is replaced; bytes are no fewer."""
    assert 0 < count("cl100k_base", text) <= count(BYTES, text)
    sendable(text).encode()
