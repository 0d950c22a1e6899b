"""One real stack for all end-to-end tests: up once from nothing, then up again to be used."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from livestack import PROJECT, Operator, Outcome, Place, Running
from sluice.stack import postgres
from sluice.stack.home import Home


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A home that does not exist yet, and links to the project's own DAG files."""
    folder = tmp_path_factory.mktemp("stack")
    dags = folder / "dags"
    dags.mkdir()
    for path in (PROJECT / "dags").glob("*.py"):
        (dags / path.name).symlink_to(path)
    made = Place(folder / "home", dags, postgres.free_port())
    yield made
    made.sluice("reset")
    shutil.rmtree(folder, ignore_errors=True)


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
    """The same stack, up again; at the end SIGTERM must leave no process behind."""
    started = time.monotonic()
    up = subprocess.Popen(
        [sys.executable, "-c", "from sluice.cli import main; main()", "up", "--json"],
        env=place.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert up.stdout is not None
        lines = iter(up.stdout.readline, "")
        printed = json.loads("".join(_until_closed(lines)))
        seconds = time.monotonic() - started
        client = Operator(place.url, "admin", printed["stack"]["password"])
        client.sign_in()
        yield Running(place, Outcome(printed["stack"], printed["seconds"], seconds, []), client)
        client.close()
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(timeout=60)
    assert up.returncode == 0
    assert place.processes() == []
    assert Home(place.home).holder() is None


def _until_closed(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        yield line
        if line.rstrip() == "}":
            return
