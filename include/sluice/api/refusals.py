"""Every error becomes one shape: ``{"error": {code, message, cure, trace_id}}``.

What an agent is told about a failure inside is that it failed; the details are for the log.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from sluice.errors import (
    BadInput,
    BudgetExhausted,
    CatalogUnavailable,
    ConfigurationError,
    EmbeddingError,
    IndexUnavailable,
    LimitExceeded,
    NotFound,
    NotPermitted,
    Overloaded,
    ScopeTooLarge,
    SluiceError,
    TooStale,
    Unauthenticated,
)
from sluice.retrieve import new_trace_id

_log = logging.getLogger(__name__)

_STATUS: dict[type[SluiceError], HTTPStatus] = {
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
    NotPermitted: HTTPStatus.FORBIDDEN,
    ScopeTooLarge: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    TooStale: HTTPStatus.CONFLICT,
    BadInput: HTTPStatus.UNPROCESSABLE_ENTITY,
}
STATUSES = (401, 403, 404, 409, 413, 415, 422, 429, 503)  # what OpenAPI says may happen
_HEADERS: dict[int, dict[str, str]] = {
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "Bearer"},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": "5"},  # seconds; nobody knows how long
}
_TOO_OLD = "the permissions that an answer would rest on are too old"
_INSIDE: dict[type[SluiceError], str] = {
    CatalogUnavailable: "the catalog does not answer",
    IndexUnavailable: "the index does not answer",
    EmbeddingError: "the question cannot be embedded",
    BudgetExhausted: "a budget is spent",
    ConfigurationError: "the server is not set up",
}


def answer(
    status: int,
    code: str,
    message: str,
    cure: str | None,
    trace_id: str,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An error as it leaves."""
    problem = {"code": code, "message": message, "cure": cure, "trace_id": trace_id}
    return JSONResponse({"error": problem}, status, headers or _HEADERS.get(status))


def overloaded(after: float, trace_id: str) -> JSONResponse:
    """The refusal of what is too much: ask again in ``after`` seconds, or a little later."""
    said = "more is asked at the moment than can be answered"
    return _later(Overloaded, said, after, trace_id)


def _later(kind: type[SluiceError], said: str, after: float, trace_id: str) -> JSONResponse:
    seconds = math.ceil(after)
    return answer(
        HTTPStatus.TOO_MANY_REQUESTS,
        _code(kind),
        said,
        f"Ask again in {seconds} s",
        trace_id,
        {"Retry-After": str(seconds)},
    )


def install(app: FastAPI) -> None:
    """Give ``app`` this answer to everything that can be raised."""
    app.exception_handler(SluiceError)(_sluice_error)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(http_error)
    app.exception_handler(Exception)(_unexpected)


def _sluice_error(request: Request, error: SluiceError) -> JSONResponse:
    if isinstance(error, TooStale):  # which directory or source is late is the operator's business
        _log.warning("%s", error)
        error = TooStale(_TOO_OLD, cure="Ask again later, or tell the operator the trace_id")
    if isinstance(error, Overloaded):
        request.state.crowded = True
        return overloaded(error.after, _trace_id(request))
    if isinstance(error, LimitExceeded):
        said = f"{error.subject}: {error.happened}"
        return _later(LimitExceeded, said, error.after, _trace_id(request))
    for kind, status in _STATUS.items():
        if isinstance(error, kind):
            said = f"{error.subject}: {error.happened}" if error.subject else error.happened
            return answer(status, _code(kind), said, error.cure, _trace_id(request))
    _log.error("%s: %s", type(error).__name__, error)
    for kind, said in _INSIDE.items():
        if isinstance(error, kind):
            cure = "Ask again in a moment"
            return answer(
                HTTPStatus.SERVICE_UNAVAILABLE, _code(kind), said, cure, _trace_id(request)
            )
    return _unexpected(request, error)


def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    return answer(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        _code(BadInput),
        f"{where}: {first['msg']}" if where else str(first["msg"]),
        "See openapi.json for the fields",
        _trace_id(request),
    )


def http_error(request: Request, error: HTTPException) -> JSONResponse:
    """What the framework refuses by itself: unknown paths, wrong methods, broken JSON."""
    if error.status_code == HTTPStatus.BAD_REQUEST:  # how FastAPI says that a body is broken
        cure = "Send JSON in UTF-8"
        return answer(422, _code(BadInput), "the body cannot be read", cure, _trace_id(request))
    phrase = HTTPStatus(error.status_code).phrase.lower()
    code = phrase.replace(" ", "_")
    return answer(error.status_code, code, phrase, "See openapi.json", _trace_id(request))


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    _log.error("unexpected %s", type(error).__name__, exc_info=error)
    return answer(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal_error",
        "something went wrong inside",
        "Tell the operator the trace_id",
        _trace_id(request),
    )


def _code(kind: type[SluiceError]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def _trace_id(request: Request) -> str:
    return getattr(request.state, "trace_id", None) or new_trace_id()
