"""One real stack for all end-to-end tests: up once from nothing, then up again to be used."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import livestack
import pytest
from livestack import Outcome, Place, Running


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A home that does not exist yet, and links to the project's own DAG files."""
    with livestack.place(tmp_path_factory.mktemp("stack")) as made:
        yield made


@pytest.fixture(scope="session")
def first(place: Place) -> Outcome:
    """`sluice up --once` where nothing was before."""
    started = time.monotonic()
    done = place.sluice("up", "--once", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    seconds = time.monotonic() - started
    return Outcome(printed["stack"], printed["seconds"], seconds, place.processes())


@pytest.fixture(scope="session")
def running(place: Place, first: Outcome) -> Iterator[Running]:
    """The same stack, up again."""
    with livestack.running(place) as up:
        yield up
