"""Packing: no limit is ever exceeded, nothing is lost, doubled or moved."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sluice.embedding.packing import FileLimits, Line, RequestLimits, files, requests
from sluice.errors import BadInput

LIMITS = st.builds(
    RequestLimits,
    inputs=st.integers(1, 9),
    tokens=st.integers(10, 60),
    tokens_an_input=st.integers(5, 10),
)
LINES = st.lists(
    st.builds(
        Line,
        positions=st.lists(st.integers(0, 99), min_size=1, max_size=5).map(tuple),
        tokens=st.integers(1, 50),
        bytes=st.integers(10, 90),
    ),
    max_size=60,
)


@settings(max_examples=5_000, deadline=None)
@given(st.lists(st.integers(1, 5), max_size=200), LIMITS)
def test_no_request_is_ever_too_large(tokens: list[int], limits: RequestLimits) -> None:
    """Inputs and tokens stay within the limits; every text is in one request, in order."""
    packed = requests(tokens, limits)
    assert [each for some in packed for each in some] == list(range(len(tokens)))
    assert all(0 < len(some) <= limits.inputs for some in packed)
    assert all(sum(tokens[each] for each in some) <= limits.tokens for some in packed)
    for one, other in itertools.pairwise(packed):  # nothing is closed before it is full
        full = sum(tokens[each] for each in one) + tokens[other[0]] > limits.tokens
        assert full or len(one) == limits.inputs


@settings(max_examples=5_000, deadline=None)
@given(
    LINES,
    st.builds(
        FileLimits,
        requests=st.integers(1, 9),
        inputs=st.integers(5, 20),
        bytes=st.integers(90, 300),
        tokens=st.integers(50, 120),
    ),
)
def test_no_file_is_ever_too_large(lines: list[Line], limits: FileLimits) -> None:
    """Requests, inputs, bytes and tokens stay within the limits; every line is in one file."""
    packed = list(files(lines, limits))
    assert [each for some in packed for each in some] == lines
    for some in packed:
        assert 0 < len(some) <= limits.requests
        assert sum(len(each.positions) for each in some) <= limits.inputs
        assert sum(each.bytes for each in some) <= limits.bytes
        assert sum(each.tokens for each in some) <= limits.tokens


@pytest.mark.parametrize(
    ("tokens", "why"),
    [([3, 0, 2], "text 2 of 3: an empty text"), ([3, 9_000], "text 2 of 2: it has 9000 tokens")],
)
def test_what_no_request_can_hold_is_named(tokens: list[int], why: str) -> None:
    """Before anything is sent, and by its place."""
    with pytest.raises(BadInput, match=why):
        requests(tokens, RequestLimits(inputs=9, tokens=300_000, tokens_an_input=8192))


def test_a_line_that_no_file_can_hold_is_refused() -> None:
    """It cannot happen with the limits that there are, and must not loop if it does."""
    with pytest.raises(BadInput, match="above the limits"):
        list(files([Line(positions=(0,), tokens=9, bytes=9)], FileLimits(tokens=5)))
