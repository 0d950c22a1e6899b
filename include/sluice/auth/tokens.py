"""The access token of a source: got early, got once by whoever comes first, kept before it is used.

However many workers ask, one of them gets the new token while the others wait for its commit. The
new token is committed before anybody has it, since a refresh token that rotates is good once: a
worker that is killed right after leaves the next one all it needs.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from sluice.auth import exchange
from sluice.auth.vault import Vault
from sluice.catalog import Catalog
from sluice.catalog import tokens as rows
from sluice.errors import ConfigurationError, SignInNeeded
from sluice.model import (
    Auth,
    AuthorizationCode,
    ClientCredentials,
    Connection,
    GitHubApp,
    JwtBearer,
    Token,
)

_EARLY = timedelta(minutes=2)  # a request that is sent now must be answered before the token ends
_PURPOSE = "token"


class Tokens:
    """Gets and keeps tokens, for one tenant."""

    def __init__(self, catalog: Catalog, vault: Vault):
        self._catalog = catalog
        self._vault = vault

    def access(
        self, source: str, auth: Auth, connection: Connection, rejected: str | None = None
    ) -> str:
        """Return an access token that is good for a while yet.

        Args:
            source: whose.
            auth: how it is signed in to.
            connection: the client that asks.
            rejected: the token that the source has just answered 401 to.

        Raises:
            SignInNeeded: the grant is gone, or was never given.
            SourceUnavailable: the token endpoint does not answer.
            SourceRefused: it refuses the client.
        """
        with self._catalog.begin() as transaction:
            held = self._held(transaction, source)
        if held is not None and _good(held, rejected):
            return held.access
        try:
            with self._catalog.begin() as transaction:
                rows.lock(transaction, source)
                held = self._held(transaction, source)
                if held is None or not _good(held, rejected):
                    held = _next(auth, connection, held)
                    self.keep(transaction, source, held)
        except SignInNeeded as error:
            raise self._lost(source, error) from error
        return held.access

    def keep(self, transaction: sa.Connection, source: str, token: Token) -> None:
        """Put ``token`` in the place of the one there was. The caller holds the source's lock."""
        plain = json.dumps(
            {
                "access": token.access,
                "refresh": token.refresh,
                "expires_at": token.expires_at.isoformat() if token.expires_at else None,
                "scopes": token.scopes,
            }
        )
        sealed = self._vault.seal(transaction, source, _PURPOSE, plain.encode())
        rows.store(transaction, source, sealed, token.expires_at, token.scopes)

    def _held(self, transaction: sa.Connection, source: str) -> Token | None:
        sealed = rows.held(transaction, source)
        if sealed is None:
            return None
        plain = json.loads(self._vault.unseal(transaction, source, _PURPOSE, sealed))
        ends = plain["expires_at"]
        return Token(
            access=plain["access"],
            refresh=plain["refresh"],
            expires_at=datetime.fromisoformat(ends) if ends else None,
            scopes=tuple(plain["scopes"]),
        )

    def _lost(self, source: str, error: SignInNeeded) -> SignInNeeded:
        """Forget a grant that is gone, and note it where people look."""
        with self._catalog.begin() as transaction:
            rows.forget(transaction, source)
            rows.wants_sign_in(transaction, source, error.happened)
        return SignInNeeded(
            f"needs re-authentication: {error.happened}",
            subject=source,
            cure=f"Consent again: `sluice connect {source}`; nothing of it was lost meanwhile",
        )


def _good(token: Token, rejected: str | None) -> bool:
    """Whether a token can be used. One that was not rejected is another worker's newer one."""
    if token.access == rejected:
        return False
    return token.expires_at is None or token.expires_at - _EARLY > datetime.now(UTC)


def _next(auth: Auth, connection: Connection, held: Token | None) -> Token:
    match auth:
        case ClientCredentials() | JwtBearer() | GitHubApp():
            return exchange.granted(auth, connection)
        case AuthorizationCode():
            if held is None:
                raise SignInNeeded("nobody has consented yet")
            return exchange.refreshed(auth, connection, held)
    raise ConfigurationError(
        f"{type(auth).__name__} has no tokens", subject=connection.name, cure="Send it as it is"
    )
