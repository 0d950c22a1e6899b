"""Tokens are counted here, with the vocabulary that the provider bills by."""

from __future__ import annotations

import functools
from typing import Any

BYTES = "bytes"  # no vocabulary is known: no token is shorter, so this is the most there can be


def count(vocabulary: str, text: str) -> int:
    """How many tokens of ``vocabulary`` a text has; what looks like a special one is text."""
    clean = sendable(text)
    if vocabulary == BYTES:
        return len(clean.encode())
    return len(_encoding(vocabulary).encode_ordinary(clean))


def sendable(text: str) -> str:
    """``text`` as it can be sent: a lone surrogate is no character of any encoding."""
    return text.encode("utf-8", "replace").decode()


@functools.cache
def _encoding(vocabulary: str) -> Any:
    import bpe_openai  # 75 MB of tables: only who counts

    return bpe_openai.get_encoding(vocabulary)
