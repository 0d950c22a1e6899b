"""Asking a token endpoint: one request for each grant, and what its answers mean.

RFC 6749 (OAuth 2.0), 7523 (JWT bearer), 7636 (PKCE). Some services answer errors with 200, as Slack
(``ok: false``) and GitHub (``error``) do. Nothing is kept here, and no secret is in any error.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sluice.errors import (
    ConfigurationError,
    SignInNeeded,
    SourceError,
    SourceRefused,
    SourceUnavailable,
)
from sluice.model import (
    AuthorizationCode,
    ClientCredentials,
    Connection,
    GitHubApp,
    JwtBearer,
    Token,
)

if TYPE_CHECKING:
    import requests

_PATIENCE = 30.0  # seconds
_ATTEMPTS = 3  # of a request that a server could not answer
_LIFE = 540  # seconds of an assertion; GitHub allows 600, and clocks differ
_GONE = {  # RFC 6749 5.2, and what Slack and GitHub say for the same
    "invalid_grant",
    "bad_refresh_token",
    "bad_verification_code",
    "invalid_refresh_token",
    "invalid_code",
    "code_already_used",
    "token_revoked",
    "token_expired",
    "interaction_required",
}
_WRONG_CLIENT = {
    "invalid_client",
    "unauthorized_client",
    "incorrect_client_credentials",
    "invalid_client_id",
    "bad_client_secret",
}


def granted(auth: ClientCredentials | JwtBearer | GitHubApp, connection: Connection) -> Token:
    """Return a token that needs nobody's consent.

    Raises:
        SignInNeeded: what the connection holds is no longer accepted as a grant.
        SourceRefused: the client, a scope or the request is refused.
        SourceUnavailable: the server does not answer.
        ConfigurationError: the connection lacks something.
    """
    match auth:
        case ClientCredentials():
            form = {"grant_type": "client_credentials", "scope": " ".join(auth.scopes)}
            if auth.audience:
                form["audience"] = auth.audience
            return _ask(auth.token_url, form, connection, client_in="header")
        case JwtBearer():
            return _with_assertion(auth, connection)
        case GitHubApp():
            return _installation(auth, connection)


def redeemed(
    auth: AuthorizationCode, connection: Connection, code: str, verifier: str, redirect_uri: str
) -> Token:
    """Return the token that a consent's ``code`` is good for; errors as in :func:`granted`."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "code_verifier": verifier,
        "redirect_uri": redirect_uri,
    }
    return _ask(auth.token_url, form, connection, client_in=auth.client_in)


def refreshed(auth: AuthorizationCode, connection: Connection, token: Token) -> Token:
    """Return the token that follows ``token``; errors as in :func:`granted`.

    A server that does not rotate refresh tokens leaves the one there is.
    """
    if token.refresh is None:
        raise SignInNeeded("its token ended, and it came without one to refresh it by")
    form = {"grant_type": "refresh_token", "refresh_token": token.refresh}
    return _ask(auth.token_url, form, connection, client_in=auth.client_in, before=token)


def _ask(
    url: str,
    form: Mapping[str, str],
    connection: Connection,
    *,
    client_in: str,
    before: Token | None = None,
) -> Token:
    """Post a form as a client; the client's secret travels where the server wants it."""
    login, secret = _needed(connection, "login"), connection.password
    fields = {name: value for name, value in form.items() if value}
    basic = None
    if client_in == "header" and secret is not None:
        basic = (login, secret)
    else:
        fields |= {"client_id": login, **({"client_secret": secret} if secret else {})}

    return _token(_answer(url, data=fields, auth=basic), url, before)


def _with_assertion(auth: JwtBearer, connection: Connection) -> Token:
    about = connection.extra
    url = auth.token_url or about.get("token_uri")
    issuer, key = about.get("client_email"), about.get("private_key")
    if not (url and issuer and key):
        raise ConfigurationError(
            "its extra holds no client_email, private_key and token_uri",
            subject=connection.name,
            cure="Store the service account's JSON as the connection's extra",
        )
    claims = {"iss": issuer, "scope": " ".join(auth.scopes), "aud": url}
    if auth.subject:
        claims["sub"] = auth.subject
    assertion = _signed(claims, str(key), connection, key_id=about.get("private_key_id"))

    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": assertion,
    }
    return _token(_answer(str(url), data=form), str(url), None)


def _installation(auth: GitHubApp, connection: Connection) -> Token:
    """GitHub's own way: a signed app id for an installation's token, which lives an hour."""
    key = _needed(connection, "password")
    assertion = _signed({"iss": _needed(connection, "login")}, key, connection, early=60)
    url = f"{auth.api_url.rstrip('/')}/app/installations/{auth.installation}/access_tokens"

    headers = {"Authorization": f"Bearer {assertion}", "Accept": "application/vnd.github+json"}
    body = _answer(url, headers=headers)
    ends = body.get("expires_at")
    return Token(
        access=_access(body, url),
        expires_at=datetime.fromisoformat(ends) if isinstance(ends, str) else None,
    )


def _signed(
    claims: Mapping[str, Any],
    key: str,
    connection: Connection,
    *,
    key_id: Any = None,
    early: int = 0,
) -> str:
    """A JWT, RS256, that lives a few minutes; ``early`` seconds are for clocks that are behind."""
    import jwt

    now = int(time.time())
    times = {"iat": now - early, "exp": now + _LIFE}
    try:
        return jwt.encode(
            {**claims, **times},
            key.replace("\\n", "\n"),
            algorithm="RS256",
            headers={"kid": str(key_id)} if key_id else None,
        )
    except Exception as error:  # noqa: BLE001  # a key can be wrong in many ways; none is repeated
        raise ConfigurationError(
            f"its private key cannot sign: {type(error).__name__}",
            subject=connection.name,
            cure="Store the key whole, in PEM",
        ) from None


def _answer(url: str, **request: Any) -> dict[str, Any]:
    """Post a request, again where the server could not answer, and say what an error means.

    A secret goes where it was meant to go: no redirect is followed.
    """
    import requests

    reason = ""
    for attempt in range(_ATTEMPTS):
        time.sleep(attempt)
        try:
            response = requests.post(
                url,
                timeout=_PATIENCE,
                allow_redirects=False,
                **{"headers": {"Accept": "application/json"}, **request},
            )
        except requests.RequestException as error:
            reason = type(error).__name__
            continue
        if response.status_code < 500 and response.status_code != 429:
            return _understood(response, url)
        reason = f"answered {response.status_code}"
    raise SourceUnavailable(
        f"the token endpoint does not answer: {reason}",
        subject=_bare(url),
        cure="What was granted stays; the next run asks again",
    )


def _understood(response: requests.Response, url: str) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = None
    body = body if isinstance(body, dict) else {}
    code = body.get("error")
    code = str(code) if code and (response.status_code >= 400 or "access_token" not in body) else ""
    if not code and response.status_code < 300:
        return body
    raise _refusal(code, response.status_code, _bare(url))


def _refusal(code: str, status: int, subject: str) -> SourceError:
    if code in _GONE:
        return SignInNeeded(f"the grant is gone ({code})", subject=subject)
    if code in _WRONG_CLIENT or status == 401:
        return SourceRefused(
            f"the client is refused ({code or status})",
            subject=subject,
            cure="Check login and password of the Airflow connection",
        )
    return SourceRefused(
        f"no token was given ({code or status})",
        subject=subject,
        cure="Check the scopes and the redirect address that the service knows",
    )


def _token(body: Mapping[str, Any], url: str, before: Token | None) -> Token:
    life = body.get("expires_in")
    ends = datetime.now(UTC) + timedelta(seconds=float(life)) if life else None
    scope = body.get("scope")
    scopes = tuple(scope.replace(",", " ").split()) if isinstance(scope, str) else ()
    refresh = body.get("refresh_token")
    return Token(
        access=_access(body, url),
        refresh=str(refresh) if refresh else (before.refresh if before else None),
        expires_at=ends,
        scopes=scopes or (before.scopes if before else ()),
    )


def _access(body: Mapping[str, Any], url: str) -> str:
    found = body.get("access_token") or body.get("token")
    if not isinstance(found, str) or not found:
        raise SourceRefused(
            "its answer holds no access token",
            subject=_bare(url),
            cure="Check token_url in the DAG file",
        )
    return found


def _needed(connection: Connection, part: str) -> str:
    found = getattr(connection, part)
    if not found:
        raise ConfigurationError(
            f"has no {part}",
            subject=f"the connection {connection.name}",
            cure=f"Set it: airflow connections add {connection.name} --conn-type http …",
        )
    return str(found)


def _bare(url: str) -> str:
    """An address without what may be secret in it."""
    return url.partition("?")[0]
