"""Whatever goes wrong with a Weaviate, as one error: one line, and a cure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc  # type: ignore[import-untyped]  # it ships none
import httpx
from weaviate.exceptions import UnexpectedStatusCodeError

from sluice.errors import IndexUnavailable, SluiceError
from sluice.index import rows
from sluice.index.weaviate_door import Endpoint

_ROOM = "Free disk space on its nodes, set the shard to READY, and run this again"
_RIGHTS = "Give the API key the right to read and write Sluice's collections and aliases"
_ANEW = "Restore it, or build another collection with `sluice index migrate`"
_CURES = {  # by what Weaviate says; the first that is in it
    "certificate": "Check SLUICE_WEAVIATE_CA",
    "could not find class": rows.ABSENT,
    "tenant not found": rows.ABSENT,
    "read-only": _ROOM,
    "no space left": _ROOM,
    "anonymous access not enabled": "Set SLUICE_WEAVIATE_API_KEY",
    "unauthorized": "Check SLUICE_WEAVIATE_API_KEY",
    "forbidden": _RIGHTS,
    "not as sluice made it": _ANEW,
    "requires inverted index": _ANEW,
    "no such prop": _ANEW,
}
_START = "Start it, or check SLUICE_WEAVIATE_URL and SLUICE_WEAVIATE_GRPC"
_PATIENCE = "Start it, give it more room, or raise SLUICE_WEAVIATE_TIMEOUT ({:g} s now)"
_UNKNOWN = "Look into Weaviate's log and run this again"


def unavailable(error: Exception | str, endpoint: Endpoint) -> IndexUnavailable:
    """Return ``error`` as what callers know. The API key is in no part of it."""
    said, cure = (error, _cure(error)) if isinstance(error, str) else _said(error, endpoint)
    if endpoint.key:  # before anything is cut off: a part of it would not be known again
        said = said.replace(endpoint.key.get_secret_value(), "…")
    said = _end(" ".join(said.split())).rstrip(".")
    return IndexUnavailable(said, subject=f"weaviate at {endpoint}", cure=cure)


def _said(error: Exception, endpoint: Endpoint) -> tuple[str, str]:
    causes = list(_causes(error))
    call = next((each for each in causes if isinstance(each, grpc.Call)), None)
    code = call.code() if call else None
    if code is grpc.StatusCode.DEADLINE_EXCEEDED or any(isinstance(e, _SLOW) for e in causes):
        return "it did not answer in time", _PATIENCE.format(endpoint.timeout)
    if code is grpc.StatusCode.UNAVAILABLE or any(isinstance(e, _GONE) for e in causes):
        why = (call.details() if call else None) or str(causes[-1])
        return f"it cannot be reached: {why}", _cure(why, _START)
    if call:
        said = str(call.details())
    elif isinstance(error, UnexpectedStatusCodeError):
        said = "could not find class" if error.status_code == _ABSENT else _body(error)
    else:
        said = str(error) or type(error).__name__
    return said, _cure(said)


_LONGEST = 300  # characters of what is said
_ABSENT = 404
_SLOW = (TimeoutError, httpx.TimeoutException)
_GONE = (httpx.TransportError,)


def _body(error: UnexpectedStatusCodeError) -> str:
    """What Weaviate itself says of a request that it did not grant."""
    body: Any = error.error  # typed as text, comes as what the JSON holds
    try:
        return f"{error.status_code}: {body['error'][0]['message']}"
    except (TypeError, KeyError, IndexError):
        return str(error)


def _end(details: str) -> str:
    """The end of a long message: each layer of Weaviate puts its own name before the reason."""
    return details if len(details) <= _LONGEST else "…" + details[-_LONGEST:]


def _cure(said: str, otherwise: str = _UNKNOWN) -> str:
    lower = said.lower()
    return next((cure for words, cure in _CURES.items() if words in lower), otherwise)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """``error`` and what led to it: the client wraps what gRPC and httpx raise."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, SluiceError):
        yield cause
        cause = cause.__cause__ or cause.__context__
