"""A person's consent: the link to give it at, and what comes back (RFC 6749 4.1, RFC 7636).

The state in the link is random, good once and for ten minutes; the catalog knows its hash alone.
The verifier waits in the catalog, sealed, so that the callback may reach any process.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode, urlsplit

from sluice.auth import exchange
from sluice.auth.tokens import Tokens
from sluice.auth.vault import Vault
from sluice.catalog import Catalog
from sluice.catalog import tokens as rows
from sluice.errors import BadInput, ConfigurationError
from sluice.model import AuthorizationCode, Connection

_LIFE = timedelta(minutes=10)
_PURPOSE = "consent"


class Consent:
    """Asks people for consent, for one tenant."""

    def __init__(
        self,
        catalog: Catalog,
        vault: Vault,
        tokens: Tokens,
        connections: Callable[[str], Connection],
    ):
        self._catalog = catalog
        self._vault = vault
        self._tokens = tokens
        self._connections = connections

    def begin(self, source: str, auth: AuthorizationCode, redirect_uri: str) -> str:
        """Return the link to consent at.

        Raises:
            ConfigurationError: the connection has no client id.
        """
        client = self._connections(auth.connection).login
        if not client:
            raise ConfigurationError(
                "has no login, which is the client id",
                subject=f"the connection {auth.connection}",
                cure="Set it to the client id that the service gave you",
            )
        state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(64)
        kept = {"auth": asdict(auth), "verifier": verifier, "redirect_uri": redirect_uri}
        with self._catalog.begin() as transaction:
            rows.lock(transaction, source)
            plain = json.dumps(kept).encode()
            sealed = self._vault.seal(transaction, source, _PURPOSE, plain)
            until = datetime.now(UTC) + _LIFE
            rows.begin_consent(transaction, _hash(state), source, sealed, until)
        asked = {
            **auth.extra,
            "response_type": "code",
            "client_id": client,
            "redirect_uri": redirect_uri,
            "state": state,
            "code_challenge": _challenge(verifier),
            "code_challenge_method": "S256",
        }
        if auth.scopes:
            asked["scope"] = " ".join(auth.scopes)
        joint = "&" if urlsplit(auth.authorize_url).query else "?"
        return f"{auth.authorize_url}{joint}{urlencode(asked)}"

    def finish(self, state: str, code: str | None, error: str | None = None) -> str:
        """Take what came back, keep the token, and return the source's name.

        Raises:
            BadInput: nobody asked for this, it was used before, or it is too late; or the person
                did not consent.
            SourceError: the service does not give a token for it.
        """
        with self._catalog.begin() as transaction:
            found = rows.take_consent(transaction, _hash(state))
            if found is None:
                raise BadInput(
                    "this consent was not asked for, is used, or came after more than 10 minutes",
                    cure="Ask again: `sluice connect <source>`",
                )
            source, sealed = found
            kept = json.loads(self._vault.unseal(transaction, source, _PURPOSE, sealed))
        if error or not code:
            raise BadInput(
                f"no consent was given ({(error or 'no code')[:60]})",
                subject=source,
                cure=f"Ask again: `sluice connect {source}`",
            )
        auth = _auth(kept["auth"])
        connection = self._connections(auth.connection)
        token = exchange.redeemed(auth, connection, code, kept["verifier"], kept["redirect_uri"])
        with self._catalog.begin() as transaction:
            rows.lock(transaction, source)
            self._tokens.keep(transaction, source, token)
        return source


def _auth(kept: dict[str, object]) -> AuthorizationCode:
    scopes = kept.pop("scopes")
    return AuthorizationCode(**{**kept, "scopes": tuple(scopes)})  # type: ignore[arg-type]  # as asdict wrote it


def _challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _hash(state: str) -> bytes:
    return hashlib.sha256(state.encode()).digest()
