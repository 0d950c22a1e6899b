"""What an endpoint answers becomes vectors, or an error that says what is wrong with it."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx2
import numpy as np
import openai

from sluice.errors import EmbedderRefused, EmbedderUnavailable, EmbeddingError
from sluice.model import Quota
from sluice.ports import Vectors

LONGEST_WAIT = 120.0  # seconds that a server may ask for; then the task is tried again later
_LENGTH = 200  # characters of what a server said that are repeated


def parsed(text: str, subject: str) -> Mapping[str, Any]:
    """The JSON object that a server answered with.

    Raises:
        EmbedderUnavailable: it is none: a proxy's page, or cut off.
    """
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise EmbedderUnavailable(
            f"it answered with something that is no JSON object: {_cut(text)}",
            subject=subject,
            cure="Check base_url; it usually ends in /v1",
        )
    return found


def vectors(answer: Mapping[str, Any], texts: int, dimensions: int, subject: str) -> Vectors:
    """Unit-length rows in the order of the texts, shape ``(texts, dimensions)``.

    Raises:
        EmbedderUnavailable: a vector is missing, or is no direction.
        EmbedderRefused: vectors have another size.
    """
    entries = answer.get("data")
    try:
        placed = {int(each["index"]): each["embedding"] for each in entries or ()}
        rows = [_row(placed[position]) for position in range(texts)]
    except (KeyError, TypeError, ValueError, binascii.Error):
        rows = []
    if len(rows) != texts or len(entries or ()) != texts:
        raise EmbedderUnavailable(
            f"it gave no vector for each of {texts} texts", subject=subject, cure="Try again"
        )
    sizes = {len(row) for row in rows}
    if sizes != {dimensions}:
        raise EmbedderRefused(
            f"it gave vectors of {max(sizes)} dimensions instead of {dimensions}",
            subject=subject,
            cure="Say what the model has: `dimensions` in the file of endpoints",
        )
    found = np.stack(rows).astype(np.float32)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not lengths.all():
        raise EmbedderUnavailable(
            "it gave a vector that is no direction (NaN, infinite or zero)",
            subject=subject,
            cure="Try again; if it stays so, the model is broken",
        )
    unit: Vectors = found / lengths
    return unit


def _row(embedding: Any) -> Vectors:
    """A vector as base64 of little-endian float32, or as a list: some servers know only lists."""
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
    return np.asarray(embedding, np.float32)


def usage(answer: Mapping[str, Any], counted: int) -> int:
    """Tokens that are billed; as ``counted`` here where the server does not say."""
    said = answer.get("usage")
    tokens = said.get("prompt_tokens") if isinstance(said, dict) else None
    return tokens if isinstance(tokens, int) and tokens >= 0 else counted


def quota(headers: Mapping[str, str]) -> Quota | None:
    """What the headers of an answer say is left; None if that is plenty, or they do not say.

    Their names: platform.openai.com/docs/guides/rate-limits.
    """
    requests, requests_full = _scarce(headers, "requests")
    tokens, tokens_full = _scarce(headers, "tokens")
    pause = min(_after(headers) or 0.0, LONGEST_WAIT)
    if requests is None and tokens is None and not pause:
        return None
    return Quota(
        requests=requests,
        tokens=tokens,
        requests_full=requests_full,
        tokens_full=tokens_full,
        pause=pause,
    )


def _scarce(headers: Mapping[str, str], of: str) -> tuple[int | None, float]:
    """The limit a minute, and seconds until it is free in full; None: plenty is left, or unsaid."""
    try:
        limit = int(headers[f"x-ratelimit-limit-{of}"])
        left = int(headers[f"x-ratelimit-remaining-{of}"])
        reset = _seconds(headers[f"x-ratelimit-reset-{of}"])
    except (KeyError, ValueError):
        return None, 0.0
    if limit <= 0 or left >= limit * _PLENTY:
        return None, 0.0
    return limit, min(reset, LONGEST_WAIT)


_PLENTY = 0.5  # of a limit
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def _seconds(text: str) -> float:
    """A duration such as ``6m0s`` or ``120ms``.

    Raises:
        ValueError: it is none.
    """
    if not re.fullmatch(f"({_DURATION.pattern})+", text):
        raise ValueError(text)
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))


def translated(error: openai.OpenAIError | httpx2.HTTPError, subject: str) -> EmbeddingError:
    """Our error for one of the client's."""
    if isinstance(error, openai.APIStatusError):
        return _refusal(error, subject)
    if isinstance(error, openai.APITimeoutError):
        return EmbedderUnavailable("it did not answer in time", subject=subject, cure="Try again")
    said = _cut(str(error.__cause__ or error)) or type(error.__cause__ or error).__name__
    return EmbedderUnavailable(
        f"it does not answer: {said}", subject=subject, cure="Check that it runs, and base_url"
    )


@contextmanager
def translating(subject: str) -> Iterator[None]:
    """Let the body speak to an endpoint; what its client raises becomes ours."""
    try:
        yield
    except (openai.OpenAIError, httpx2.HTTPError) as error:
        raise translated(error, subject) from error


def certain(error: openai.OpenAIError) -> bool:
    """Whether nothing was done, and so nothing is billed: it was refused, or never sent."""
    if isinstance(error, openai.APIStatusError):
        return error.status_code not in {502, 504}  # a proxy's word: what is behind it may go on
    return type(error.__cause__).__name__ in {"ConnectError", "ConnectTimeout", "PoolTimeout"}


_CURES = {
    401: "Check the key: its variable is `api_key` in the file of endpoints",
    403: "Give the key the scope it lacks, or use another one",
    404: "Check the model's name, and base_url",
    413: "Send less at a time: `tokens_a_request` in the file of endpoints",
}
_PASSING = {408, 409, 425, 429}


def _refusal(error: openai.APIStatusError, subject: str) -> EmbeddingError:
    status, body = error.status_code, error.body
    said = body.get("message") if isinstance(body, dict) else None
    happened = f"{status}: {_cut(str(said or error.message))}"
    if status == 429 and error.code == "insufficient_quota":
        return EmbedderRefused(happened, subject=subject, cure="Raise the quota at the provider")
    if status in _PASSING or status >= 500:
        after = _after(error.response.headers)
        return EmbedderUnavailable(happened, subject=subject, cure="Try again", after=after)
    cure = _CURES.get(status, "See what the endpoint says")
    return EmbedderRefused(happened, subject=subject, cure=cure)


def _after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server wants us to wait, if it says so in seconds or milliseconds."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            return float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
    return None


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LENGTH else line[: _LENGTH - 1] + "…"
