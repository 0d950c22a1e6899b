"""Great Expectations' pages, for whoever is signed in where they are served.

The pages quote what sources hold, and no source is trusted to run a script as the reader, nor is
any other server to be asked for one. So the browser is told to run and to load nothing, and our
own style sheet stands in for what the pages would have loaded.
"""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SignedIn = Callable[[str], Awaitable[bool]]

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
}
_STYLE = f"<style>{Path(__file__).with_suffix('.css').read_text()}</style>"
_SIGN_IN = "<p>These pages are for people who are signed in. <a href='/'>Sign in</a> first.</p>"

_ELSEWHERE = (
    "<p>There is no such page here. It lies where the run was judged: under data_docs in the "
    "SLUICE_HOME of the worker, if that shares no folder with this server.</p>"
)


def data_docs(folder: Path, signed_in: SignedIn) -> ASGIApp:
    """Return an app that serves ``<source>/<run>/index.html`` and the pages that it leads to.

    Args:
        folder: where the runs' pages are; it may not exist yet.
        signed_in: asked with the request's token, from the ``_token`` cookie or a bearer header.
    """
    files = _Pages(directory=folder, check_dir=False)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        token = presented(HTTPConnection(scope))
        allowed = token is not None and await signed_in(token)
        app: ASGIApp = files if allowed else HTMLResponse(_SIGN_IN, status_code=401)
        await app(scope, receive, send_guarded)

    return serve


class _Pages(StaticFiles):
    """Static files, which keep to their folder, with an index of ours and a style sheet."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        try:
            found, stat = self.lookup_path(path)
        except (ValueError, OSError):  # a NUL in the path, or far too many letters
            raise HTTPException(HTTPStatus.NOT_FOUND) from None
        if stat is None and path.endswith("index.html"):
            return HTMLResponse(_ELSEWHERE, HTTPStatus.NOT_FOUND)
        if stat is None or not path.endswith(".html"):
            return await super().get_response(path, scope)
        page = Path(found)
        if page.name == "index.html":
            return _index(page.parent)
        return HTMLResponse(page.read_text().replace("</head>", f"{_STYLE}</head>", 1))


def _index(run: Path) -> Response:
    """Lead to the run's one page of results, or list them; GX's own index is drawn by a script."""
    results = sorted(str(page.relative_to(run)) for page in run.glob("validations/**/*.html"))
    if len(results) == 1:
        return RedirectResponse(quote(results[0]))
    items = "".join(f"<li><a href='{quote(each)}'>{html.escape(each)}</a></li>" for each in results)
    title = html.escape(f"{run.parent.name}: {run.name}")
    return HTMLResponse(f"<!DOCTYPE html>{_STYLE}<title>{title}</title><h4>{title}</h4><ul>{items}")


def presented(connection: HTTPConnection) -> str | None:
    """The token that a request presents. A bearer header wins over the cookie, as in Airflow."""
    kind, _, value = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and value:
        return value
    return connection.cookies.get("_token")
