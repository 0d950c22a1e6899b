"""A web service on loopback: tests say how it answers, and see what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from sluice.model import Auth, Connection, SourceChange


class Asked(NamedTuple):
    """One request."""

    path: str
    query: dict[str, str]
    headers: Mapping[str, str]


class Answer(NamedTuple):
    """One answer; a body that is no bytes is JSON."""

    status: int
    body: Any = ""
    headers: Mapping[str, str] = {}


@dataclass
class Service:
    """Where it is, and what it was asked."""

    url: str
    asked: list[Asked] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        """The paths that it was asked, in order."""
        return [each.path for each in self.asked]


@contextmanager
def serving(answer: Callable[[Asked], Answer]) -> Iterator[Service]:
    """Serve ``answer`` on a free port of loopback."""

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            asked = Asked(parts.path, dict(parse_qsl(parts.query)), dict(self.headers))
            service.asked.append(asked)
            status, body, headers = answer(asked)
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    service = Service(f"http://127.0.0.1:{listening.server_port}")
    threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield service
    finally:
        listening.shutdown()
        listening.server_close()


@dataclass
class Kit:
    """A kit whose tokens are ``token-1``, ``token-2`` …: a rejected one has a next one."""

    password: str = "a-made-up-key"
    tokens: int = 1

    def connection(self, name: str) -> Connection:
        """The same for every name."""
        return Connection(name=name, login="sluice", password=self.password)

    def token(self, auth: Auth, rejected: str | None = None) -> str:
        """The newest, or the next if that was rejected."""
        if rejected == f"token-{self.tokens}":
            self.tokens += 1
        return f"token-{self.tokens}"

    def changes(self, after: int) -> list[SourceChange]:
        """None were noted."""
        return []
