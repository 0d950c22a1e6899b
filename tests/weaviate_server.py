"""A real Weaviate on this machine, for tests that can use one.

The binary is ``weaviate`` on the PATH, or whatever WEAVIATE_BINARY says; where there is none, tests
are skipped.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PATIENCE = 60.0  # seconds until it is ready; usually three


@dataclass(slots=True)
class Server:
    """One node, its data folder and its ports: killed and started again, it is the same one."""

    binary: str
    folder: Path
    ports: list[int]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.ports[1]}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [self.binary, "--host", "127.0.0.1", "--port", str(self.ports[0])]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--scheme", "http"],
                cwd=self.folder,
                env=self._variables(),
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + PATIENCE
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError((self.folder / "log").read_text()[-3000:])
            time.sleep(0.1)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Let it answer nothing, with its ports open."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)  # it stops a moment later than it is told to

    def resume(self) -> None:
        """Let it answer again."""
        os.kill(self.pid, signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def _ready(self) -> bool:
        try:
            ready = urllib.request.urlopen(f"{self.url}/v1/.well-known/ready", timeout=5)  # noqa: S310  # http
            with ready:
                return bool(ready.status == 200)
        except OSError:
            return False

    def _variables(self) -> dict[str, str]:
        _, grpc, gossip, internal, raft, rpc = map(str, self.ports)
        return {
            "PATH": os.environ["PATH"],
            "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "true",
            "AUTOSCHEMA_ENABLED": "false",
            "CLUSTER_ADVERTISE_ADDR": "127.0.0.1",
            "CLUSTER_ADVERTISE_PORT": gossip,
            "CLUSTER_BIND_ADDR": "127.0.0.1",
            "CLUSTER_DATA_BIND_PORT": internal,
            "CLUSTER_GOSSIP_BIND_PORT": gossip,
            "CLUSTER_HOSTNAME": "node1",
            "DISABLE_TELEMETRY": "true",
            "ENABLE_MODULES": "",
            "GO_PROFILING_DISABLE": "true",
            "GRPC_PORT": grpc,
            "LOG_LEVEL": "warning",
            "PERSISTENCE_DATA_PATH": str(self.folder / "data"),
            "RAFT_INTERNAL_RPC_PORT": rpc,
            "RAFT_PORT": raft,
            "RAFT_TIMEOUTS_MULTIPLIER": "1",  # ready in three seconds instead of ten
            **self.environment,
        }


@contextlib.contextmanager
def start(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server that is ready, in ``folder``, on free ports, until the block ends.

    Args:
        folder: where it keeps its data and its log.
        environment: variables besides ours, or instead of ours.
    """
    server = Server(_binary(), folder, _free_ports(6), environment or {})
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _binary() -> str:
    found = os.environ.get("WEAVIATE_BINARY") or shutil.which("weaviate")
    if not found:
        pytest.skip("no Weaviate")
    return found


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
