"""What is behind ``open_session``. Importing it loads requests."""

from __future__ import annotations

import random
import time
import weakref
from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from sluice.errors import (
    SignInNeeded,
    SourceBusy,
    SourceError,
    SourceRefused,
    SourceUnavailable,
)
from sluice.model import Auth
from sluice.sources.web.budget import Budget
from sluice.sources.web.credentials import Credential, credential
from sluice.sources.web.verdicts import Dialect, Verdict, allowance, judged

if TYPE_CHECKING:
    from sluice.ports import Kit

_ATTEMPTS = 6  # of a request that could not be answered
_FIRST, _LONGEST = 0.5, 30.0  # seconds, of the while from which the next attempt's is drawn
_WAITS = 12  # of one request, because of limits: then somebody else may have the worker
_TIMEOUT = (10.0, 60.0)  # seconds to connect, and between two bytes
_NEXT_RUN = "Nothing was changed; the next run reads again"


class _Unsigned(AuthBase):
    """Signs nothing: otherwise requests would look for a password in ~/.netrc."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class Session(requests.Session):
    """Marks what a redirect to another host leads to: it gets no credential."""

    def __init__(self, adapter: Adapter):
        super().__init__()
        self.auth = _Unsigned()
        self._adapter = adapter
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def rebuild_auth(
        self, prepared_request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        """Decide whether a redirected request is signed."""
        before = response.request
        if self._adapter.unsigned(before) or origin(before.url) != origin(prepared_request.url):
            prepared_request.headers.pop("Authorization", None)
            self._adapter.sign_not(prepared_request)


class Adapter(HTTPAdapter):
    """Sends requests of one source. Safe to share between threads, as its base is."""

    def __init__(
        self,
        kit: Kit,
        source: str,
        auth: Auth | None,
        budget: Budget,
        dialect: Dialect,
        *,
        longest: float,
        origins: Collection[str] = (),
        passing: Collection[int] = (),
    ):
        super().__init__(max_retries=0)
        self._kit = kit
        self._source = source
        self._auth = auth
        self._budget = budget
        self._dialect = dialect
        self._longest = longest
        self._origins = frozenset(map(origin, origins))
        self._passing = frozenset(passing)
        self._bare: weakref.WeakSet[requests.PreparedRequest] = weakref.WeakSet()

    def sign_not(self, request: requests.PreparedRequest) -> None:
        """Never sign ``request``."""
        self._bare.add(request)

    def unsigned(self, request: requests.PreparedRequest) -> bool:
        """Whether ``request`` goes without a credential."""
        elsewhere = bool(self._origins) and origin(request.url) not in self._origins
        return elsewhere or request in self._bare

    def send(  # type: ignore[override]  # the base spells out what is only handed on here
        self, request: requests.PreparedRequest, **how: Any
    ) -> requests.Response:
        """Send ``request`` until there is an answer; see :func:`open_session` for its errors."""
        how["timeout"] = how.get("timeout") or _TIMEOUT
        unsigned = self.unsigned(request)
        rejected: str | None = None
        attempts = waits = 0
        while True:
            self._turn(request)
            signed = credential(self._kit, None if unsigned else self._auth, rejected)
            answer = self._attempt(request, signed, how)
            verdict = self._judge(answer)
            if verdict.kind == "fine" and not isinstance(answer, str):
                return answer
            if not isinstance(answer, str):
                answer.close()
            if verdict.kind == "wait":
                waits += 1
                self._wait(request, verdict, waits)
            elif verdict.kind == "broken" and (attempts := attempts + 1) < _ATTEMPTS:
                time.sleep(_jittered(attempts))
            elif verdict.kind == "unauthorized" and signed.token and rejected is None:
                rejected = signed.token
            else:
                raise self._error(request, signed, answer, verdict)

    def _attempt(
        self, request: requests.PreparedRequest, signed: Credential, how: dict[str, Any]
    ) -> requests.Response | str:
        """One answer, read whole unless it is streamed; or why there was none."""
        sent = request.copy()
        signed.put_on(sent)
        try:
            answer = super().send(sent, **how)
            if not how.get("stream"):
                _ = answer.content  # a connection may end half-way through it
        except requests.Timeout:
            return "it did not answer in time"
        except requests.exceptions.SSLError:
            return "its certificate is not trusted here"
        except requests.ConnectionError:
            return "no connection"
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError):
            return "its answer ended half-way"
        answer.request, answer.url = request, request.url or ""
        return answer

    def _judge(self, answer: requests.Response | str) -> Verdict:
        if isinstance(answer, str):
            return Verdict(kind="broken", why=answer)
        now = datetime.now(UTC)
        if left := allowance(answer.headers, now):
            self._budget.heard(left)
        status = answer.status_code
        if status in self._passing:
            return Verdict(kind="fine")
        hides = self._dialect is Dialect.SLACK and "json" in answer.headers.get("content-type", "")
        try:
            body = answer.text if status >= 400 or hides else ""
        except requests.RequestException:
            body = ""
        return judged(self._dialect, status, answer.headers, body, now)

    def _turn(self, request: requests.PreparedRequest) -> None:
        wait = self._budget.take(self._longest)
        if wait > self._longest:
            raise self._busy(request, wait)
        time.sleep(wait)

    def _wait(self, request: requests.PreparedRequest, verdict: Verdict, waits: int) -> None:
        """Wait as long as the service wants, or a growing while if it does not say."""
        seconds = _growing(waits) if verdict.seconds is None else verdict.seconds
        if seconds > self._longest or waits > _WAITS:
            raise self._busy(request, seconds)
        self._budget.pause(seconds + random.uniform(0, 0.1))  # noqa: S311  # no secret

    def _busy(self, request: requests.PreparedRequest, seconds: float) -> SourceBusy:
        return SourceBusy(
            f"{_asked(request)}: its rate limit is used up for {seconds:.0f} s",
            subject=self._source,
            cure=_NEXT_RUN,
            after=seconds,
        )

    def _error(
        self,
        request: requests.PreparedRequest,
        signed: Credential,
        answer: requests.Response | str,
        verdict: Verdict,
    ) -> SourceError:
        status = "" if isinstance(answer, str) else f" answered {answer.status_code}"
        why = f": {verdict.why}" if verdict.why else ""
        happened = signed.hidden_in(f"{_asked(request)}{status}{why}")
        if verdict.kind == "broken":
            return SourceUnavailable(happened, subject=self._source, cure=_NEXT_RUN)
        if verdict.kind == "unauthorized" and signed.token:
            return SignInNeeded(
                f"{happened}, with a new token too",
                subject=self._source,
                cure=f"Sign in again: `sluice connect {self._source}`",
            )
        cure = "See that its credential has the right, and that what is asked for is there"
        if verdict.kind == "unauthorized" and self._auth is not None:
            cure = f"Correct the Airflow connection {self._auth.connection}: it is not accepted"
        return SourceRefused(happened, subject=self._source, cure=cure)


def origin(url: str | None) -> tuple[str, str | None, int | None]:
    """Scheme, host and port: what may know a credential together."""
    parts = urlsplit(url or "")
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _asked(request: requests.PreparedRequest) -> str:
    parts = urlsplit(request.url or "")
    return f"{request.method} {parts.netloc.rpartition('@')[2]}{parts.path}"


def _growing(times: int) -> float:
    return float(min(_FIRST * 2.0 ** min(times, 10), 2 * _LONGEST))


def _jittered(attempts: int) -> float:
    return random.uniform(0, min(_FIRST * 2.0**attempts, _LONGEST))  # noqa: S311  # no secret
