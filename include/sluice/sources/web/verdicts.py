"""What an answer means: pure decisions, in each service's own words.

Sources, all read in November 2026:

* RFC 9110 10.2.3 (Retry-After), RFC 6585 (429)
* GitHub, "Rate limits for the REST API": 403 or 429 with ``x-ratelimit-remaining: 0`` and
  ``x-ratelimit-reset`` in epoch seconds; secondary limits say so, and want a minute
* Slack, "Rate limits" and "Errors": 429 with Retry-After; ``ok: false`` with 200 otherwise
* Google Drive, "Resolve errors": 403 with a reason that is about limits, or one that is not
* Matrix client-server API 1.11, 5.1: 429 ``M_LIMIT_EXCEEDED`` with ``retry_after_ms``
"""

from __future__ import annotations

import email.utils
import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MINUTE = 60.0  # seconds; what GitHub asks for where it says nothing else
_WAITS = {
    "rateLimitExceeded",
    "userRateLimitExceeded",
    "quotaExceeded",
    "sharingRateLimitExceeded",
    "RATE_LIMIT_EXCEEDED",
}
_SIGNED_OUT = {"invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive"}


class Dialect(enum.Enum):
    """Whose words are spoken."""

    PLAIN = "plain"
    GITHUB = "github"
    SLACK = "slack"
    GOOGLE = "google"
    MATRIX = "matrix"


class Meaning(enum.Enum):
    """What to do about an answer."""

    FINE = "take it"
    WAIT = "ask again when the service says so"
    BROKEN = "ask again, a few times"
    SIGNED_OUT = "the token is not good (any more)"
    REFUSED = "it will not, however often it is asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an answer means, and why."""

    meaning: Meaning
    why: str = ""
    after: float | None = None  # seconds, where the service said how long


def judge(
    dialect: Dialect, status: int, headers: Mapping[str, str], body: bytes, now: float
) -> Verdict:
    """Say what an answer means.

    Args:
        dialect: whose words it is in.
        status: HTTP's.
        headers: in any case, as ``requests`` has them.
        body: of which only errors are read.
        now: epoch seconds.
    """
    if dialect is Dialect.SLACK and status == 200:
        return _slack(body)
    if status < 400:
        return Verdict(meaning=Meaning.FINE)
    why = f"answered {status}"
    said = _json(body)
    if status == 429 or _limited(dialect, status, headers, body, said):
        return Verdict(meaning=Meaning.WAIT, why=why, after=_pause(dialect, headers, said, now))
    if status == 401 or (dialect is Dialect.MATRIX and said.get("errcode") == "M_UNKNOWN_TOKEN"):
        return Verdict(meaning=Meaning.SIGNED_OUT, why=why)
    if status == 503 and "retry-after" in _lower(headers):
        return Verdict(meaning=Meaning.WAIT, why=why, after=_pause(dialect, headers, said, now))
    if status >= 500 or status == 408:
        return Verdict(meaning=Meaning.BROKEN, why=why)
    return Verdict(meaning=Meaning.REFUSED, why=f"{why}{_reason(said)}")


def remaining(headers: Mapping[str, str]) -> tuple[int, float] | None:
    """How many requests are left, and the epoch seconds at which there are more again."""
    found = _lower(headers)
    try:
        left, reset = int(found["x-ratelimit-remaining"]), float(found["x-ratelimit-reset"])
    except (KeyError, ValueError):
        return None
    return (left, reset) if reset > 1e9 else None  # some say seconds from now, or milliseconds


def _limited(
    dialect: Dialect, status: int, headers: Mapping[str, str], body: bytes, said: Mapping[str, Any]
) -> bool:
    if status != 403:
        return False
    if dialect is Dialect.GITHUB:
        found = _lower(headers)
        return (
            found.get("x-ratelimit-remaining") == "0"
            or "retry-after" in found
            or b"secondary rate limit" in body
        )
    return dialect is Dialect.GOOGLE and bool(_WAITS & _google_reasons(said))


def _pause(
    dialect: Dialect, headers: Mapping[str, str], said: Mapping[str, Any], now: float
) -> float | None:
    found = _lower(headers)
    if (after := _retry_after(found.get("retry-after"), now)) is not None:
        return after
    if isinstance(milliseconds := said.get("retry_after_ms"), int | float):
        return float(milliseconds) / 1000
    left = remaining(headers)
    if left is not None and left[0] == 0:
        return max(0.0, left[1] - now) + 1.0  # their clock and ours
    return _MINUTE if dialect is Dialect.GITHUB else None


def _retry_after(text: str | None, now: float) -> float | None:
    if text is None:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now)
    except ValueError:
        return None


def _slack(body: bytes) -> Verdict:
    said = _json(body)
    error = said.get("error")
    if said.get("ok") is not False:
        return Verdict(meaning=Meaning.FINE)
    if error == "ratelimited":
        return Verdict(meaning=Meaning.WAIT, why="ratelimited")
    if error in _SIGNED_OUT:
        return Verdict(meaning=Meaning.SIGNED_OUT, why=str(error))
    if error in {"internal_error", "service_unavailable", "fatal_error", "request_timeout"}:
        return Verdict(meaning=Meaning.BROKEN, why=str(error))
    needed = said.get("needed")
    return Verdict(
        meaning=Meaning.REFUSED, why=f"{error}{f', it needs {needed}' if needed else ''}"
    )


def _google_reasons(said: Mapping[str, Any]) -> set[str]:
    error = said.get("error")
    if not isinstance(error, dict):
        return set()
    lists = [error.get("errors"), error.get("details")]
    lines = [each for some in lists if isinstance(some, list) for each in some]
    return {str(each.get("reason")) for each in lines if isinstance(each, dict)}


def _reason(said: Mapping[str, Any]) -> str:
    """The service's own short word for a refusal, if it has one."""
    if reasons := sorted(_google_reasons(said) - {"None"}):
        return f" ({reasons[0][:60]})"
    for name in ("errcode", "code", "message", "error"):
        if isinstance(found := said.get(name), str):
            return f" ({found[:60]})"
    return ""


def _json(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
