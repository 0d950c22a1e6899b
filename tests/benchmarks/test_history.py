"""Answers are judged by what was true while they were made."""

from __future__ import annotations

from dataclasses import replace

import pytest
from history import Answer, History, State, Version

ALWAYS = (float("-inf"), float("-inf"))
ADA, BEN = "user:ada@example.com", "user:ben@example.com"


def page(generation: int, edition: int = 1, folder: str = "a") -> Version:
    """A version of some page."""
    return Version(generation, edition, folder)


# At 10 to 11 rights go, at 12 to 13 the rest becomes true: "moved" is edited, "gone" deleted,
# "born" added, and folder b changes hands from Ada to Ben.
BEFORE = State(
    ALWAYS,
    ALWAYS,
    {"moved": page(1), "gone": page(2), "b": page(3, folder="b")},
    {"a": frozenset({ADA}), "b": frozenset({ADA})},
)
AFTER = State(
    (10, 11),
    (12, 13),
    {"moved": page(4, 2), "born": page(5), "b": page(3, folder="b")},
    {"a": frozenset({ADA}), "b": frozenset({BEN})},
)
HISTORY = History([BEFORE, AFTER])
ASKED = Answer(begin=0, end=1, person=ADA, target=None, hits=[])


@pytest.mark.parametrize(
    ("begin", "end", "hit", "verdict"),
    [
        (0, 1, ("moved", 1, 1), "right"),
        (0, 1, ("moved", 4, 2), "stale"),  # not live yet
        (14, 15, ("moved", 4, 2), "right"),
        (14, 15, ("moved", 1, 1), "stale"),
        (11, 14, ("moved", 1, 1), "right"),  # either was live at some moment
        (11, 14, ("moved", 4, 2), "right"),
        (14, 15, ("moved", 4, 1), "mixed"),  # the text is of another edition
        (14, 15, ("gone", 2, 1), "stale"),
        (12.5, 12.6, ("gone", 2, 1), "right"),  # within the flip nobody knows
        (0, 1, ("born", 5, 1), "stale"),
        (0, 1, ("never", 9, 1), "leaked"),
    ],
)
def test_a_hit_is_right_if_its_version_was_live_at_some_moment(
    begin: float, end: float, hit: tuple[str, int, int], verdict: str
) -> None:
    """Old, deleted, mixed and coming versions are told apart from what was."""
    assert HISTORY.judge(replace(ASKED, begin=begin, end=end, hits=[hit])) == verdict


@pytest.mark.parametrize(
    ("person", "begin", "verdict"),
    [
        (ADA, 0, "right"),
        (ADA, 10.5, "right"),  # while it is being taken
        (ADA, 11.5, "leaked"),  # taken, although the flip has not begun
        (ADA, 14, "leaked"),
        (BEN, 0, "leaked"),
        (BEN, 14, "right"),
    ],
)
def test_a_right_counts_until_it_is_taken_and_from_when_it_may_be_given(
    person: str, begin: float, verdict: str
) -> None:
    """Whoever lost a folder may not see it from the end of the narrowing, not of the flip."""
    answer = replace(ASKED, begin=begin, end=begin + 0.1, person=person, hits=[("b", 3, 1)])
    assert HISTORY.judge(answer) == verdict


@pytest.mark.parametrize(
    ("person", "target", "begin", "end", "verdict"),
    [
        (ADA, "moved", 0, 1, "missing"),
        (ADA, "moved", 11, 14, "missing"),  # one version or the other, never neither
        (ADA, "gone", 12.5, 14, "right"),
        (ADA, "gone", 0, 1, "missing"),
        (ADA, "born", 12.5, 12.6, "right"),
        (ADA, "born", 14, 15, "missing"),
        (ADA, "b", 9, 10.5, "right"),  # the right was being taken
        (BEN, "b", 0, 1, "right"),  # not his yet
        (BEN, "b", 14, 15, "missing"),
    ],
)
def test_what_was_live_and_readable_all_the_while_must_be_shown(
    person: str, target: str, begin: float, end: float, verdict: str
) -> None:
    """An answer without its target is wrong only if the target was there for all of its time."""
    answer = replace(ASKED, person=person, target=target, begin=begin, end=end)
    assert HISTORY.judge(answer) == verdict


def test_an_error_is_a_failure_whatever_was_true() -> None:
    """A search that raised has failed."""
    assert HISTORY.judge(replace(ASKED, error="IndexUnavailable")) == "failed"
