"""A source that fails again and again is left alone, and no other source waits for it."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sluice.catalog import Catalog, runs
from sluice.errors import SourceBusy, SourceUnavailable
from sluice.ingest.breaking import pause_after, unless_paused
from sluice.model import Policy


@pytest.fixture
def two(catalog: Catalog) -> Catalog:
    """A catalog that knows two sources."""
    with catalog.begin() as connection:
        for name in ("down", "up"):
            runs.ensure_source(connection, name, "rest", Policy())
    return catalog


def fail(catalog: Catalog, source: str, error: Exception | None = None) -> None:
    """Read a source that does not answer."""
    with pytest.raises(SourceUnavailable), unless_paused(catalog, source):
        raise error or SourceUnavailable("it does not answer")


def test_the_third_failure_in_a_row_pauses_that_source_alone(two: Catalog) -> None:
    """Who asks again is told at once, and the body does not run; the other source is read."""
    for _ in range(3):
        fail(two, "down")
    with pytest.raises(SourceBusy) as busy, unless_paused(two, "down"):
        raise AssertionError("it was asked")
    assert 50 < busy.value.after <= 60
    with unless_paused(two, "up"):
        pass


def test_a_reading_that_works_forgets_the_failures(two: Catalog) -> None:
    """Three failures a day apart are not three in a row."""
    for _ in range(4):
        fail(two, "down")
        if _ == 1:
            with unless_paused(two, "down"):
                pass
    with unless_paused(two, "down"):
        pass


def test_a_service_that_says_when_to_come_again_is_believed(two: Catalog) -> None:
    """Once is enough; when the time is over it is read."""
    fail(two, "down", SourceBusy("an hour", after=3600))
    with pytest.raises(SourceBusy) as busy, unless_paused(two, "down"):
        raise AssertionError("it was asked")
    assert busy.value.after > 3500
    with two.begin() as connection:
        connection.execute(sa.text("UPDATE sluice.source SET paused_until = now()"))
    with unless_paused(two, "down"):
        pass


def test_pauses_grow_and_end() -> None:
    """None at first, then one, two, four … minutes, half an hour at most."""
    assert [pause_after(n) for n in (1, 2, 3, 4, 5)] == [0, 0, 60, 120, 240]
    assert pause_after(1000) == 1800
