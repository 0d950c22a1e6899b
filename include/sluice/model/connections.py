"""How a source is signed in to: the values that a file in ``dags/`` writes down.

None of them holds a secret. ``connection`` names an Airflow connection, in whichever secrets
backend Airflow has; what of it is used is said at each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """What an operator has stored of a service, as Airflow hands it out."""

    name: str
    host: str | None = None
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """The connection's password, in a header or a query parameter called ``name``."""

    connection: str
    name: str = "X-API-Key"
    place: Literal["header", "query"] = "header"
    prefix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Basic:
    """The connection's login and password (RFC 7617)."""

    connection: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """The connection's password as a bearer token (RFC 6750) that does not expire."""

    connection: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCredentials:
    """OAuth 2 client credentials (RFC 6749, 4.4): login is the client id, password its secret."""

    connection: str
    token_url: str
    scopes: tuple[str, ...] = ()
    audience: str | None = None  # what some servers ask for beside scopes


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationCode:
    """OAuth 2 authorization code with PKCE (RFC 7636): a person consents, once.

    Login is the client id, password its secret where it has one. ``sluice connect <source>`` prints
    the link to consent at. Refresh tokens are kept, and rotate if the server rotates them.
    """

    connection: str
    authorize_url: str
    token_url: str
    scopes: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)  # for the consent link: access_type …
    client_in: Literal["header", "body"] = "body"  # where a token request has client id and secret


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtBearer:
    """A signed assertion for a token (RFC 7523): Google service accounts and the like.

    The connection's ``extra`` is the service account's JSON: ``client_email``, ``private_key`` and
    ``token_uri``. ``subject`` is whom to act for, where the domain allows it.
    """

    connection: str
    scopes: tuple[str, ...] = ()
    subject: str | None = None
    token_url: str | None = None  # instead of the ``token_uri`` there


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHubApp:
    """A GitHub App's installation: login is the app id, password its private key (PEM)."""

    connection: str
    installation: int
    api_url: str = "https://api.github.com"


Auth = ApiKey | Basic | Bearer | ClientCredentials | AuthorizationCode | JwtBearer | GitHubApp


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """An access token, and what gets the next one."""

    access: str = field(repr=False)
    refresh: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None  # aware; None: the server did not say
    scopes: tuple[str, ...] = ()  # that were granted, where the server said
