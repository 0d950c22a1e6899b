"""Signing in to sources from a browser: a button, and the address that consents come back to.

``/<source>``  who may edit the source's DAG is shown what is asked, and sent to consent to it
``/callback``  the service sends the browser here; the state in the address is all that counts
"""

from __future__ import annotations

import asyncio
import html
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from sluice.api.data_docs import presented
from sluice.auth import Consent
from sluice.errors import SluiceError
from sluice.model import AuthorizationCode

_log = logging.getLogger(__name__)

MayEdit = Callable[[str, str], Awaitable[bool]]
Lookup = Callable[[str], AuthorizationCode]

_STYLE = f"<style>{Path(__file__).with_name('data_docs.css').read_text()}</style>"


def connect_app(
    consent: Callable[[], Consent], look_up: Lookup, may_edit: MayEdit, callback: str
) -> Starlette:
    """Return an app that people sign in to sources with.

    Args:
        consent: asked for when first needed.
        look_up: how a source is signed in to; raises ConfigurationError.
        may_edit: whether whoever presents this token (from Airflow's cookie or a bearer header)
            may edit the DAG of this name.
        callback: where the services send browsers back to.
    """

    async def page(request: Request) -> Response:
        source = request.path_params["source"]
        token = presented(request)
        if token is None or not await may_edit(token, source):
            return _page(
                HTTPStatus.UNAUTHORIZED,
                "Not signed in",
                "This page is for people who may edit this source's DAG. "
                "<a href='/'>Sign in</a> first.",
            )
        try:
            auth = await asyncio.to_thread(look_up, source)
            if request.method == "POST":
                link = await asyncio.to_thread(consent().begin, source, auth, callback)
                return RedirectResponse(link, HTTPStatus.SEE_OTHER)
        except SluiceError as error:
            return _refusal(error)
        return _question(source, auth)

    async def back(request: Request) -> Response:
        asked = request.query_params
        try:
            source = await asyncio.to_thread(
                lambda: consent().finish(
                    asked.get("state", ""), asked.get("code"), asked.get("error")
                )
            )
        except SluiceError as error:
            return _refusal(error)
        return _page(
            HTTPStatus.OK,
            f"{source} is connected",
            "Its next run reads it. You may close this page.",
        )

    return Starlette(
        routes=[
            Route("/callback", back),
            Route("/{source}", page, methods=["GET", "POST"]),
        ]
    )


def _question(source: str, auth: AuthorizationCode) -> Response:
    scopes = ", ".join(html.escape(each) for each in auth.scopes) or "what the service decides"
    host = html.escape(urlsplit(auth.authorize_url).netloc)
    return _page(
        HTTPStatus.OK,
        f"Connect {source}",
        f"<p>Sluice will ask {host} for: {scopes}.</p>"
        f"<form method='post'><button>Go to {host}</button></form>",
    )


def _refusal(error: SluiceError) -> Response:
    _log.warning("%s", error)
    return _page(HTTPStatus.BAD_REQUEST, "That did not work", html.escape(str(error)))


def _page(status: HTTPStatus, title: str, body: str) -> Response:
    heading = html.escape(title)
    return HTMLResponse(
        f"<!DOCTYPE html>{_STYLE}<title>{heading}</title><h4>{heading}</h4>{body}",
        status,
        headers={
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
            "base-uri 'none'; frame-ancestors 'none'",
            "Referrer-Policy": "no-referrer",  # the address holds a code
            "Cache-Control": "no-store",
        },
    )
