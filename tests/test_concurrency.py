"""How many go at a time: more while it goes well, half as many when it does not."""

from __future__ import annotations

import threading

from sluice.concurrency import Concurrency


def go(some: Concurrency, *, well: bool | None) -> None:
    """Let one through alone."""
    ticket = some.enter()
    assert ticket is not None
    some.leave(ticket, well=well)


def test_more_go_at_a_time_while_it_goes_well_and_half_as_many_when_not() -> None:
    """Additive increase, multiplicative decrease, and never fewer than the least."""
    some = Concurrency(least=2, first=2, most=8)
    for _ in range(100):
        go(some, well=True)
    assert some.allowed == 8
    go(some, well=None)
    assert some.allowed == 8
    for wanted in (4, 2, 2):
        go(some, well=False)
        assert some.allowed == wanted


def test_a_crowd_that_goes_badly_together_halves_it_once() -> None:
    """They were all let in before anybody knew."""
    some = Concurrency(first=8, most=8)
    tickets = [some.enter() for _ in range(8)]
    assert some.enter() is None
    for ticket in tickets:
        assert ticket is not None
        some.leave(ticket, well=False)
    assert some.allowed == 4


def test_who_is_patient_goes_when_another_leaves() -> None:
    """And nobody else has to be."""
    some = Concurrency(most=1)
    ticket = some.enter()
    assert ticket is not None
    assert some.enter(0.01) is None
    threading.Timer(0.1, some.leave, args=[ticket], kwargs={"well": True}).start()
    assert some.enter(5.0) is not None
