"""An authorization server, and tokens of it that are kept in a real catalog."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from oauth_server import CLIENT, SECRET, AuthorizationServer, serving
from sluice import crypto
from sluice.auth import Consent, Tokens, Vault
from sluice.catalog import Catalog, runs
from sluice.crypto import MasterKeys
from sluice.model import AuthorizationCode, Connection, Policy

SOURCE = "crm"
CONNECTION = Connection(name="crm", login=CLIENT, password=SECRET)


@pytest.fixture
def issuer() -> Iterator[AuthorizationServer]:
    """A server that rotates refresh tokens."""
    with serving(AuthorizationServer()) as started:
        yield started


@pytest.fixture
def keys() -> MasterKeys:
    """One master key."""
    return MasterKeys.parse(crypto.new_master("first"))


@pytest.fixture
def vault(catalog: Catalog, keys: MasterKeys) -> Vault:
    """Where secrets are sealed; the source is known."""
    with catalog.begin() as connection:
        runs.ensure_source(connection, SOURCE, "rest", Policy())
    return Vault(catalog, keys)


@pytest.fixture
def tokens(catalog: Catalog, vault: Vault) -> Tokens:
    """Where tokens are kept."""
    return Tokens(catalog, vault)


@pytest.fixture
def consent(catalog: Catalog, vault: Vault, tokens: Tokens) -> Consent:
    """Who asks for consent."""
    return Consent(catalog, vault, tokens, lambda _: CONNECTION)


@pytest.fixture
def auth(issuer: AuthorizationServer) -> AuthorizationCode:
    """A source that a person consents to."""
    return AuthorizationCode(
        connection="crm",
        authorize_url=f"{issuer.url}/authorize",
        token_url=f"{issuer.url}/token",
        scopes=("read", "offline_access"),
    )
