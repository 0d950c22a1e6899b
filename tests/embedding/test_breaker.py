"""Failing endpoints are left alone for a while; and how many requests go at a time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sluice.embedding.breaker import Breaker
from sluice.errors import EmbedderRefused, EmbedderUnavailable


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def fail(breaker: Breaker, error: Exception | None = None) -> None:
    """Let an attempt fail."""
    with (
        pytest.raises((EmbedderUnavailable, EmbedderRefused), match="down"),
        breaker.attempt(),
    ):
        raise error or EmbedderUnavailable("down")


def opened(clock: Clock, probes: int = 1) -> Breaker:
    """A breaker that has just opened."""
    breaker = Breaker("it", failures=3, rest=10, probes=probes, clock=clock)
    for _ in range(3):
        fail(breaker)
    return breaker


def test_after_failures_in_a_row_nobody_may_try() -> None:
    """It says when it is tried again; one success in between counts from the beginning."""
    clock = Clock()
    breaker = Breaker("it", failures=3, rest=10, clock=clock)
    fail(breaker)
    fail(breaker)
    with breaker.attempt():
        pass
    fail(breaker)
    fail(breaker)
    fail(breaker)
    told = pytest.raises(EmbedderUnavailable, match=r"3 times in a row.*again in 10 s")
    with told, breaker.attempt():
        pass


@pytest.mark.parametrize("probes", [1, 2, 5])
def test_after_the_rest_exactly_so_many_may_probe_at_a_time(probes: int) -> None:
    """However many come at once."""
    clock = Clock()
    breaker = opened(clock, probes)
    clock.now = 10.0
    going, done = threading.Barrier(probes + 1), threading.Event()
    refused = 0

    def probe() -> None:
        with breaker.attempt():
            going.wait(10)
            done.wait(10)

    with ThreadPoolExecutor(probes) as pool:
        probing = [pool.submit(probe) for _ in range(probes)]
        going.wait(10)
        for _ in range(20):
            with pytest.raises(EmbedderUnavailable), breaker.attempt():
                pass
            refused += 1
        done.set()
        for each in probing:
            each.result()
    assert refused == 20
    with breaker.attempt():  # a probe succeeded: everybody may
        pass


def test_a_failed_probe_begins_the_rest_again() -> None:
    """And no more than one was spent on it."""
    clock = Clock()
    breaker = opened(clock)
    clock.now = 10.0
    fail(breaker)
    clock.now = 19.0
    with pytest.raises(EmbedderUnavailable, match="left alone"), breaker.attempt():
        pass
    clock.now = 20.0
    with breaker.attempt():
        pass


def test_told_to_wait_or_refused_is_no_failure() -> None:
    """Who says so is there: only silence and nonsense count."""
    breaker = Breaker("it", failures=2, clock=Clock())
    for _ in range(5):
        fail(breaker, EmbedderUnavailable("slow down", after=1.0))
        fail(breaker, EmbedderRefused("down with you"))
    with breaker.attempt():
        pass
