"""Texts are packed into requests, and requests into files, within every limit there is.

Next fit, in order: a pack is closed when the next item no longer fits. So what is submitted again
after a failure is packed in the same way, and a long corpus is packed without holding all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sluice.errors import BadInput

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """Of one request for embeddings."""

    inputs: int
    tokens: int  # of all inputs together
    tokens_an_input: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLimits:
    """Of one batch. The defaults are those of OpenAI's Batch API."""

    requests: int = 50_000
    inputs: int = 50_000  # over all requests
    bytes: int = 200_000_000
    tokens: int  # that may wait in batches at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One request of a batch as it is written into the file."""

    positions: tuple[int, ...]  # of its texts
    tokens: int
    bytes: int  # its newline included


def requests(tokens: Sequence[int], limits: RequestLimits) -> list[tuple[int, ...]]:
    """Positions of texts, request by request.

    Args:
        tokens: how many each text has.
        limits: of one request.

    Raises:
        BadInput: a text is empty, or too long for any request.
    """
    for position, count in enumerate(tokens, start=1):
        subject = f"text {position} of {len(tokens)}"
        if not count:
            raise BadInput("an empty text cannot be embedded", subject=subject)
        if count > min(limits.tokens_an_input, limits.tokens):
            raise BadInput(
                f"it has {count} tokens, and the model reads {limits.tokens_an_input} at most",
                subject=subject,
            )
    most = (limits.inputs, limits.tokens)
    return [
        tuple(packed) for packed in _packed(range(len(tokens)), lambda at: (1, tokens[at]), most)
    ]


def files(lines: Iterable[Line], limits: FileLimits) -> Iterator[list[Line]]:
    """Lines of batches, file by file.

    Raises:
        BadInput: a line is too long for any file.
    """
    most = (limits.requests, limits.inputs, limits.bytes, limits.tokens)
    return _packed(lines, _weights, most)


def _weights(line: Line) -> tuple[int, ...]:
    return 1, len(line.positions), line.bytes, line.tokens


def _packed(
    items: Iterable[T], weigh: Callable[[T], tuple[int, ...]], most: tuple[int, ...]
) -> Iterator[list[T]]:
    """Items in packs, of which no sum of weights is above ``most``."""
    pack: list[T] = []
    sums = (0,) * len(most)
    for item in items:
        weights = weigh(item)
        if any(weight > limit for weight, limit in zip(weights, most, strict=True)):
            raise BadInput(f"weights {weights} are above the limits {most}", subject="a request")
        grown = tuple(a + b for a, b in zip(sums, weights, strict=True))
        if any(weight > limit for weight, limit in zip(grown, most, strict=True)):
            yield pack
            pack, grown = [], weights
        pack.append(item)
        sums = grown
    if pack:
        yield pack
