"""Programs are kept running, restarted with growing patience, and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sluice.errors import StackError
from sluice.stack import supervisor
from sluice.stack.processes import Record
from sluice.stack.supervisor import Program, Supervisor


def program(code: str, name: str = "one") -> Program:
    """A program that runs a line of Python."""
    return Program(name, [sys.executable, "-S", "-c", code], dict(os.environ))


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[Supervisor]:
    """A supervisor that is stopped whatever the test does."""
    made = Supervisor(tmp_path / "runs", tmp_path / "logs")
    yield made
    made.stop()


def record(watcher: Supervisor, name: str = "one") -> Record:
    """The record on disk of a program that runs."""
    found = Record.read(watcher.runs / f"{name}.json")
    assert found is not None
    return found


def watch(watcher: Supervisor, deaths: int, seconds: float = 20.0) -> list[str]:
    """Look again and again until so many deaths were seen."""
    lines: list[str] = []
    deadline = time.monotonic() + seconds
    while len(lines) < deaths:
        assert time.monotonic() < deadline, lines
        lines += watcher.check()
        time.sleep(0.02)
    return lines


def test_a_killed_program_comes_back(watcher: Supervisor) -> None:
    """A program that was killed is started again, and its record names the new process."""
    watcher.start(program("import time; time.sleep(60)"))
    first = record(watcher)
    os.kill(first.pid, signal.SIGKILL)
    (line,) = watch(watcher, 1)
    assert "one died (signal 9" in line
    deadline = time.monotonic() + 10
    while (second := record(watcher)) == first:
        assert time.monotonic() < deadline
        watcher.check()
        time.sleep(0.02)
    assert second.alive()


def test_a_program_that_cannot_start_is_given_up_with_its_last_words(watcher: Supervisor) -> None:
    """Three deaths in a row are an error that quotes the program and names its log."""
    watcher.start(program("import sys; sys.exit('no such table')"))
    lines = watch(watcher, 3)
    assert [line.rsplit(" in ", 1)[1] for line in lines] == ["1 s.", "2 s.", "4 s."]
    with pytest.raises(StackError, match=r"one: stops as soon as it starts: no such table\. See"):
        watcher.require()


def test_nothing_is_left_after_stop(watcher: Supervisor) -> None:
    """Stopping ends every program and forgets its record."""
    for name in ("one", "two"):
        watcher.start(program("import time; time.sleep(60)", name))
    records = [record(watcher, name) for name in ("one", "two")]
    watcher.stop()
    assert not any(each.alive() for each in records)
    assert list(watcher.runs.iterdir()) == []


def test_what_a_killed_supervisor_left_is_healed(tmp_path: Path) -> None:
    """After kill -9 of the supervisor, its programs live on; the next run ends them."""
    code = f"""
import os, sys, time
from pathlib import Path
from sluice.stack.supervisor import Program, Supervisor
watcher = Supervisor(Path({str(tmp_path / "runs")!r}), Path({str(tmp_path / "logs")!r}))
watcher.start(Program("one", [sys.executable, "-c", "import time; time.sleep(60)"], os.environ))
print("up", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        killed.stdout.readline()
        killed.kill()
    orphan = Record.read(tmp_path / "runs" / "one.json")
    assert orphan is not None
    assert orphan.alive()
    assert supervisor.heal(tmp_path / "runs") == 1
    assert not orphan.alive()
    assert supervisor.heal(tmp_path / "runs") == 0
