"""Agents' keys: shown once, stored as a digest, bound to whom they act for, revocable at once.

A key reads ``slc_<key id>_<secret>``. The secret has 256 random bits, so a plain SHA-256 of it
cannot be searched through; the key id is no secret, and names the key in lists and in the audit.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Iterable
from datetime import datetime

from sluice.catalog import Catalog
from sluice.catalog import keys as rows
from sluice.catalog.keys import Key
from sluice.errors import BadInput, NotFound, Unauthenticated
from sluice.model import PUBLIC, Caller, Principal, PrincipalKind, require_aware

ANYONE = "anyone"
_FORM = re.compile(r"slc_([0-9a-f]{16})_([A-Za-z0-9_-]{43})", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_NOTHING = hashlib.sha256(b"").digest()


class Keys:
    """Makes, checks and ends keys."""

    def __init__(self, catalog: Catalog):
        self._catalog = catalog

    def create(
        self,
        agent: str,
        acts_for: Collection[Principal],
        expires_at: datetime | None = None,
        team: str | None = None,
    ) -> str:
        """Make a key for ``agent`` and return it. It is never seen again.

        Args:
            agent: names the agent in the audit log.
            acts_for: people, groups and domains on whose behalf it may ask, or ``public`` for
                everyone.
            expires_at: the key opens nothing from this instant on.
            team: whose limits and budgets the agent counts to.

        Raises:
            BadInput: the agent's or the team's name is not one, or the key would act for nobody.
        """
        for whose, name in (("an agent", agent), ("a team", team or "none")):
            if not _NAME.fullmatch(name):
                raise BadInput(
                    f"{whose}'s name has 1 to 64 letters, digits, dots, dashes and underscores",
                    subject=repr(name[:80]),
                )
        if not acts_for:
            raise BadInput("the key would act for nobody", cure="Name someone with --for")
        if expires_at is not None:
            require_aware(expires_at, "expires_at")
        key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        with self._catalog.begin() as connection:
            rows.insert(connection, key_id, agent, _digest(secret), acts_for, expires_at, team)
        return f"slc_{key_id}_{secret}"

    def authenticate(self, presented: str) -> Caller:
        """Return whose key this is.

        Raises:
            Unauthenticated: no such key, a wrong secret, revoked or expired: which, is not told.
        """
        form = _FORM.fullmatch(presented)
        if form is None:
            raise _refused()
        key_id, secret = form.groups()
        with self._catalog.begin() as connection:
            stored = rows.find(connection, key_id)
        expected = stored.secret_hash if stored else _NOTHING
        right = hmac.compare_digest(_digest(secret), expected)
        if stored is None or not right or not stored.live:
            raise _refused()
        return Caller(agent=stored.agent, key_id=key_id, acts_for=stored.acts_for, team=stored.team)

    def every(self) -> list[Key]:
        """All keys, the oldest first, without their secrets."""
        with self._catalog.begin() as connection:
            return rows.every(connection)

    def revoke(self, key_id: str) -> None:
        """End a key. When this returns, no answer leaves for it any more.

        Raises:
            NotFound: there is no such key.
        """
        with self._catalog.begin() as connection:
            if not rows.revoke(connection, key_id):
                raise NotFound(
                    "no such key", subject=repr(key_id[:80]), cure="See `sluice keys list`"
                )


def acts_for(names: Iterable[str]) -> frozenset[Principal]:
    """Read whom a key acts for; ``anyone`` means every person.

    Raises:
        InvalidPrincipal: a name names nobody.
    """
    return frozenset(PUBLIC if each == ANYONE else Principal.parse(each) for each in names)


def person_for(caller: Caller, asked: str | None) -> Principal:
    """Return on whose behalf ``caller`` asks: as it says, or the one person it is bound to.

    Raises:
        BadInput: it does not say, and is not bound to exactly one.
        InvalidPrincipal: what it says names nobody.
    """
    if asked is not None:
        return Principal.parse(asked)
    if len(caller.acts_for) == 1:
        (only,) = caller.acts_for
        if only.kind is PrincipalKind.USER:
            return only
    raise BadInput(
        "it is not said for whom the question is asked",
        cure='Name the person in "as" or in X-Sluice-On-Behalf-Of',
    )


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _refused() -> Unauthenticated:
    return Unauthenticated(
        "this key opens nothing", cure="Send a live key as `Authorization: Bearer slc_…`"
    )
