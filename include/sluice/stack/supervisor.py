"""Keeps programs running: starts them, restarts what dies, ends all of them.

A program that dies comes back after 1, 2, 4, … 30 seconds; one that stayed up for a minute starts
that count anew.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sluice.errors import StackError
from sluice.stack import processes
from sluice.stack.processes import Record

_LONGEST_WAIT = 30.0  # seconds before a restart, at most
_SETTLED = 60.0  # seconds up after which earlier deaths are forgotten
_DEATHS = 3  # in a row, before anyone saw it healthy: it will not come up


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, under a name that its log and its record carry."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]


@dataclass(slots=True)
class _Running:
    program: Program
    process: subprocess.Popen[bytes]
    record: Record
    since: float
    deaths: int = 0
    restart_at: float | None = None


class Supervisor:
    """Runs programs for one stack; ``runs`` holds their records, ``logs`` what they print."""

    def __init__(self, runs: Path, logs: Path):
        self.runs = runs
        self.logs = logs
        self._running: dict[str, _Running] = {}
        for folder in (runs, logs):
            folder.mkdir(parents=True, exist_ok=True)

    def start(self, program: Program) -> None:
        """Start a program and keep it running from now on."""
        process, record = self._launch(program)
        self._running[program.name] = _Running(program, process, record, time.monotonic())

    def has(self, name: str) -> bool:
        """Whether a program of that name was started."""
        return name in self._running

    def check(self) -> list[str]:
        """Restart what is due; return a line for each death seen since the last call."""
        return [line for each in self._running.values() if (line := self._check(each))]

    def require(self) -> None:
        """Raise if a program dies again and again.

        Raises:
            StackError: it died three times in a row.
        """
        for name, each in self._running.items():
            if each.deaths >= _DEATHS:
                raise StackError(
                    f"stops as soon as it starts: {self.last_words(name)}",
                    subject=name,
                    cure=f"See {self.log(name)}",
                )

    def stop(self) -> None:
        """End every program, and whatever it started."""
        processes.end([each.record for each in self._running.values()])
        self._running.clear()
        for path in self.runs.glob("*.json"):
            path.unlink(missing_ok=True)

    def log(self, name: str) -> Path:
        """Where a program's output goes."""
        return self.logs / f"{name}.log"

    def last_words(self, name: str) -> str:
        """The last line that a program printed."""
        with contextlib.suppress(OSError):
            lines = self.log(name).read_text(errors="replace").strip().splitlines()
            return lines[-1].strip() if lines else "it printed nothing"
        return "it has no log"

    def _launch(self, program: Program) -> tuple[subprocess.Popen[bytes], Record]:
        process = processes.start(program.command, self.log(program.name), program.environment)
        record = Record.of(process.pid)
        record.write(self.runs / f"{program.name}.json")
        return process, record

    def _check(self, each: _Running) -> str | None:
        now = time.monotonic()
        if each.restart_at is not None:
            if now >= each.restart_at:
                each.process, each.record = self._launch(each.program)
                each.since, each.restart_at = now, None
            return None
        code = each.process.poll()
        if code is None:
            return None
        status = f"signal {-code}" if code < 0 else f"exit {code}"
        each.deaths = 1 if now - each.since > _SETTLED else each.deaths + 1
        wait = min(2.0 ** (each.deaths - 1), _LONGEST_WAIT)
        each.restart_at = now + wait
        processes.end([each.record], patience=2.0)  # what it forked must not meet its successor
        words = self.last_words(each.program.name)
        return f"{each.program.name} died ({status}: {words}); it starts again in {wait:.0f} s."


def heal(runs: Path) -> int:
    """End what a killed supervisor left behind; return how many processes that was."""
    records = [record for path in runs.glob("*.json") if (record := Record.read(path))]
    orphans = sum(len(record.session()) for record in records)
    processes.end(records)
    for path in runs.glob("*.json"):
        path.unlink(missing_ok=True)
    return orphans
