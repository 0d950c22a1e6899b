"""What a piece of work costs when it runs in a process of its own, PostgreSQL's share included."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sluice.catalog import connect
from sluice.catalog.migrate import migrate
from sluice.stack import postgres

_TICK = os.sysconf("SC_CLK_TCK")
_PASSWORD = "made-up-for-benchmarks"  # noqa: S105  # of a throw-away server on loopback


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """CPU seconds are user and system together."""

    cpu: float  # of the work, without interpreter and imports, with PostgreSQL
    postgres: float  # the part of it that PostgreSQL's processes spent
    imports: float  # of starting the interpreter and importing, not in ``cpu``
    wall: float  # seconds of the work
    megabytes: float  # the process's largest resident set


@dataclass(frozen=True, slots=True)
class Server:
    """A throw-away PostgreSQL server."""

    url: str
    pid: int

    def database(self, name: str) -> dict[str, str]:
        """Make and migrate a catalog called ``name``; return the settings that lead to it."""
        engine = connect(self.url)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        engine.dispose()
        admin = sa.make_url(self.url).set(database=name)
        migrate(admin.render_as_string(False), app_password=_PASSWORD, landing_password=_PASSWORD)
        roles = {"SLUICE_CATALOG_URL": "sluice_app", "SLUICE_LANDING_URL": "sluice_landing"}
        return {
            setting: admin.set(username=role, password=_PASSWORD).render_as_string(False)
            for setting, role in roles.items()
        }

    def cpu(self) -> float:
        """CPU seconds that the server has spent so far, backends that ended included."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return sum(_ticks(pid) for pid in [self.pid, *map(int, children)]) / _TICK


@contextmanager
def server(connections: int = 200) -> Iterator[Server]:
    """Run a durable PostgreSQL (fsync on, as in production) while the body works.

    Args:
        connections: at a time, at most.
    """
    postgres._SETTINGS["max_connections"] = str(connections)
    with tempfile.TemporaryDirectory(prefix="sluice-bench-pg-") as folder:
        Path(folder).chmod(0o755)  # the server may run as another user
        directory = Path(folder) / "server"
        try:
            started = postgres.start(directory, _PASSWORD, port=0, durable=True)
            engine = connect(started.url())
            with engine.connect() as connection:
                backend = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
                status = Path(f"/proc/{backend}/status").read_text()
            engine.dispose()
            parent = next(line for line in status.splitlines() if line.startswith("PPid:"))
            yield Server(started.url(), int(parent.split()[1]))
        finally:
            postgres.remove(directory)


def run(
    script: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    database: Server | None = None,
) -> tuple[Any, Spent]:
    """Run ``script work <arguments>`` as a process of its own; return its result and its cost.

    The script's ``work`` must end in :func:`answer`.
    """
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        answer_path = Path(folder) / "answer.json"
        variables = {**os.environ, **environment, "SLUICE_BENCH_ANSWER": str(answer_path)}
        before = database.cpu() if database else 0.0
        child = subprocess.Popen([sys.executable, script, "work", *arguments], env=variables)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{script} work {' '.join(arguments)} failed: {child.returncode}")
        time.sleep(0.5)  # backends end a moment after their client
        served = database.cpu() - before if database else 0.0
        answer = json.loads(answer_path.read_text())
    total = usage.ru_utime + usage.ru_stime
    return answer["result"], Spent(
        cpu=total - answer["imports"] + served,
        postgres=served,
        imports=answer["imports"],
        wall=answer["wall"],
        megabytes=usage.ru_maxrss / 1024,
    )


def answer(work: Callable[[], Any]) -> None:
    """In the process of its own: do ``work``, and hand its result and times to :func:`run`."""
    imports = _own_cpu()
    started = time.monotonic()
    result = work()
    wall = time.monotonic() - started
    content = {"result": result, "imports": imports, "wall": wall}
    Path(os.environ["SLUICE_BENCH_ANSWER"]).write_text(json.dumps(content))


def _own_cpu() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in usages)


def _ticks(pid: int) -> int:
    """User and system ticks of a process and of those of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it ended meanwhile; its parent has its ticks
        return 0
    return sum(int(field) for field in fields[11:15])
