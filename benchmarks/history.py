"""What was true when, and whether an answer fits it: a pure judgement.

A publish makes its content true at some moment within its flip, and takes rights away at some
moment while it narrows them. So for every fact there is a stretch of time in which it may hold, and
a shorter one in which it must. An answer is judged by the time it took: what may hold at no moment
of it is wrong to give, and what must hold at every moment of it is wrong to leave out.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["right", "failed", "stale", "mixed", "leaked", "missing"]
Moments = tuple[float, float]  # seconds of one clock: begin and end


@dataclass(frozen=True, slots=True)
class Version:
    """A document as it is live: its generation, the edition its text names, and its folder."""

    generation: int
    edition: int
    folder: str


@dataclass(frozen=True, slots=True)
class State:
    """What a publish made true. A document never changes its folder."""

    narrow: Moments  # rights that went were taken away within
    flip: Moments  # the rest became true within
    live: Mapping[str, Version]  # by document id
    readers: Mapping[str, frozenset[str]]  # of each folder


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search gave, and when."""

    begin: float
    end: float
    person: str
    target: str | None  # the document that the question is about
    hits: Sequence[tuple[str, int, int]]  # document, generation, edition in its text
    error: str | None = None


class History:
    """States, one after the other; the first one has always been."""

    def __init__(self, states: Sequence[State]):
        self._states = states
        self._flipped = [each.flip[1] for each in states]  # from here on it is surely true
        self._flipping = [each.flip[0] for each in states]  # before it, it surely is not
        self._folders = {
            document: version.folder for each in states for document, version in each.live.items()
        }

    def judge(self, answer: Answer) -> Verdict:
        """The first thing that is wrong with ``answer``, the worst first."""
        if answer.error is not None:
            return "failed"
        span = self._during(answer)
        if any(not self._may_read(answer, span, document) for document, _, _ in answer.hits):
            return "leaked"
        for document, generation, edition in answer.hits:
            versions = {
                each.generation: each for number in span if (each := self._live(number, document))
            }
            if generation not in versions:
                return "stale"
            if versions[generation].edition != edition:
                return "mixed"
        return "missing" if self._must_show(answer, span) else "right"

    def _during(self, answer: Answer) -> range:
        """The states that may have been true at some moment of ``answer``."""
        first = max(0, bisect.bisect_right(self._flipped, answer.begin) - 1)
        return range(first, max(first + 1, bisect.bisect_left(self._flipping, answer.end)))

    def _live(self, number: int, document: str) -> Version | None:
        return self._states[number].live.get(document)

    def _may_read(self, answer: Answer, span: range, document: str) -> bool:
        """Whether the person may have had the right to the document's folder at some moment."""
        folder = self._folders.get(document)
        return any(
            answer.person in self._states[number].readers.get(folder, ())
            and not self._taken(answer, number + 1, folder)
            for number in span
        )

    def _taken(self, answer: Answer, number: int, folder: str | None) -> bool:
        """Whether the state had taken the right away before the answer was begun."""
        return (
            number < len(self._states)
            and answer.person not in self._states[number].readers.get(folder, ())
            and self._states[number].narrow[1] < answer.begin
        )

    def _must_show(self, answer: Answer, span: range) -> bool:
        """Whether the target was live and readable throughout, and is not among the hits."""
        target = answer.target
        if target is None or any(document == target for document, _, _ in answer.hits):
            return False
        following = self._states[span.stop : span.stop + 1]
        narrowing = [each for each in following if each.narrow[0] <= answer.end]
        folder = self._folders.get(target)
        return all(self._live(number, target) for number in span) and all(
            answer.person in each.readers.get(folder, ())
            for each in (*self._states[span.start : span.stop], *narrowing)
        )
