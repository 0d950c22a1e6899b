"""Rank fusion: a pure function of two lists."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluice.index.fusion import K, fuse
from sluice.model import Candidate


def _candidate(name: str, ordinal: int = 0, generation: int = 1) -> Candidate:
    return Candidate(
        document_id=name, generation=generation, acl_id=1, ordinal=ordinal, path=(), text=name
    )


def _list(names: str) -> list[Candidate]:
    return [_candidate(name) for name in names]


def _names(candidates: list[Candidate]) -> str:
    return "".join(c.document_id for c in candidates)


def test_scores_are_those_of_the_paper() -> None:
    """A chunk's score is the sum of weight / (k + rank) over both lists."""
    scores = {"a": 0.7 / (K + 1), "b": 0.7 / (K + 2) + 0.3 / (K + 1), "c": 0.3 / (K + 2)}
    expected = "".join(sorted(scores, key=lambda name: -scores[name]))
    assert _names(fuse(_list("ab"), _list("bc"), 0.3)) == expected == "bac"


@given(
    st.permutations(range(80)),
    st.permutations(range(80)),
    st.integers(0, 80),
    st.floats(0.05, 0.95),
)
def test_any_two_lists_are_ranked_by_the_formula(
    keyword: list[int], dense: list[int], kept: int, weight: float
) -> None:
    """As computed here in the plainest way."""
    keyword = keyword[:kept]
    scores = {
        name: weight / (61 + dense.index(name))
        + ((1 - weight) / (61 + keyword.index(name)) if name in keyword else 0)
        for name in range(80)
    }
    fused = fuse(
        [_candidate(f"{n:02}") for n in keyword], [_candidate(f"{n:02}") for n in dense], weight
    )
    found = [scores[int(each.document_id)] for each in fused]
    assert found == pytest.approx(sorted(scores.values(), reverse=True), rel=1e-9)


@pytest.mark.parametrize(("weight", "expected"), [(0.0, "abc"), (1.0, "xyz")])
def test_a_list_without_weight_adds_nothing(weight: float, expected: str) -> None:
    """With all the weight on one list its order stands, and nothing of the other appears."""
    assert _names(fuse(_list("abc"), _list("xyz"), weight)) == expected


def test_equal_scores_are_ordered_by_document_and_ordinal() -> None:
    """A tie is broken by what the chunk is, not by which list came first."""
    assert _names(fuse(_list("b"), _list("a"), 0.5)) == "ab"
    chunks = [_candidate("a", 1), _candidate("a", 0)]
    assert [c.ordinal for c in fuse(chunks[:1], chunks[1:], 0.5)] == [0, 1]


def test_a_chunk_that_a_store_returned_twice_counts_once() -> None:
    """Its first rank counts, and later chunks keep theirs."""
    assert fuse(_list("abac"), [], 0.2) == fuse(_list("abc"), [], 0.2)


def test_two_generations_of_a_chunk_are_two_candidates() -> None:
    """Only the gate knows which one is live."""
    both = [_candidate("a", 0, 1), _candidate("a", 0, 2)]
    assert set(fuse(both[:1], both[1:], 0.5)) == set(both)


@given(
    st.permutations("abcdefgh"),
    st.permutations("abcdefgh"),
    st.integers(0, 8),
    st.floats(0.01, 0.99),
    st.randoms(use_true_random=False),
)
def test_every_candidate_comes_back_once_and_better_ranks_never_hurt(
    keyword: list[str], dense: list[str], kept: int, weight: float, rng: random.Random
) -> None:
    """The union, without doubles; who leads both lists leads the fused one."""
    first, second = _list("".join(keyword[:kept])), _list("".join(dense))
    fused = _names(fuse(first, second, weight))
    assert sorted(fused) == sorted(set(keyword[:kept]) | set(dense))
    best = rng.choice("abcdefgh")
    ahead = [_list(best + "".join(names).replace(best, "")) for names in (keyword, dense)]
    assert _names(fuse(*ahead, weight))[0] == best
