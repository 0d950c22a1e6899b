"""What is decided about a request before anything parses it."""

from __future__ import annotations

import json
import time
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sluice.api import refusals
from sluice.concurrency import Concurrency
from sluice.retrieve import trace_id_of

MAX_BODY = 64 * 1024  # bytes
AT_A_TIME = 64  # requests that a process works on, while that goes well
_FEW = 8  # and if it does not
_QUICK, _LONG = 0.5, 5.0  # seconds of a request: then more are let in, then fewer
_TYPE = "Send it as application/json"
_TWICE = "Send each field once: what reads the first one and what reads the last would disagree"
_SIZE = f"Send at most {MAX_BODY} bytes"


class Guard:
    """Names the trace, bounds the body, insists on JSON, and forbids caches to keep answers.

    More requests than the process can work on are refused while they cost next to nothing: whoever
    waited for a thread would get its answer when nobody wants it any more.
    """

    def __init__(self, app: ASGIApp):
        self._app = app
        self._inside = Concurrency(first=AT_A_TIME, least=_FEW, most=AT_A_TIME)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        trace_id = trace_id_of(headers.get("traceparent"))
        scope.setdefault("state", {})["trace_id"] = trace_id

        async def send_uncached(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Cache-Control"] = "no-store"
            await send(message)

        respond: ASGIApp = self._work
        if _not_json(scope, headers):
            respond = refusals.answer(415, "not_json", "the body is no JSON", _TYPE, trace_id)
        elif (body := await _read(headers, receive)) is None:
            respond = refusals.answer(413, "too_long", "the body is too long", _SIZE, trace_id)
        elif _says_twice(body):
            respond = refusals.answer(422, "bad_input", "a field is given twice", _TWICE, trace_id)
        else:
            receive = _replay(body, receive)
        await respond(scope, receive, send_uncached)

    async def _work(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or refuse it; whether that went well decides how many are let in."""
        if "/v1/" not in scope["path"]:  # how the process is may always be asked
            await self._app(scope, receive, send)
            return
        ticket = self._inside.enter()
        if ticket is None:
            await refusals.overloaded(1.0, scope["state"]["trace_id"])(scope, receive, send)
            return
        began = time.monotonic()
        try:
            await self._app(scope, receive, send)
        finally:
            took = time.monotonic() - began
            bad = "crowded" in scope["state"] or took > _LONG
            self._inside.leave(ticket, well=False if bad else True if took < _QUICK else None)


def _not_json(scope: Scope, headers: Headers) -> bool:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return scope["method"] == "POST" and kind != "application/json"


async def _read(headers: Headers, receive: Receive) -> bytes | None:
    """The whole body; None if it is too long, as soon as that is known."""
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > MAX_BODY:
        return None
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY:
            return None
    return body


def _says_twice(body: bytes) -> bool:
    """Whether an object of the JSON body has two fields of one name; broken JSON says nothing."""
    twice = False

    def look(fields: list[tuple[str, object]]) -> None:
        nonlocal twice
        twice = twice or len({name for name, _ in fields}) < len(fields)

    with suppress(ValueError, RecursionError):  # the framework refuses those itself
        json.loads(body, object_pairs_hook=look)
    return twice


def _replay(body: bytes, receive: Receive) -> Receive:
    """Hand out ``body`` as if it had not been read yet."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return messages.pop() if messages else await receive()

    return next_message
