"""What an answer means: the same refusal is a 403 here, a 429 there, and a 200 elsewhere."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

_LENGTH = 200  # characters of what a service says
_SECONDARY = 60.0  # seconds that GitHub asks for where it names none
_EPOCH = 1e9  # a larger number is a moment, a smaller one a while
_PASSING = {408, 425}
_SLACK_SIGN_IN = {
    "invalid_auth",
    "not_authed",
    "token_revoked",
    "token_expired",
    "account_inactive",
}
_GOOGLE_LIMITS = {
    "rateLimitExceeded",
    "userRateLimitExceeded",
    "quotaExceeded",
    "RATE_LIMIT_EXCEEDED",
}
_MATRIX_SIGN_IN = {"M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"}


class Dialect(enum.StrEnum):
    """How a service says what it will not do."""

    GENERIC = "generic"
    GITHUB = "github"
    SLACK = "slack"
    GOOGLE = "google"
    MATRIX = "matrix"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one answer means."""

    kind: Literal["fine", "wait", "unauthorized", "refused", "broken"]
    seconds: float | None = None  # of a wait; None: the service does not say
    why: str = ""  # in one line, of what was refused or broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a service says that it still takes."""

    remaining: int  # requests
    limit: int | None  # of how many
    seconds: float  # until there are that many again


def judged(
    dialect: Dialect, status: int, headers: Mapping[str, str], body: str, now: datetime
) -> Verdict:
    """Return what an answer means.

    Args:
        dialect: the service's.
        status: HTTP's.
        headers: of the answer, in any case.
        body: its text; of one that is fine it is only looked at where the dialect hides errors.
        now: aware.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    found = _parsed(body) if status >= 400 or dialect is Dialect.SLACK else {}
    special = None
    match dialect:
        case Dialect.GITHUB:
            special = _github(status, lower, body, now)
        case Dialect.SLACK:
            special = _slack(status, lower, found, now)
        case Dialect.GOOGLE:
            special = _google(status, lower, found, now)
        case Dialect.MATRIX:
            special = _matrix(status, lower, found, now)
    return special or _generic(status, lower, found, body, now)


def allowance(headers: Mapping[str, str], now: datetime) -> Allowance | None:
    """Return what the headers say of what is left; None where they do not."""
    lower = {name.lower(): value for name, value in headers.items()}
    remaining, limit = _number(lower, "x-ratelimit-remaining"), _number(lower, "x-ratelimit-limit")
    seconds = _until_reset(lower, now)
    if remaining is None or seconds is None:
        return None
    return Allowance(remaining=int(remaining), limit=int(limit) if limit else None, seconds=seconds)


def _generic(
    status: int, headers: Mapping[str, str], found: Mapping[str, Any], body: str, now: datetime
) -> Verdict:
    if status < 400:
        return Verdict(kind="fine")
    if status == 401:
        return Verdict(kind="unauthorized", why=_said(found, body))
    if status == 429:
        after = _retry_after(headers, now)
        return Verdict(kind="wait", seconds=_until_reset(headers, now) if after is None else after)
    if status == 503 and (after := _retry_after(headers, now)) is not None:
        return Verdict(kind="wait", seconds=after)
    if status >= 500 or status in _PASSING:
        return Verdict(kind="broken", why=_said(found, body))
    return Verdict(kind="refused", why=_said(found, body))


def _github(status: int, headers: Mapping[str, str], body: str, now: datetime) -> Verdict | None:
    if status not in {403, 429}:
        return None
    if (after := _retry_after(headers, now)) is not None:
        return Verdict(kind="wait", seconds=after)
    if headers.get("x-ratelimit-remaining", "").strip() == "0":
        return Verdict(kind="wait", seconds=_until_reset(headers, now))
    if "secondary rate limit" in body.lower():
        return Verdict(kind="wait", seconds=_SECONDARY)
    return None


def _slack(
    status: int, headers: Mapping[str, str], found: Mapping[str, Any], now: datetime
) -> Verdict | None:
    if status != 200 or found.get("ok") is not False:
        return None
    error = str(found.get("error") or "it gave no reason")
    if error in {"ratelimited", "rate_limited"}:
        return Verdict(kind="wait", seconds=_retry_after(headers, now))
    kind: Literal["unauthorized", "refused"] = (
        "unauthorized" if error in _SLACK_SIGN_IN else "refused"
    )
    needed = found.get("needed")
    return Verdict(kind=kind, why=_cut(f"{error}, it needs {needed}" if needed else error))


def _google(
    status: int, headers: Mapping[str, str], found: Mapping[str, Any], now: datetime
) -> Verdict | None:
    error = found.get("error")
    if status != 403 or not isinstance(error, dict):
        return None
    lines = [*_list(error.get("errors")), *_list(error.get("details"))]
    reasons = {line.get("reason") for line in lines if isinstance(line, dict)}
    if reasons & _GOOGLE_LIMITS:
        return Verdict(kind="wait", seconds=_retry_after(headers, now))
    named = ", ".join(sorted(str(each) for each in reasons if each))
    said = str(error.get("message") or "")
    return Verdict(kind="refused", why=_cut(f"{named}: {said}" if named else said))


def _matrix(
    status: int, headers: Mapping[str, str], found: Mapping[str, Any], now: datetime
) -> Verdict | None:
    code = found.get("errcode")
    if status < 400:
        return None
    if code in _MATRIX_SIGN_IN:
        return Verdict(kind="unauthorized", why=str(code))
    if code == "M_LIMIT_EXCEEDED":
        after, said = _retry_after(headers, now), found.get("retry_after_ms")
        if after is None and isinstance(said, int | float):
            after = max(said / 1000, 0.0)
        return Verdict(kind="wait", seconds=after)
    return None


def _retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds; the header has them, or a date (RFC 9110, 10.2.3)."""
    if (seconds := _number(headers, "retry-after")) is not None:
        return max(seconds, 0.0)
    try:
        moment = parsedate_to_datetime(headers["retry-after"])
    except (KeyError, ValueError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max((moment - now).total_seconds(), 0.0)


def _until_reset(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds; services give the moment, in seconds or milliseconds, or the while until it."""
    reset = _number(headers, "x-ratelimit-reset")
    if reset is None:
        return None
    if reset > _EPOCH:
        reset = (reset / 1000 if reset > 1000 * _EPOCH else reset) - now.timestamp()
    return max(reset, 0.0)


def _number(headers: Mapping[str, str], name: str) -> float | None:
    try:
        value = float(headers[name])
    except (KeyError, ValueError):
        return None
    return value if abs(value) < 1e15 else None  # nor is NaN or infinity a number of seconds


def _parsed(body: str) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _said(found: Mapping[str, Any], body: str) -> str:
    """What the service says of an error, in one line; a page of HTML says nothing."""
    error = found.get("error")
    inner = error.get("message") if isinstance(error, dict) else error
    said = found.get("message") or inner or found.get("detail") or found.get("error_description")
    if not said and "<" not in body[:100] and not found:
        said = body
    return _cut(str(said or ""))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _cut(text: str) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _LENGTH else line[: _LENGTH - 1] + "…"
