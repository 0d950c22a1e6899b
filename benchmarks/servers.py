"""Stores to measure: LanceDB in a folder, and throw-away Weaviates, started as the tests do it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
import weaviate_server
from weaviate_server import Server

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Memory:
    """MB of a process: its own, and of files that it has mapped, which the system may take back."""

    own: float
    mapped: float

    @classmethod
    def of(cls, pid: int) -> Memory:
        """What process ``pid`` takes now."""
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        kilobytes = {
            name: value.split()[0]
            for name, _, value in (x.partition(":") for x in lines)
            if value.split()
        }
        return cls(int(kilobytes["RssAnon"]) / 1024, int(kilobytes["RssFile"]) / 1024)


@contextmanager
def weaviate(folder: Path, **environment: str) -> Iterator[Server]:
    """A Weaviate of one node that keeps its data in ``folder``, while the body works."""
    weaviate_server.PATIENCE = 900.0  # a million chunks take a while to be read
    with weaviate_server.start(folder, environment) as server:
        yield server


def ambient() -> dict[str, str]:
    """The environment of this process, without anybody's settings of Sluice."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}


def reach(server: Server) -> dict[str, str]:
    """The settings that lead to ``server``."""
    return {"index": "weaviate", "weaviate_url": server.url, "weaviate_grpc": server.grpc}


def cpu(pid: int | None) -> float:
    """CPU seconds that this process has spent so far, and with it a server's."""
    if pid is None:
        return time.process_time()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return time.process_time() + (int(fields[11]) + int(fields[12])) / _TICK


def megabytes(folder: Path) -> float:
    """What the files below ``folder`` take on disk."""
    return sum(path.stat().st_blocks for path in folder.rglob("*") if path.is_file()) * 512 / 2**20


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own, as a server has one."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
