"""Processes that outlive the one that started them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from sluice.stack import postgres, processes
from sluice.stack.processes import Record

FORKS = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN if "deaf" in sys.argv else signal.SIG_DFL)
if os.fork() == 0:
    os.setpgid(0, 0)  # as Airflow's tasks do: another group, the same session
time.sleep(60)
"""


started: list[subprocess.Popen[bytes]] = []  # or Python waits for them when it likes


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Return once ``condition`` holds; fail if it does not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def runs(pid: int) -> bool:
    """Whether a process runs; one that ended but was not waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def begin(tmp_path: Path, *arguments: str) -> Record:
    """Start a program that forks a child into a process group of its own."""
    command = [sys.executable, "-c", FORKS, *arguments]
    process = processes.start(command, tmp_path / "log", dict(os.environ))
    started.append(process)
    record = Record.of(process.pid)
    wait_for(lambda: len(record.session()) == 2)
    return record


def test_a_program_ends_with_all_that_it_forked(tmp_path: Path) -> None:
    """Ending a program leaves no child behind, whatever process group the child moved to."""
    record = begin(tmp_path)
    children = record.session()
    processes.end([record], patience=0.3)
    assert not any(runs(pid) for pid in children)


def test_a_program_that_ignores_the_request_is_made_to_end(tmp_path: Path) -> None:
    """SIGTERM is only a request; after the patience comes a SIGKILL."""
    record = begin(tmp_path, "deaf")
    pids = record.session()
    assert sorted(processes.end([record], patience=0.3)) == sorted(pids)
    assert record.session() == []


def test_orphans_of_a_dead_program_are_found(tmp_path: Path) -> None:
    """A child whose parent was killed is still known by its session."""
    record = begin(tmp_path)
    started[-1].kill()
    started[-1].wait()
    assert len(record.session()) == 1
    assert processes.end([record]) == []
    assert record.session() == []


def test_a_stranger_with_a_recycled_pid_is_left_alone() -> None:
    """A record whose start time does not match names nobody, and nobody is harmed."""
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        record = Record.of(stranger.pid)
        stale = replace(record, started=record.started - 3600)
        assert record.alive()
        assert not stale.alive()
        assert stale.session() == []
        processes.end([stale])
        assert stranger.poll() is None
    finally:
        stranger.communicate(b"\n")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"pid": 1, "x": 2}'])
def test_an_unreadable_record_names_nobody(tmp_path: Path, content: str) -> None:
    """A half-written or foreign file is no reason to stop, nor to kill anything."""
    path = tmp_path / "x.json"
    path.write_text(content)
    assert Record.read(path) is None


def test_a_record_survives_the_disk(tmp_path: Path) -> None:
    """What was written is read back, and still names this process."""
    record = Record.of(os.getpid())
    record.write(tmp_path / "me.json")
    assert Record.read(tmp_path / "me.json") == record
    assert record.alive()


def test_the_listener_on_a_port_is_named() -> None:
    """A taken port is named with the process that has it, so that a person can act."""
    port = postgres.free_port()
    code = f"import socket as s; x = s.create_server(('127.0.0.1', {port})); print(); input()"
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        server.stdout.readline()
        assert f"(process {server.pid})" in (processes.listener(port) or "")
        server.communicate(b"\n")
    assert processes.listener(port) is None
