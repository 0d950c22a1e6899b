"""Readings of one source's permissions, written in any order: of each object the latest stands.

Content runs and permission runs read at moments of their own, and write when they get to it. The
oracle knows what the source granted at every moment, and never looks at the order of writing.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from permitted import grants_of
from sluice.catalog import Catalog, permissions, runs
from sluice.errors import AlreadyRunning
from sluice.model import Effect, Grant, Policy, Principal

OBJECTS = ("a", "b")  # few of everything: what matters is who writes first
MOMENTS = 4
START = datetime(2026, 1, 1, tzinfo=UTC)

Lines = frozenset[tuple[str, Effect]]
Shown = dict[str, Lines]  # by object; what is not there does not exist


class Step(NamedTuple):
    """One writing of what was read at ``moment``."""

    kind: Literal["permissions", "content", "narrow", "introduce"]
    moment: int
    seen: frozenset[str]  # the objects that a content run came across


ALLOW, DENY = ("user:u", Effect.ALLOW), ("user:u", Effect.DENY)
lines = st.sampled_from([frozenset(), frozenset({ALLOW}), frozenset({ALLOW, DENY})])
sources = st.lists(
    st.fixed_dictionaries({"a": lines}, optional={"b": lines}), min_size=MOMENTS, max_size=MOMENTS
)
steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(("permissions", "content", "narrow", "introduce")),
        st.integers(0, MOMENTS - 1),
        st.sampled_from([frozenset("a"), frozenset("b"), frozenset("ab")]),
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope="module")
def url(database: str) -> str:
    """The catalog, as the application role."""
    from conftest import as_role

    return as_role(database, "sluice_app")


@pytest.fixture(scope="module")
def shared(url: str) -> Iterator[Catalog]:
    """A catalog in which every example has a source of its own."""
    catalog = Catalog(url, f"t-{uuid.uuid4().hex[:12]}")
    yield catalog
    catalog.close()


def write(catalog: Catalog, source: str, shown: Shown, step: Step) -> None:
    """Write one reading, as a run does."""
    at = START + timedelta(minutes=step.moment)
    acls = {
        key: frozenset(Grant(Principal(who), effect) for who, effect in each)
        for key, each in shown.items()
    }
    seen = {key: each for key, each in acls.items() if key in step.seen}
    try:
        with catalog.begin() as connection:
            match step.kind:
                case "permissions":
                    permissions.replace_source(connection, source, acls, [], [], at)
                case "content":
                    permissions.touch(connection, source, seen, at)
                case "narrow":
                    permissions.narrow(connection, source, seen, at)
                case "introduce":  # as a run does for what documents move under
                    permissions.introduce(connection, source, seen, at)
                    permissions.narrow(connection, source, seen, at)
    except AlreadyRunning:
        pass  # a later reading is there: the run is told so


def latest(history: list[Shown], done: list[Step], key: str) -> tuple[int, bool] | None:
    """The last moment at which the object was looked at, and whether all of it was written then."""
    told = [
        (each.moment, each.kind in {"permissions", "content"})
        for each in done
        if each.kind == "permissions" or (key in each.seen and key in history[each.moment])
    ]
    return max(told, default=None)


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sources, steps)
def test_no_older_reading_undoes_a_newer_one(
    shared: Catalog, history: list[Shown], done: list[Step]
) -> None:
    """Each object grants what it did when it was last read; or less, if that was to narrow it."""
    source = f"s{uuid.uuid4().hex[:12]}"
    with shared.begin() as connection:
        runs.ensure_source(connection, source, "office", Policy())
    for step in done:
        write(shared, source, history[step.moment], step)
    found = grants_of(shared, source)
    for key in OBJECTS:
        held = {(who, Effect(effect)) for who, effect in found.get(key, set())}
        last = latest(history, done, key)
        if last is None:
            assert held == set()
            continue
        moment, whole = last
        truth = history[moment].get(key, frozenset())
        if whole:
            assert held == truth, (key, last)
        allowed = {line for line in held if line[1] is Effect.ALLOW}
        assert allowed <= truth, (key, last)
        if held:
            denied = {line for line in truth if line[1] is Effect.DENY}
            assert denied <= held, (key, last)
