"""Seals what the catalog keeps of a source's secrets, with a data key for each source."""

from __future__ import annotations

import sqlalchemy as sa

from sluice import crypto
from sluice.catalog import Catalog, tokens
from sluice.catalog.tokens import DataKey, Sealed
from sluice.crypto import MasterKeys, Wrapped
from sluice.errors import ConfigurationError


class Vault:
    """Opens and seals, for one tenant. Every method wants to be inside a transaction."""

    def __init__(self, catalog: Catalog, keys: MasterKeys):
        self._catalog = catalog
        self._keys = keys

    def seal(self, connection: sa.Connection, source: str, purpose: str, plain: bytes) -> Sealed:
        """Seal ``plain`` with the source's newest data key; the first one is made here."""
        kept = tokens.data_key(connection, source) or self._make(connection, source, 1)
        sealed = crypto.seal(self._open(kept), plain, self._belongs_to(source, purpose))
        return Sealed(kept.version, sealed)

    def unseal(self, connection: sa.Connection, source: str, purpose: str, sealed: Sealed) -> bytes:
        """Return what was sealed.

        Raises:
            ConfigurationError: the master key that can open it is gone.
        """
        kept = tokens.data_key(connection, source, sealed.key_version)
        if kept is None:
            raise ConfigurationError(
                "the key of its token is gone from the catalog",
                subject=source,
                cure=f"Sign in anew: sluice connect {source}",
            )
        return crypto.unseal(self._open(kept), sealed.sealed, self._belongs_to(source, purpose))

    def rewrap(self) -> int:
        """Wrap every data key with the current master key; return how many were not.

        Nothing stops meanwhile: each key opens before and after, and nothing is sealed anew.
        """
        changed = 0
        with self._catalog.begin() as connection:
            for kept in tokens.data_keys(connection):
                if kept.key_id != self._keys.current:
                    self._store(connection, kept.source, kept.version, self._open(kept))
                    changed += 1
        return changed

    def renew(self, source: str) -> int:
        """Make a new data key for ``source`` and seal its token with it; return its version."""
        with self._catalog.begin() as connection:
            tokens.lock(connection, source)
            before = tokens.data_key(connection, source)
            made = self._make(connection, source, before.version + 1 if before else 1)
            token = tokens.held(connection, source)
            if token is not None:
                plain = self.unseal(connection, source, "token", token)
                tokens.reseal(connection, source, self.seal(connection, source, "token", plain))
            tokens.drop_older_keys(connection, source, made.version)
        return made.version

    def _make(self, connection: sa.Connection, source: str, version: int) -> DataKey:
        return self._store(connection, source, version, crypto.new_key())

    def _store(self, connection: sa.Connection, source: str, version: int, plain: bytes) -> DataKey:
        wrapped = self._keys.wrap(plain, self._belongs_to(source, f"key {version}"))
        kept = DataKey(
            source=source, version=version, key_id=wrapped.key_id, wrapped=wrapped.sealed
        )
        tokens.store_data_key(connection, kept)
        return kept

    def _open(self, kept: DataKey) -> bytes:
        return self._keys.unwrap(
            Wrapped(kept.key_id, kept.wrapped),
            self._belongs_to(kept.source, f"key {kept.version}"),
        )

    def _belongs_to(self, source: str, purpose: str) -> str:
        return crypto.belonging(self._catalog.tenant, source, purpose)
