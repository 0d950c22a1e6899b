"""Processes that outlive the one that started them, and how to know them again.

Each program runs in a session of its own, and whatever it forks stays in that session, so the
session is what we end. A pid alone may have been given to a stranger since: a record holds the
start time too, and a process that started at another moment is not ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

_SAME = 1.0  # seconds that two readings of one start time may differ by


@dataclass(frozen=True, slots=True)
class Record:
    """A process that we started: its pid, which is its session too, and when it began."""

    pid: int
    started: float  # seconds since the epoch

    @classmethod
    def of(cls, pid: int) -> Record:
        """The record of a running process."""
        return cls(pid, psutil.Process(pid).create_time())

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """What ``path`` holds; None where that is nothing readable."""
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Keep it in ``path``, whole or not at all."""
        half = path.with_name(path.name + ".half")
        half.write_text(json.dumps(asdict(self)))
        half.replace(path)

    def alive(self) -> bool:
        """Whether that very process still runs."""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < _SAME
            return same and process.status() != psutil.STATUS_ZOMBIE
        return False

    def session(self) -> list[int]:
        """The pids that live in its session, itself included.

        A pid is not given away while a session has that number. So if it now belongs to a process
        with another start time, nothing of ours is left.
        """
        if psutil.pid_exists(self.pid) and not self.alive() and not _zombie(self.pid):
            return []
        if self.started < psutil.boot_time() - _SAME:
            return []
        return [pid for pid in psutil.pids() if _session(pid) == self.pid and not _zombie(pid)]


def start(
    command: Sequence[str], log: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start ``command`` in a session of its own, its output appended to ``log``."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        )


def end(records: Sequence[Record], patience: float = 10.0) -> list[int]:
    """Ask the sessions to end, all at once; after ``patience`` seconds make them.

    Returns:
        The pids that would not end by themselves.
    """
    for record in records:
        _ask(record)
    deadline = time.monotonic() + patience
    while _left(records) and time.monotonic() < deadline:
        time.sleep(0.05)
    stubborn = _left(records)
    for pid in stubborn:
        _signal(pid, signal.SIGKILL)
    while _left(records) and time.monotonic() < deadline + 5.0:
        time.sleep(0.05)
    return stubborn


def listener(port: int) -> str | None:
    """Who listens on a TCP port, as far as we may know: ``python3 (process 123)``."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or connection.laddr[1:] != (port,):
                continue
            if connection.pid is None:
                return None
            with contextlib.suppress(psutil.Error):
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return None


def _ask(record: Record) -> None:
    """Let a program end its own children in its own way; ask orphans one by one."""
    if record.alive():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(record.pid, signal.SIGTERM)
        return
    for pid in record.session():
        _signal(pid, signal.SIGTERM)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _left(records: Sequence[Record]) -> list[int]:
    for record in records:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(record.pid, os.WNOHANG)  # our own child: take its exit, or it stays a zombie
    return [pid for record in records for pid in record.session()]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
