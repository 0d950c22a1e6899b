"""Great Expectations' pages, for whoever is signed in where they are served.

The pages quote what sources hold, and no source is trusted with a script that runs as the reader.
So they are served into a sandbox: their own scripts run, but in an origin that is nobody's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SignedIn = Callable[[str], Awaitable[bool]]

_HEADERS = {
    "Content-Security-Policy": "sandbox allow-scripts allow-popups",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
}
_SIGN_IN = "<p>These pages are for people who are signed in. <a href='/'>Sign in</a> first.</p>"


def data_docs(folder: Path, signed_in: SignedIn) -> ASGIApp:
    """Return an app that serves the files under ``folder``.

    Args:
        folder: it may not exist yet.
        signed_in: asked with the request's token, from the ``_token`` cookie or a bearer header.
    """
    files = StaticFiles(directory=folder, html=True, check_dir=False)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        token = _token(HTTPConnection(scope))
        allowed = token is not None and await signed_in(token)
        app: ASGIApp = files if allowed else HTMLResponse(_SIGN_IN, status_code=401)
        await app(scope, receive, send_guarded)

    return serve


def _token(connection: HTTPConnection) -> str | None:
    """A bearer header wins over the cookie, as in Airflow itself."""
    kind, _, value = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and value:
        return value
    return connection.cookies.get("_token")
