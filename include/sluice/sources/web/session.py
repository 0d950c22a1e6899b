"""A ``requests`` session that signs in, keeps to the budget, waits and tries again.

Everything happens in its adapter, for each attempt anew: a library that sends a prepared request
again and again, as dlt's does, would send a token that has ended.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from sluice.errors import SignInNeeded, SluiceError, SourceBusy, SourceRefused, SourceUnavailable
from sluice.model import ApiKey, Auth, Basic, Bearer
from sluice.sources.web import verdicts
from sluice.sources.web.budget import Budget, Rate
from sluice.sources.web.verdicts import Dialect, Meaning, Verdict

if TYPE_CHECKING:
    import requests

    from sluice.ports import Kit

_ATTEMPTS = 6
_PATIENCE = 60.0  # seconds for an answer
_LONGEST_BACKOFF = 30.0  # seconds
_LONGEST_WAIT = 300.0  # seconds, where a source has no rate


def open_session(
    kit: Kit,
    source: str,
    auth: Auth | None,
    rate: Rate | None = None,
    dialect: Dialect = Dialect.PLAIN,
    sleep: Callable[[float], object] = time.sleep,
) -> requests.Session:
    """Return a session that speaks to one service on behalf of ``source``.

    What it sends raises SourceUnavailable (no answer that helps), SourceBusy (too long to wait),
    SourceRefused (a 4xx), or SignInNeeded (the token is not accepted); so whatever it returns is
    good. A caller that can do with a 404 says so by ``headers={"X-Sluice-Accept": "404"}``, which
    is never sent.

    Args:
        kit: where tokens and connections come from.
        source: named in errors.
        auth: how it is signed in to; None: not at all.
        rate: what the service allows; None: it says so when it is too much.
        dialect: whose words its errors are in.
        sleep: how to wait.
    """
    import requests
    from requests.adapters import HTTPAdapter

    class Polite(HTTPAdapter):
        """Sends each attempt as the service wants it."""

        def send(self, request: Any, **options: Any) -> Any:  # type: ignore[override]
            accepted = request.headers.pop("X-Sluice-Accept", "").split()
            options["timeout"] = options.get("timeout") or _PATIENCE
            return speaker.send(
                lambda one: super(Polite, self).send(one, **options), request, accepted
            )

    speaker = _Speaker(kit, source, auth, rate, dialect, sleep)
    session = requests.Session()
    session.trust_env = False  # or a .netrc would sign in instead
    session.mount("http://", Polite())
    session.mount("https://", Polite())
    return session


class _Speaker:
    """Keeps one conversation."""

    def __init__(
        self,
        kit: Kit,
        source: str,
        auth: Auth | None,
        rate: Rate | None,
        dialect: Dialect,
        sleep: Callable[[float], object],
    ):
        self._kit = kit
        self._source = source
        self._auth = auth
        self._dialect = dialect
        self._sleep = sleep
        self._budget = Budget(rate)
        self._longest_wait = rate.longest_wait if rate else _LONGEST_WAIT
        self._host: str | None = None  # the one that may have the credential

    def send(self, send: Callable[[Any], Any], request: Any, accepted: list[str]) -> Any:
        """Send a request until its answer is good, or never will be."""
        rejected: str | None = None
        failures = 0
        while True:
            self._pace(request)
            signed, token = self._signed(request, rejected)
            response, verdict = self._once(send, signed)
            if response is not None and str(response.status_code) in accepted:
                return response
            match verdict.meaning:
                case Meaning.FINE:
                    return response
                case Meaning.WAIT:
                    self._wait(request, verdict)
                case Meaning.SIGNED_OUT if token is not None and rejected is None:
                    rejected = token
                case Meaning.SIGNED_OUT:
                    raise self._signed_out(verdict, request)
                case Meaning.REFUSED:
                    raise SourceRefused(
                        verdict.why,
                        subject=_named(self._source, request),
                        cure="Check its scopes and rights: `sluice source check` says which",
                    )
                case Meaning.BROKEN:
                    failures += 1
                    if failures >= _ATTEMPTS:
                        raise SourceUnavailable(
                            f"no answer that helps, {failures} times: {verdict.why}",
                            subject=_named(self._source, request),
                            cure="Nothing was changed; the next run asks again",
                        )
                    longest = min(2.0**failures, _LONGEST_BACKOFF)
                    self._sleep(random.uniform(0, longest))  # noqa: S311  # full jitter

    def _once(self, send: Callable[[Any], Any], signed: Any) -> tuple[Any, Verdict]:
        import requests

        try:
            response = send(signed)
            body = b"" if response.ok and self._dialect is not Dialect.SLACK else response.content
        except requests.RequestException as error:
            return None, Verdict(meaning=Meaning.BROKEN, why=type(error).__name__)
        now = time.time()
        left = verdicts.remaining(response.headers)
        if left is not None:
            self._budget.left(left[0], left[1] - now)
        return response, verdicts.judge(
            self._dialect, response.status_code, response.headers, body, now
        )

    def _pace(self, request: Any) -> None:
        pause = self._budget.take()
        if pause > self._longest_wait:
            raise self._busy(request, pause)
        if pause > 0:
            self._sleep(pause)

    def _wait(self, request: Any, verdict: Verdict) -> None:
        after = verdict.after if verdict.after is not None else random.uniform(1, 5)  # noqa: S311
        if after > self._longest_wait:
            raise self._busy(request, after)
        self._budget.close(after * random.uniform(1.0, 1.1))  # noqa: S311  # not all at once

    def _busy(self, request: Any, after: float) -> SluiceError:
        return SourceBusy(
            f"its rate limit is used up for {after:.0f} s",
            subject=_named(self._source, request),
            cure="Nothing was changed; it is read again after that",
            after=after,
        )

    def _signed(self, request: Any, rejected: str | None) -> tuple[Any, str | None]:
        """The request as it is sent, and the token that can be had anew if this one is not good.

        Whatever host comes first is the service; another one, where a redirect leads, gets nothing.
        """
        host = urlsplit(request.url)._replace(path="", query="", fragment="").geturl()
        self._host = self._host or host
        signed = request.copy()
        signed.headers.pop("Authorization", None)
        if host != self._host:
            return signed, None
        match self._auth:
            case None:
                return signed, None
            case ApiKey() as auth:
                key = f"{auth.prefix}{self._kit.connection(auth.connection).password or ''}"
                if auth.place == "header":
                    signed.headers[auth.name] = key
                else:
                    signed.url = _with_parameter(signed.url, auth.name, key)
                return signed, None
            case Basic(connection=name):
                from requests.auth import HTTPBasicAuth

                found = self._kit.connection(name)
                HTTPBasicAuth(found.login or "", found.password or "")(signed)
                return signed, None
            case Bearer(connection=name):
                signed.headers["Authorization"] = f"Bearer {self._kit.connection(name).password}"
                return signed, None
            case oauth:
                token = self._kit.token(oauth, rejected)
                signed.headers["Authorization"] = f"Bearer {token}"
                return signed, token

    def _signed_out(self, verdict: Verdict, request: Any) -> SluiceError:
        if self._auth is None or isinstance(self._auth, ApiKey | Basic | Bearer):
            return SourceRefused(
                f"what it is signed in to by is refused ({verdict.why})",
                subject=_named(self._source, request),
                cure="Check the Airflow connection",
            )
        return SignInNeeded(
            f"needs re-authentication: a new token is refused too ({verdict.why})",
            subject=self._source,
            cure=f"Consent again: `sluice connect {self._source}`",
        )


def _with_parameter(url: str, name: str, value: str) -> str:
    parts = urlsplit(url)
    query = [(each, given) for each, given in parse_qsl(parts.query, True) if each != name]
    return urlunsplit(parts._replace(query=urlencode([*query, (name, value)])))


def _named(source: str, request: Any) -> str:
    """The request without what may be secret in it."""
    parts = urlsplit(request.url)
    return f"{source}: {request.method} {parts.hostname}{parts.path}"
