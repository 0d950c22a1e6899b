"""``local-static``: one vector per token, averaged. No network, no GPU, about 1 ms a chunk.

The table and the tokenizer are two files of the installed ``wordllama`` wheel (MIT).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from decimal import Decimal
from itertools import chain

import numpy as np
from safetensors.numpy import load as load_tensors
from tokenizers import Tokenizer

from sluice.embedding.weights import Pinned
from sluice.errors import BadInput
from sluice.model import Tier
from sluice.ports import Meter, Vectors

MODEL = "wordllama-l2-supercat-256"
_CURE = "Install the locked requirements.txt again"
_TABLE = Pinned(
    package="wordllama",
    path="weights/l2_supercat_256.safetensors",
    sha256="64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",
    cure=_CURE,
)
_TOKENIZER = Pinned(
    package="wordllama",
    path="tokenizers/l2_supercat_tokenizer_config.json",
    sha256="93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68",
    cure=_CURE,
)

_WORD = re.compile(r"\n[^ \n]*| +[^ \n]*")
_SPECIAL = re.compile("</?s>|<unk>|\u2581")  # what the tokenizer itself splits at or joins
_LONG = 64  # characters of a word that is hardly seen twice
_WORDS = 1 << 17  # that are remembered: 30 MB


class StaticEmbedder:
    """The mean of a text's token vectors, at unit length."""

    # Nothing is ever cut off, but the mean of a longer text points nowhere in particular.
    window = 512
    host = None
    parallel = 1
    dense_weight = 0.2  # the best of all tenths on Cranfield, 0.001 from the best on SciFact

    def __init__(self, model: str, table: Vectors, tokenizer: Tokenizer):
        self.model = model
        self._table = table
        self._tokenizer = tokenizer
        self._space, *_ = self._encode("\n")  # the tokenizer puts a space before every text
        self._word = functools.lru_cache(maxsize=_WORDS)(self._encode_word)
        self._length = functools.lru_cache(maxsize=_WORDS)(lambda word: len(self._word(word)))

    @property
    def dimensions(self) -> int:
        return int(self._table.shape[1])

    def count_tokens(self, text: str) -> int:
        """How many of this model's tokens ``text`` has."""
        words = self._words(text)
        if words is None:
            return len(self._encode(text))
        short = max(map(len, words)) < _LONG
        return sum(map(self._length if short else lambda word: len(self._any(word)), words))

    def dollars(self, tokens: int, tier: Tier = "standard") -> Decimal:  # noqa: ARG002
        """It is free: 0."""
        return Decimal(0)

    def ask(self, question: str, meter: Meter | None = None) -> Vectors:
        """Return a question's vector, shape ``(dimensions,)``."""
        row: Vectors = self.embed([question], meter)[0]
        return row

    def embed(self, texts: Sequence[str], meter: Meter | None = None) -> Vectors:  # noqa: ARG002
        """Return unit-length float32 rows, shape ``(len(texts), dimensions)``.

        Each row is computed alone, so a batch gives the very bits that single texts give.

        Raises:
            BadInput: a text is empty: it has no direction.
        """
        rows = np.empty((len(texts), self.dimensions), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            tokens = self._tokens(text)
            if not tokens:
                raise BadInput("an empty text cannot be embedded")
            mean = self._table[tokens].mean(axis=0, dtype=np.float32)
            row[:] = mean / np.linalg.norm(mean)
        return rows

    def _tokens(self, text: str) -> list[int]:
        """The ids of the whole text; a word that was seen before costs next to nothing."""
        words = self._words(text)
        if words is None:
            return list(self._encode(text))
        short = max(map(len, words)) < _LONG
        return list(chain.from_iterable(map(self._word if short else self._any, words)))

    def _words(self, text: str) -> list[str] | None:
        """Words with the spaces, or the line end, before them; None: they cannot be told apart.

        No token of this vocabulary holds a space that is not at its start, and none a line end
        beside anything else, so the ids of the words are those of the text.
        """
        if _SPECIAL.search(text) or not text.strip(" "):
            return None
        return _WORD.findall(" " + text)  # the tokenizer puts that space there too

    def _any(self, word: str) -> tuple[int, ...]:
        return self._word(word) if len(word) < _LONG else self._encode_word(word)

    def _encode_word(self, word: str) -> tuple[int, ...]:
        if word[0] == "\n":
            return self._encode(word)[1:]
        return self._encode(word[1:]) if word != " " else (self._space,)

    def _encode(self, text: str) -> tuple[int, ...]:
        clean = text.encode("utf-8", "replace").decode()  # a lone surrogate is no text
        return tuple(self._tokenizer.encode(clean, add_special_tokens=False).ids)


@functools.cache
def load(dimensions: int = 256) -> StaticEmbedder:
    """Load the table and the tokenizer, once per process (about 0.2 s, 35 MB).

    Args:
        dimensions: 256, or 128 or 64 of them: the table was trained so that the first components
            carry the most (Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022).

    Raises:
        ConfigurationError: a file is missing or is not the one this release was tested with.
    """
    table = load_tensors(_TABLE.read())["embedding.weight"].astype(np.float32)
    model = MODEL if dimensions == table.shape[1] else f"{MODEL}-first-{dimensions}"
    return StaticEmbedder(
        model, table[:, :dimensions], Tokenizer.from_str(_TOKENIZER.read().decode())
    )
