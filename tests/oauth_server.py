"""An authorization server on loopback that validates as the RFCs say, and fails as servers do.

Refresh tokens are good once. Whoever presents one twice loses the whole grant (RFC 9700, 4.14.2).
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt

CLIENT, SECRET = "sluice-tests", "a-made-up-client-secret"


@dataclass
class AuthorizationServer:
    """What the server knows; tests look at it, and may revoke and break things."""

    url: str = ""
    life: int | None = 3600  # seconds of an access token; None: the server does not say
    rotates: bool = True
    broken: int = 0  # that many answers are 503
    slow: float = 0.0  # seconds before an answer
    public_key: str | None = None  # that assertions are verified by
    access: set[str] = field(default_factory=set)  # good access tokens
    refresh: set[str] = field(default_factory=set)  # good refresh tokens, each once
    used: set[str] = field(default_factory=set)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    requests: list[dict[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def revoke(self) -> None:
        """End everything that was granted."""
        with self.lock:
            self.access.clear()
            self.refresh.clear()

    def token(self, form: dict[str, str], basic: tuple[str, str] | None) -> tuple[int, Any]:
        """What the token endpoint answers."""
        with self.lock:
            self.requests.append(form)
            if self.broken:
                self.broken -= 1
                return 503, {"error": "temporarily_unavailable"}
            kind = form.get("grant_type")
            if kind == "urn:ietf:params:oauth:grant-type:jwt-bearer":
                return self._assertion(form)
            client = basic or (form.get("client_id", ""), form.get("client_secret", ""))
            if client != (CLIENT, SECRET):
                return 401, {"error": "invalid_client"}
            match kind:
                case "client_credentials":
                    return 200, self._issue(form.get("scope", ""), refresh=False)
                case "authorization_code":
                    return self._code(form)
                case "refresh_token":
                    return self._refresh(form["refresh_token"])
            return 400, {"error": "unsupported_grant_type"}

    def consent(self, asked: dict[str, str]) -> str:
        """Consent to what a link asks for; return where the browser is sent."""
        assert asked["response_type"] == "code" and asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(8)
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def _code(self, form: dict[str, str]) -> tuple[int, Any]:
        asked = self.codes.pop(form["code"], None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if asked is None or asked["code_challenge"] != challenge:
            return 400, {"error": "invalid_grant"}
        if asked["redirect_uri"] != form.get("redirect_uri"):
            return 400, {"error": "invalid_grant"}
        return 200, self._issue(asked.get("scope", ""), refresh=True)

    def _refresh(self, presented: str) -> tuple[int, Any]:
        if presented in self.used:
            self.access.clear()
            self.refresh.clear()
        if presented not in self.refresh:
            return 400, {"error": "invalid_grant"}
        if self.rotates:
            self.refresh.discard(presented)
            self.used.add(presented)
        return 200, self._issue("", refresh=self.rotates)

    def _assertion(self, form: dict[str, str]) -> tuple[int, Any]:
        try:
            claims = jwt.decode(
                form["assertion"],
                self.public_key or "",
                algorithms=["RS256"],
                audience=f"{self.url}/token",
            )
        except jwt.InvalidTokenError:
            return 400, {"error": "invalid_grant"}
        assert claims["exp"] - claims["iat"] <= 3600
        return 200, self._issue(claims["scope"], refresh=False)

    def _issue(self, scope: str, *, refresh: bool) -> dict[str, Any]:
        body: dict[str, Any] = {"access_token": secrets.token_urlsafe(16), "token_type": "bearer"}
        self.access.add(body["access_token"])
        if self.life is not None:
            body["expires_in"] = self.life
        if scope:
            body["scope"] = scope
        if refresh:
            body["refresh_token"] = secrets.token_urlsafe(16)
            self.refresh.add(body["refresh_token"])
        return body


@contextmanager
def serving(server: AuthorizationServer) -> Iterator[AuthorizationServer]:
    """Serve it on a free port of loopback."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
            form = {name: values[0] for name, values in parse_qs(text).items()}
            time.sleep(server.slow)
            if self.path.endswith("/access_tokens"):
                self._say(*self._installation())
            else:
                self._say(*server.token(form, self._basic()))

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
            self.send_response(302)
            self.send_header("Location", server.consent(asked))
            self.end_headers()

        def _installation(self) -> tuple[int, Any]:
            presented = self.headers["Authorization"].removeprefix("Bearer ")
            try:
                claims = jwt.decode(presented, server.public_key or "", algorithms=["RS256"])
            except jwt.InvalidTokenError:
                return 401, {"message": "A JSON web token could not be decoded"}
            assert claims["exp"] - claims["iat"] <= 600, "GitHub allows ten minutes"
            token = secrets.token_urlsafe(16)
            server.access.add(token)
            return 201, {"token": f"ghs_{token}", "expires_at": "2099-01-01T00:00:00Z"}

        def _basic(self) -> tuple[str, str] | None:
            kind, _, encoded = self.headers.get("Authorization", "").partition(" ")
            if kind != "Basic":
                return None
            name, _, secret = base64.b64decode(encoded).decode().partition(":")
            return name, secret

        def _say(self, status: int, body: Any) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    listening = Server(("127.0.0.1", 0), Answers)
    server.url = f"http://127.0.0.1:{listening.server_port}"
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
